"""Lets nothing out of the daemon before what it may tell of is on disk, with one sync for many.

Submissions and ends that are committed in a turn of the event loop, and when many come in the one
after it, share a sync (`runner.store_commits`). Until then frames for clients are kept
(`runner.server.writing`), jobs are not launched (`runner.launches`) and directories of ended jobs
are not removed (`runner.removing`). What else leaves the process need not wait: a control FIFO, a
mark, an exec reach a job that runs, so its submission is on disk, and they say nothing of any end.
Hooks are jobs. A service manager is told of counts; the daemon's log is for people, synced by
nobody, and may be ahead of the disk.

A sync that fails ends the daemon at once, as kill -9 does, and what was kept back is never sent:
the kernel may have dropped what it could not write, and nothing here can find out. The next start
reads back what the kernel still has, writes it anew, and ends where that fails
(`runner.store_file`).
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Final

from runner.store_file import StoreError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from runner.store import Store

_logger: Final = logging.getLogger(__name__)


def end_at_once(error: StoreError) -> None:
    """Say why, and end without another word to anybody."""
    _logger.critical(
        "%s; then start runnerd again. What was committed last may be lost, and nobody was told of"
        " it: runnerd ends at once, jobs go on", error,
    )  # fmt: skip
    os._exit(1)


class Settling:
    """The one of a daemon, for its loop's thread. `on_failure` ends it: nothing is sent after it.

    `is_settled`: all that was promised is on disk. Read by whoever sends anything.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[StoreError], None] = end_at_once,
    ) -> None:
        """Raises StoreError: the log cannot be opened."""
        self.is_settled = True
        self._store, self._loop = store, loop
        self._on_failure = on_failure
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False
        # How many promises the next sync is for, and whether the last was for more than one.
        self._promises = 0
        self._is_busy = False
        self._has_failed = False
        store.share_syncs(self._unsettle)

    def then(self, callback: Callable[[], None]) -> None:
        """Call it when all that was promised until now is on disk: now, or in its turn."""
        if self.is_settled and not self._waiting:
            callback()
        else:
            self._waiting.append(callback)

    def now(self) -> None:
        """Sync at once, if there is anything to. Those that wait have their turn all the same."""
        if self.is_settled or self._has_failed:
            return
        try:
            self._store.settle()
        except StoreError as error:
            self._has_failed = True
            self._on_failure(error)
        else:
            self.is_settled = True

    def close(self) -> None:
        """The end of the daemon: what is left is synced, and nobody is called any more."""
        self._waiting.clear()
        self.now()
        self._store.share_syncs(None)

    def _unsettle(self) -> None:
        self.is_settled = False
        self._promises += 1
        if self._is_due:
            return
        self._is_due = True
        if self._is_busy:
            # One turn more: what comes with the next has made its promises by then. That is 10 %
            # more jobs a second with 8 in flight. One job alone would lose 0.1 ms by it each time.
            self._loop.call_soon(self._loop.call_soon, self._settle)
        else:
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._is_due = False
        self._is_busy, self._promises = self._promises > 1, 0
        self.now()
        # One of them may promise something: then the others wait for that, too.
        while self.is_settled and self._waiting:
            self._call(self._waiting.popleft())

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # It must not keep the others waiting.
            _logger.exception("a defect in what waited for the disk")
