"""Who comes at once comes in by and by, in order, and nobody before somebody who came before."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from runner import arrivals, work
from runner.arrivals import Arrivals
from runner.store_file import StoreError
from runner.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class Door:
    """What was let in, in which parties."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.work = Work(pool)
        self.parties: list[list[str]] = []
        self.failures = 0
        self.arrivals = Arrivals(self.work, self._enter)

    def _enter(self, ids: Sequence[str]) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        self.parties.append(list(ids))

    async def empty(self) -> None:
        while self.arrivals:
            await asyncio.sleep(0)


@pytest.fixture
def at_the_door(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[Door], Awaitable[None]]], None]:
    monkeypatch.setattr(arrivals, "AT_ONCE", 3)
    monkeypatch.setattr(work, "RETRY_SECONDS", 0.01)

    def run(test: Callable[[Door], Awaitable[None]]) -> None:
        async def body() -> None:
            with ThreadPoolExecutor(1) as pool:
                door = Door(pool)
                async with asyncio.timeout(20):
                    await test(door)
                await door.work.close()

        asyncio.run(body())

    return run


def test_a_party_in_a_turn_and_none_is_mixed_with_another(
    at_the_door: Callable[[Callable[[Door], Awaitable[None]]], None],
) -> None:
    async def test(door: Door) -> None:
        door.arrivals.add("abcde")
        door.arrivals.add("f")
        assert (door.parties, bool(door.arrivals)) == ([], True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert door.parties[:1] == [["a", "b", "c"]]
        await door.empty()
        assert door.parties == [["a", "b", "c"], ["d", "e"], ["f"]]
        door.arrivals.add([])
        assert not door.arrivals
        door.arrivals.add("g")
        await door.empty()
        assert door.parties[-1] == ["g"]

    at_the_door(test)


def test_a_store_that_cannot_be_read_costs_time_and_nobody_his_place(
    at_the_door: Callable[[Callable[[Door], Awaitable[None]]], None],
) -> None:
    async def test(door: Door) -> None:
        door.failures = 2
        door.arrivals.add("abcd")
        await door.empty()
        assert door.parties == [["a", "b", "c"], ["d"]]

    at_the_door(test)


def test_a_hurry_lets_all_in_at_once_and_nobody_twice(
    at_the_door: Callable[[Callable[[Door], Awaitable[None]]], None],
) -> None:
    async def test(door: Door) -> None:
        door.failures = 1
        door.arrivals.add("abcdefg")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # The first party waits for the store, which can be read by now.
        door.arrivals.hurry()
        assert not door.arrivals
        await asyncio.sleep(0.05)
        assert door.parties == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
        door.failures = 1
        door.arrivals.add("h")
        with pytest.raises(StoreError):
            door.arrivals.hurry()
        await door.empty()
        assert door.parties[-1] == ["h"]

    at_the_door(test)
