"""The jobs that have a monitor: watched by pidfd, which tells when one is gone.

pidfd_open(2). What comes after that end is `runner.ending`'s.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.realm import Realm

_logger: Final = logging.getLogger(__name__)


class Running:
    """Who is watched. `on_begin` gets the id of a job that runs now, `on_end` once it is gone."""

    def __init__(
        self, realm: Realm, on_end: Callable[[str], None], on_begin: Callable[[str], None]
    ) -> None:
        self._realm = realm
        self._on_end = on_end
        self._on_begin = on_begin
        self._pidfds: dict[str, int] = {}

    def __contains__(self, job_id: object) -> bool:
        """Whether the job has a monitor that we watch."""
        return job_id in self._pidfds

    async def begin(
        self,
        job_id: str,
        pid: int,
        pidfd: int,
        limits: bytes | None,
        begun_ns: int | None = None,
    ) -> None:
        """Commit that a job runs, and watch it. Takes over the pidfd. It begins now, if not before.

        `begun_ns` is Unix time.
        """
        store, began = self._realm.store, begun_ns or time.time_ns()
        await self._realm.work.surely(lambda: store.mark_running(job_id, pid, began, limits))
        _logger.info("job %s running, monitor pid %d", job_id, pid)
        self.watch(job_id, pidfd)
        self._on_begin(job_id)
        self._realm.changes.announce(job_id)

    def watch(self, job_id: str, pidfd: int) -> None:
        """Wait for the monitor's end. Takes over the pidfd."""
        self._pidfds[job_id] = pidfd
        self._realm.work.loop.add_reader(pidfd, self._ended, job_id)

    def close(self) -> None:
        """Let go of every job; they go on."""
        for job_id in list(self._pidfds):
            self._forget(job_id)

    def _ended(self, job_id: str) -> None:
        self._forget(job_id)
        self._on_end(job_id)

    def _forget(self, job_id: str) -> None:
        pidfd = self._pidfds.pop(job_id)
        self._realm.work.loop.remove_reader(pidfd)
        os.close(pidfd)
