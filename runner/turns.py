"""Changes of one job, one after the other, each to its end.

A client that goes away in the middle takes back its waiting, not the change: half a pause or
half an update would be neither what the store says nor what was asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")
_SETTLE_SECONDS: Final = 10.0


class Turns:
    """Who changes which job now. For the event loop's thread only."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def take(self, job_id: str, change: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """What the change gives or raises, once those before it on the same job are done."""
        task = asyncio.ensure_future(self._run(job_id, change))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait a while for the changes that are under way, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_SETTLE_SECONDS)
        for task in list(self._tasks):
            task.cancel()

    async def _run(self, job_id: str, change: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        lock = self._locks.setdefault(job_id, asyncio.Lock())
        self._users[job_id] += 1
        try:
            async with lock:
                return await change()
        finally:
            self._users[job_id] -= 1
            if not self._users[job_id]:
                del self._users[job_id], self._locks[job_id]

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Seen: whoever waited for it has gone away.
        if not task.cancelled():
            task.exception()
