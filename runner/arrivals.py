"""Many jobs that begin to wait at once: told to the scheduler some in a turn, in their order.

Only ids are kept: what a job is by its turn is read then, and one that does not wait any more is
passed over. Who comes while others are on their way comes after them, so that nobody is in the
queue before somebody who was to start before. What is done with them is `runner.queueing`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from runner.work import in_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runner.work import Work

# They keep the loop for some 30 ms. A flow has no more steps: it comes in at once, whichever of
# them has the highest priority.
AT_ONCE: Final = 1000


class Arrivals:
    """Who is on the way into the queue. `enter` lets some in; it raises StoreError, and did not."""

    def __init__(self, work: Work, enter: Callable[[Sequence[str]], None]) -> None:
        self._work = work
        self._enter = enter
        self._parties: deque[list[str]] = deque()
        self._is_moving = False

    def __bool__(self) -> bool:
        """Whether somebody is on the way."""
        return bool(self._parties)

    def add(self, ids: Iterable[str]) -> None:
        """These come, after whoever is on the way."""
        self._parties.extend(in_batches(ids, AT_ONCE))
        if self._parties and not self._is_moving:
            self._is_moving = True
            self._work.spawn(self._move())

    def hurry(self) -> None:
        """Let all in now. Raises StoreError: some are on the way still."""
        while self._parties:
            self._let_in(self._parties[0])

    async def _move(self) -> None:
        try:
            while self._parties:
                await self._work.surely(partial(self._let_in, self._parties[0]))
                await asyncio.sleep(0)
        finally:
            self._is_moving = False

    def _let_in(self, party: list[str]) -> None:
        # Somebody may have been in a hurry while the store could not be read.
        if self._parties and self._parties[0] is party:
            self._enter(party)
            self._parties.popleft()
