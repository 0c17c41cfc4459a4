"""Jobs that may not start before a time, and jobs that have to end by one.

A time is due by the clock that was told last: one that is set back makes it not due again.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from runner.scheduling.ordered import Ordered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.scheduling.kinds import Waiting

# After every id at the same time.
_LAST: Final = chr(0x10FFFF)


class Timetable:
    """The times of the jobs that wait. `now_ns` is the clock as it was told last."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._starts: Ordered[tuple[int, str]] = Ordered()
        self._deadlines: Ordered[tuple[int, str]] = Ordered()

    def add(self, job: Waiting) -> None:
        """It waits; its times as they are now."""
        if job.not_before_ns is not None:
            self._starts.add((job.not_before_ns, job.id))
        if job.deadline_ns is not None:
            self._deadlines.add((job.deadline_ns, job.id))

    def remove(self, job: Waiting) -> None:
        """It does not wait any more; with the times that it was added with."""
        if job.not_before_ns is not None:
            self._starts.discard((job.not_before_ns, job.id))
        if job.deadline_ns is not None:
            self._deadlines.discard((job.deadline_ns, job.id))

    def advance(self, now_ns: int) -> Iterable[str]:
        """Tell it the time: the jobs whose time has come, or is to come again."""
        low, high = sorted((self.now_ns, now_ns))
        self.now_ns = now_ns
        if self._starts.first is None:
            return ()
        return [job_id for _, job_id in self._starts.up_to((low, _LAST), (high, _LAST))]

    def is_due(self, job: Waiting) -> bool:
        """Whether its time has come."""
        return job.not_before_ns is None or job.not_before_ns <= self.now_ns

    def is_over(self, job: Waiting) -> bool:
        """Whether its deadline has passed."""
        return job.deadline_ns is not None and job.deadline_ns <= self.now_ns

    def overdue(self, most: int) -> list[str]:
        """Jobs whose deadline has passed, the earliest first, at most so many."""
        if self._deadlines.first is None:
            return []
        found = self._deadlines.up_to((-1, ""), (self.now_ns, _LAST))
        return [job_id for _, job_id in islice(found, most)]

    def next_ns(self, now_ns: int) -> int | None:
        """The next time at which something is due; not before now."""
        if self._starts.first is None and self._deadlines.first is None:
            return None
        times = [self._starts.after((now_ns, _LAST)), self._deadlines.first]
        return max(now_ns, min(t[0] for t in times if t)) if any(times) else None
