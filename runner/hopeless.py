"""Ends queued jobs that can never start: too late, or after what did not become what it had to.

Which these are is decided by the scheduler, in pieces; they are ended in batches, however long the
store cannot be written. How one is ended, and who hears of it, is `runner.queueing`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from runner import fates
from runner.scheduling.kinds import Abandon
from runner.work import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runner.outcome import Outcome
    from runner.scheduling.kinds import Expire
    from runner.store import Store
    from runner.work import Work


class Hopeless:
    """What is to be ended still. `end` ends some; it raises StoreError, and has ended none."""

    def __init__(
        self, store: Store, work: Work, end: Callable[[Sequence[tuple[str, Outcome]]], object]
    ) -> None:
        self._store, self._work = store, work
        self._end = end
        self._left: deque[Abandon | Expire] = deque()
        self._is_ending = False

    def __bool__(self) -> bool:
        """Whether some are to be ended still."""
        return self._is_ending

    def add(self, actions: Iterable[Abandon | Expire]) -> None:
        """End these too, after those before them."""
        self._left.extend(actions)
        if self._left and not self._is_ending:
            self._is_ending = True
            self._work.spawn(self._carry_out())

    async def _carry_out(self) -> None:
        try:
            while self._left:
                batch = [self._left.popleft() for _ in range(min(BATCH, len(self._left)))]
                await self._work.surely(partial(self._end_batch, batch))
                await asyncio.sleep(0)
        finally:
            self._is_ending = False

    def _end_batch(self, batch: Sequence[Abandon | Expire]) -> None:
        pairs = [(each.id, each.on_id) for each in batch if isinstance(each, Abandon)]
        known = self._store.became({on_id for _, on_id in pairs})
        self._end(fates.verdicts(batch, known, self._store.steps_before(pairs)))
