"""Telling a job's monitor to end it, and insisting when the monitor does not.

The monitor keeps the promise of a stop, also while runnerd is away; this is for one that
hangs. One timer a job: the earliest of the times that were asked for counts.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from isolation.errors import CgroupError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Container

    from isolation.cgroups.tree import CgroupTree
    from runner.jobdirs import JobDirectories

_logger: Final = logging.getLogger(__name__)

# How long after a grace the monitor may take, before the payload is killed past it.
_MONITOR_SECONDS: Final = 5.0
# And after that: it may wait for room on the disk for its time (`runner.run_loop`).
_LAST_SECONDS: Final = 40.0


class Stopping:
    """The stop requests of one daemon's running jobs. For the event loop's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directories: JobDirectories,
        tree: CgroupTree,
        running: Container[str],
    ) -> None:
        self._loop = loop
        self._directories = directories
        self._tree = tree
        self._running = running
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def ask(self, job_id: str, uid: int, grace_seconds: float) -> None:
        """Tell the monitor, and see to it that the job ends even when it does not listen."""
        try:
            self._directories.send_stop(job_id, uid, grace_seconds)
        except OSError as error:
            # No way to it: the timer alone ends the job.
            _logger.error("job %s: its monitor cannot be told: %s", job_id, error)  # noqa: TRY400
        when = self._loop.time() + grace_seconds + _MONITOR_SECONDS
        earlier = self._timers.get(job_id)
        if earlier is None or when < earlier.when():
            self.forget(job_id)
            self._timers[job_id] = self._loop.call_at(when, self._insist, job_id)

    def is_asked(self, job_id: str) -> bool:
        """Whether somebody asked for the job's end, since this daemon began."""
        return job_id in self._timers

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        timer = self._timers.pop(job_id, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Insist no more: the daemon ends, its monitors go on."""
        for job_id in list(self._timers):
            self.forget(job_id)

    def _insist(self, job_id: str) -> None:
        """Kill the payload, and later the monitor as well."""
        self._kill(job_id, monitor=False)
        again = partial(self._kill, job_id, monitor=True)
        self._timers[job_id] = self._loop.call_later(_LAST_SECONDS, again)

    def _kill(self, job_id: str, *, monitor: bool) -> None:
        cgroup = self._tree.job(job_id) if job_id in self._running else None
        if cgroup is not None:
            with suppress(CgroupError):
                cgroup.kill(monitor=monitor)
