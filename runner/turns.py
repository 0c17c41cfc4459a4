"""Changes of one job, one after the other, each to its end; and what is long, one for each user.

A client that goes away in the middle takes back its waiting, not the change: half a pause or
half an update would be neither what the store says nor what was asked for. What is changed or
looked up is the caller's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable

_T = TypeVar("_T")
_SETTLE_SECONDS: Final = 10.0


class Turns:
    """Who changes which job now. For the event loop's thread only."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Those that wait for their turn, and may be shared.
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    async def take(self, job_id: str, change: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """What the change gives or raises, once those before it on the same job are done."""
        return await asyncio.shield(self._begin(job_id, change))

    async def share(
        self, job_id: str, what: Hashable, change: Callable[[], Coroutine[Any, Any, _T]]
    ) -> _T:
        """`take`, once for all who ask for the same `what` while the first of them waits.

        Each is told what that one gives or raises.
        """
        key = job_id, what
        task = self._shared.get(key)
        if task is None or task.done():

            async def begun() -> _T:
                self._shared.pop(key, None)
                return await change()

            self._shared[key] = task = self._begin(job_id, begun)
        found: _T = await asyncio.shield(task)
        return found

    def _begin(
        self, job_id: str, change: Callable[[], Coroutine[Any, Any, _T]]
    ) -> asyncio.Task[_T]:
        task = asyncio.ensure_future(self._run(job_id, change))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

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


class Breaths:
    """What keeps the loop for some milliseconds: one of each user between two turns of the others.

    A user may ask for thousands at once. For the event loop's thread only.
    """

    def __init__(self) -> None:
        # An entry goes with the last who holds its lock or waits for it.
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, uid: int) -> AsyncGenerator[None]:
        """Alone for this user, and others had their turn."""
        lock = self._locks.get(uid)
        if lock is None:
            self._locks[uid] = lock = asyncio.Lock()
        async with lock:
            await asyncio.sleep(0)
            yield
