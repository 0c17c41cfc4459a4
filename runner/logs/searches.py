"""Searches of everybody's logs in one thread of their own, a few milliseconds at a time.

In the daemon's event loop. Nobody's search holds up the threads that jobs are started with, nor
for long another user's: users take turns, and of each user a few searches do. What a search
does is `runner.logs.locating`'s, what is asked and answered `runner.server.handlers.locate`'s.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.logs.locating import Found, Wanted, search
from runner.logs.reader import LogReader

if TYPE_CHECKING:
    from collections.abc import Iterator

# The thread holds the interpreter for so long, and the event loop waits.
_TURN_SECONDS: Final = 0.005
# Searches of one user that take turns, and hold descriptors and memory; more wait for these.
_OF_A_USER: Final = 4


class Answer(NamedTuple):
    """What was found, and the first damage that was met."""

    found: Found
    damage: str | None


class Searches:
    """The one thread, and who waits for a turn. Made in the event loop; close it at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "searches")
        # By user; whose turn is next comes first.
        self._waiting: dict[int, deque[_Search]] = {}
        self._now: _Search | None = None
        self._serving: asyncio.Task[None] | None = None
        self._is_closed = False

    async def find(self, uid: int, path: str, wanted: Wanted) -> Answer:
        """Search the log in the directory `path`, for a user.

        Cancelled, it ends with its turn. Raises FileNotFoundError when there is no such
        directory, OSError when it cannot be read.
        """
        if self._is_closed:
            raise OSError(errno.ESHUTDOWN, "runnerd ends just now")
        mine = _Search(path, wanted)
        self._put(uid, mine, behind=len(self._waiting.get(uid, ())))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.ensure_future(self._serve())
        try:
            return await mine.answer
        finally:
            if mine is not self._now:
                self._withdraw(uid, mine)
                mine.close()

    def close(self) -> None:
        """Wait for the turn that is taken, and end all searches: they are cancelled."""
        self._is_closed = True
        if self._serving is not None:
            self._serving.cancel()
        self._pool.shutdown()
        for each in [self._now, *(each for queue in self._waiting.values() for each in queue)]:
            if each is not None:
                each.answer.cancel()
                each.close()
        self._waiting.clear()

    async def _serve(self) -> None:
        """Until nobody waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            uid, self._now = self._take()
            turn = loop.run_in_executor(self._pool, self._now.turn)
            await asyncio.wait([turn])
            self._end_turn(uid, self._now, turn)
            self._now = None

    def _end_turn(self, uid: int, mine: _Search, turn: asyncio.Future[Answer | None]) -> None:
        error = turn.exception()
        if mine.answer.done():
            # Who asked has gone.
            mine.close()
        elif error is not None:
            mine.answer.set_exception(error)
        elif (found := turn.result()) is not None:
            mine.answer.set_result(found)
        else:
            self._put(uid, mine, behind=_OF_A_USER - 1)

    def _put(self, uid: int, search: _Search, behind: int) -> None:
        """Behind so many of the same user, and behind the other users when it is the first."""
        self._waiting.setdefault(uid, deque()).insert(behind, search)

    def _take(self) -> tuple[int, _Search]:
        uid = next(iter(self._waiting))
        queue = self._waiting.pop(uid)
        first = queue.popleft()
        if queue:
            self._waiting[uid] = queue
        return uid, first

    def _withdraw(self, uid: int, search: _Search) -> None:
        with suppress(KeyError, ValueError):
            self._waiting[uid].remove(search)
            if not self._waiting[uid]:
                del self._waiting[uid]


class _Search:
    """One search, from its first turn on with a reader of its own."""

    def __init__(self, path: str, wanted: Wanted) -> None:
        self._path = path
        self._wanted = wanted
        self._reader: LogReader | None = None
        self._steps: Iterator[Found | None] = iter(())
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def turn(self) -> Answer | None:
        """In the thread: go on for some milliseconds. None: there is more to do."""
        until = time.monotonic() + _TURN_SECONDS
        if self._reader is None:
            self._reader = LogReader(self._path)
            self._steps = search(self._reader, self._wanted)
        for found in self._steps:
            if found is not None:
                return Answer(found, self._reader.damage)
            if time.monotonic() >= until:
                break
        return None

    def close(self) -> None:
        """Never while it has its turn. Again is harmless."""
        if self._reader is not None:
            self._reader.close()
