"""Work beside the event loop: tasks that nobody waits for, threads, and patience with the host.

Knows nothing of jobs. One for the supervision of a daemon; for its loop's thread only.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final

from runner.reconcile import is_passing
from runner.store_file import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from concurrent.futures import Executor

_logger: Final = logging.getLogger(__name__)

# A store that cannot be written (a full disk) is tried again until it can.
RETRY_SECONDS: Final = 1.0
# Said at once and then every minute, not every second.
_TRIES_A_COMPLAINT: Final = 60
_SETTLE_SECONDS: Final = 10.0


# What is done to many jobs is done to so many in one transaction; the loop goes on in between.
BATCH: Final = 200


def in_batches(ids: Iterable[str], most: int = BATCH) -> Iterator[list[str]]:
    """Some at a time, in their order."""
    rest = iter(ids)
    while batch := list(islice(rest, most)):
        yield batch


class Work:
    """What a supervision has under way."""

    def __init__(self, pool: Executor) -> None:
        self.loop = asyncio.get_running_loop()
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something that nobody waits for; what it raises is a defect, and is logged."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def blocking(self, function: Any, *args: Any) -> Any:  # noqa: ANN401  it goes through
        """What a function gives that may wait for a disk or the kernel."""
        return await self.loop.run_in_executor(self._pool, function, *args)

    async def patiently(self, function: Any, *args: Any) -> Any:  # noqa: ANN401  the same
        """`blocking`, again while the host is short of descriptors or memory."""
        while True:
            try:
                return await self.blocking(function, *args)
            except OSError as error:
                if not is_passing(error):
                    raise
                _logger.error("tried again in %g s: %s", RETRY_SECONDS, error)  # noqa: TRY400
                await asyncio.sleep(RETRY_SECONDS)

    async def surely(self, commit: Callable[[], object]) -> None:
        """Commit what has happened, however long the store cannot be written."""
        for attempt in count():
            try:
                commit()
            except StoreError as error:
                if attempt % _TRIES_A_COMPLAINT == 0:
                    _logger.error("what happened cannot be stored yet: %s", error)  # noqa: TRY400
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def now_or_later(self, commit: Callable[[], object]) -> None:
        """Commit what has happened now, or as soon as the store can be used again."""
        try:
            commit()
        except StoreError:
            self.spawn(self.surely(commit))

    async def close(self) -> None:
        """Let what is under way settle for a while, then cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_SETTLE_SECONDS)
        for task in list(self._tasks):
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a defect in the supervision of a job", exc_info=error)
