"""Searches take turns: between users, and a few of one user; none outlives its asker."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner.logs import searches as module
from runner.logs.format import log_name
from runner.logs.locating import Found, Wanted
from runner.logs.searches import Answer, Searches

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from runner.logs.reader import LogReader

OpenWriter = Any
FOUND = Found(1, 2, 3, 4)


class Course:
    """Searches that need some turns each, and the order in which they had them."""

    def __init__(self) -> None:
        self.turns: list[int] = []
        self.threads: set[int] = set()
        self.open = 0
        self.most_open = 0
        # Held, a turn does not end.
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def search(self, _reader: LogReader, wanted: Wanted) -> Iterator[Found | None]:
        """`lines` is its name, `since_ns` how many turns it takes."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            for _ in range(wanted.since_ns or 1):
                self.turns.append(wanted.lines or 0)
                self.threads.add(threading.get_ident())
                assert self.may_go_on.wait(20)
                yield None
            yield FOUND
        finally:
            self.open -= 1


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> Course:
    found = Course()
    monkeypatch.setattr(module, "search", found.search)
    monkeypatch.setattr(module, "_TURN_SECONDS", 0)
    return found


def run(scenario: Callable[[Searches], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        searches = Searches()
        try:
            async with asyncio.timeout(20):
                await scenario(searches)
        finally:
            searches.close()
        # Those that were cancelled by it come to their ends.
        await asyncio.sleep(0)

    asyncio.run(whole())


def begin(searches: Searches, path: Path, uid: int, name: int, turns: int) -> asyncio.Task[Answer]:
    return asyncio.ensure_future(searches.find(uid, str(path), Wanted(name, turns)))


async def until(met: Callable[[], bool]) -> None:
    while not met():
        await asyncio.sleep(0.001)


def test_it_finds_what_a_search_finds_and_tells_of_damage(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one\n", 11)
        writer.append(1, b"two\n", 12)

    async def scenario(searches: Searches) -> None:
        wanted = Wanted(lines=1)
        assert await searches.find(7, str(log_dir), wanted) == (Found(4, 4, 8, 8), None)
        (log_dir / log_name(0)).chmod(0o600)
        (log_dir / log_name(0)).write_bytes(b"")
        answer = await searches.find(7, str(log_dir), Wanted(lines=9))
        assert answer.damage is not None
        with pytest.raises(FileNotFoundError):
            await searches.find(7, str(log_dir / "absent"), wanted)
        with pytest.raises(NotADirectoryError):
            await searches.find(7, str(log_dir / log_name(0)), wanted)
        assert (await searches.find(7, str(log_dir), wanted)).found.end == 8

    run(scenario)


def test_users_take_turns_however_many_searches_one_has(course: Course, log_dir: Path) -> None:
    async def scenario(searches: Searches) -> None:
        course.may_go_on.clear()
        many = [begin(searches, log_dir, 1, 100 + number, 3) for number in range(50)]
        await until(lambda: bool(course.turns))
        few = [begin(searches, log_dir, 2, 2, 4), begin(searches, log_dir, 3, 3, 4)]
        await asyncio.sleep(0)
        course.may_go_on.set()
        assert {found for found, _ in await asyncio.gather(*few)} == {FOUND}
        # Each turn of one of them was followed by at most one of each other user.
        assert len(course.turns) <= 20
        await asyncio.gather(*many)

    run(scenario)
    assert len(course.turns) == 158
    assert len(course.threads) == 1
    assert threading.get_ident() not in course.threads


def test_of_one_user_a_few_hold_readers_and_those_that_came_first_end_first(
    course: Course, log_dir: Path
) -> None:
    async def scenario(searches: Searches) -> None:
        await asyncio.gather(*(begin(searches, log_dir, 1, 1 + name, 5) for name in range(20)))

    run(scenario)
    assert course.most_open == 4
    assert sorted(set(course.turns), key=course.turns.index) == list(range(1, 21))
    assert course.turns[:8] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_a_turn_ends_after_some_milliseconds(
    course: Course, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(module, "_TURN_SECONDS", 3)

    async def scenario(_: Searches) -> None:
        search = module._Search(str(log_dir), Wanted(1, 10))
        with monkeypatch.context() as patch:
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
            for turns in (3, 6, 9):
                assert search.turn() is None
                assert len(course.turns) == turns
            assert search.turn() == (FOUND, None)
        search.close()

    run(scenario)


def test_a_search_whose_asker_has_gone_ends_with_its_turn_or_never_begins(
    course: Course, log_dir: Path
) -> None:
    async def scenario(searches: Searches) -> None:
        course.may_go_on.clear()
        first, second = (begin(searches, log_dir, 1, name, 1000) for name in (1, 2))
        await until(lambda: bool(course.turns))
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert searches._waiting == {}
        course.may_go_on.set()
        await until(lambda: searches._now is None)
        assert course.turns == [1]
        # A search that had its turn and waits for the next one closes its reader too.
        third = begin(searches, log_dir, 1, 3, 1000)
        fourth = begin(searches, log_dir, 2, 4, 1000)
        await until(lambda: {3, 4} <= set(course.turns))
        third.cancel()
        fourth.cancel()
        await asyncio.wait([third, fourth])
        await until(lambda: searches._now is None)

    run(scenario)


def test_closing_waits_for_the_turn_and_cancels_who_waits(course: Course, log_dir: Path) -> None:
    tasks = []

    async def scenario(searches: Searches) -> None:
        tasks.extend(begin(searches, log_dir, uid, uid, 1000) for uid in (1, 2, 3))
        await until(lambda: {1, 2, 3} <= set(course.turns))
        searches.close()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        with pytest.raises(OSError, match="ends just now"):
            await searches.find(1, str(log_dir), Wanted())

    run(scenario)
