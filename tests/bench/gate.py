"""Lets a batch begin when the machine has nothing else to do, and says when it had.

Idle is what /proc/stat says of a short moment in which the benchmark itself sleeps: the load
average remembers the batch before. Waiting for a disk counts as idle, a guest's stolen time as
busy.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_SECONDS: Final = 0.2
MOST_BUSY: Final = 0.06
_FIELDS: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_AT_REST: Final = (3, 4)


class Ticks(NamedTuple):
    """Of all CPUs since the boot."""

    busy: int
    idle: int


class Passed(NamedTuple):
    """How busy the machine was when a batch began, and whether it began all the same."""

    busy: float
    forced: bool


def read_ticks(stat: str) -> Ticks:
    """The first line of /proc/stat. proc_stat(5). Raises ValueError when it is another."""
    words = stat.split("\n", 1)[0].split()
    if not words or words[0] != "cpu" or len(words) <= len(_FIELDS):
        raise ValueError(f"not the first line of /proc/stat: {words[:3]}")
    counts = [int(word) for word in words[1 : len(_FIELDS) + 1]]
    idle = sum(counts[place] for place in _AT_REST)
    return Ticks(sum(counts) - idle, idle)


def busy_share(before: Ticks, after: Ticks) -> float:
    """Of all CPU time between the two. 0 when no tick came."""
    busy, idle = after.busy - before.busy, after.idle - before.idle
    return busy / (busy + idle) if busy + idle > 0 else 0.0


class Gate:
    """Waits up to `patience` seconds for each batch, and `budget` seconds in all.

    On a machine that is never idle every batch would wait in vain: when the budget is used up,
    nobody waits any more.
    """

    def __init__(
        self,
        patience: float,
        budget: float,
        *,
        most: float = MOST_BUSY,
        look: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = patience
        self._budget = budget
        self._most = most
        self._look = look or busy_now
        self._clock = clock

    def wait(self) -> Passed:
        """Return when the machine is idle, or when that took too long."""
        began = self._clock()
        patience = min(self._patience, self._budget)
        busy = self._look()
        while busy > self._most:
            if self._clock() - began >= patience:
                self._budget = max(0.0, self._budget - (self._clock() - began))
                return Passed(busy, forced=True)
            busy = self._look()
        return Passed(busy, forced=False)


def busy_now() -> float:
    """How busy the machine is while we sleep for a moment."""
    before = _ticks_now()
    time.sleep(WINDOW_SECONDS)
    return busy_share(before, _ticks_now())


def _ticks_now() -> Ticks:
    with open("/proc/stat", encoding="ascii") as stat:
        return read_ticks(stat.readline())
