"""How many dependencies of queued jobs are not met yet, of each user and in all.

Pure. Each takes memory of the daemon for as long as its job waits: `runner.submission_queue`
holds them against what is taken at most. What they are, `runner.scheduling` knows; when one is
met or its job gone, `runner.queueing` says.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Unmet:
    """Of the jobs that wait for others."""

    def __init__(self) -> None:
        # By job: its submitter, and how many.
        self._jobs: dict[str, tuple[int, int]] = {}
        self._users: Counter[int] = Counter()
        self.total = 0

    def of(self, uid: int) -> int:
        """How many are of a user's jobs."""
        return self._users[uid]

    def put(self, job_id: str, uid: int, count: int) -> None:
        """A job waits for so many, whatever was said of it before."""
        self.drop(job_id)
        if count:
            self._jobs[job_id] = (uid, count)
            self._add(uid, count)

    def met(self, job_ids: Iterable[str]) -> None:
        """Of each of these jobs one is met; one that is not known has none."""
        for job_id in job_ids:
            known = self._jobs.get(job_id)
            if known is not None:
                self.put(job_id, known[0], known[1] - 1)

    def drop(self, job_id: str) -> None:
        """It does not wait any more. Again is harmless."""
        known = self._jobs.pop(job_id, None)
        if known is not None:
            self._add(known[0], -known[1])

    def _add(self, uid: int, count: int) -> None:
        self.total += count
        self._users[uid] += count
        if not self._users[uid]:
            del self._users[uid]
