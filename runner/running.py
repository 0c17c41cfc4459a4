"""The jobs that have a monitor: watched by pidfd, which tells when one is gone.

pidfd_open(2). What comes after that end is `runner.ending`'s.
"""

from __future__ import annotations

import logging
import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from runner.store_file import StoreError
from runner.work import RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.realm import Realm

_logger: Final = logging.getLogger(__name__)

# Others have their turn in between.
_ENDS_AT_ONCE: Final = 8


class Running:
    """Who is watched. `on_begin` gets the id of a job that runs now, `on_end` once it is gone."""

    def __init__(
        self, realm: Realm, on_end: Callable[[str], None], on_begin: Callable[[str], None]
    ) -> None:
        self._realm = realm
        self._on_end = on_end
        self._on_begin = on_begin
        self._pidfds: dict[str, int] = {}
        self._jobs: dict[int, str] = {}
        # One reader of the loop for them all: to have one each costs more than the end of a job.
        self._ends = select.epoll()
        realm.work.loop.add_reader(self._ends, self._on_ends)

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
        self._has_begun(job_id, pid, pidfd)

    def begin_now(
        self, job_id: str, pid: int, pidfd: int, limits: bytes | None, begun_ns: int
    ) -> None:
        """`begin`, done when this returns, or as soon as the store can be used again."""
        try:
            self._realm.store.mark_running(job_id, pid, begun_ns, limits)
        except StoreError:
            self._realm.work.spawn(self.begin(job_id, pid, pidfd, limits, begun_ns))
        else:
            self._has_begun(job_id, pid, pidfd)

    def _has_begun(self, job_id: str, pid: int, pidfd: int) -> None:
        _logger.info("job %s running, monitor pid %d", job_id, pid)
        self.watch(job_id, pidfd)
        self._on_begin(job_id)
        self._realm.changes.announce(job_id)

    def watch(self, job_id: str, pidfd: int) -> None:
        """Wait for the monitor's end. Takes over the pidfd."""
        self._pidfds[job_id], self._jobs[pidfd] = pidfd, job_id
        self._register(job_id, pidfd)

    def _register(self, job_id: str, pidfd: int) -> None:
        if self._pidfds.get(job_id) != pidfd:
            return
        try:
            self._ends.register(pidfd, select.EPOLLIN)
        except OSError as error:
            # No memory, or as many as there may be (epoll(7)): nobody would hear of its end.
            _logger.error(  # noqa: TRY400 - the text says it
                "job %s: its end cannot be waited for now: %s", job_id, error
            )
            self._realm.work.loop.call_later(RETRY_SECONDS, self._register, job_id, pidfd)

    def close(self) -> None:
        """Let go of every job; they go on."""
        for job_id in list(self._pidfds):
            self._forget(job_id)
        self._realm.work.loop.remove_reader(self._ends)
        self._ends.close()

    def _on_ends(self) -> None:
        for pidfd, _ in self._ends.poll(0, _ENDS_AT_ONCE):
            job_id = self._jobs[pidfd]
            self._forget(job_id)
            self._on_end(job_id)

    def _forget(self, job_id: str) -> None:
        pidfd = self._pidfds.pop(job_id)
        del self._jobs[pidfd]
        # Closing is not enough while the launcher has it, too: epoll(7), "Questions and answers".
        with suppress(FileNotFoundError):
            self._ends.unregister(pidfd)
        os.close(pidfd)
