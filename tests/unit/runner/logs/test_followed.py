"""When the followers of a directory are called, with real watches, and by a clock of ours."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from runner.logs.followed import Followed
from tests.unit.runner.logs.following import (
    cancelled,
    kernel_watches,
    loop_has_turned,
    noting,
    served,
    settled,
    until,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

OpenWriter = Any


def test_a_follower_that_is_called_is_not_woken_until_it_hands_over(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            await cancelled(await settled(watch))
            answers: list[bool] = []
            waiting = await served(watch, answers)
            for number in range(5):
                answers.append(True)
                (log_dir / f"new{number}").touch()
                await until(lambda: not answers)
            assert not waiting.done()
            answers.append(False)
            (log_dir / "last").touch()
            await waiting

    asyncio.run(follow())


def test_what_a_follower_raises_is_raised_where_it_waits_and_harms_no_other(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            called: list[str] = []

            def fail(_: object) -> bool:
                called.append("one")
                raise OSError("the disk")

            one, other = watcher.watch(log_dir), watcher.watch(log_dir)
            for watch in (one, other):
                await cancelled(await settled(watch))
            failing = asyncio.create_task(one.changed(fail))
            going = asyncio.create_task(other.changed(lambda _: not called.append("other")))
            await loop_has_turned()
            called.clear()
            (log_dir / "new").touch()
            with pytest.raises(OSError, match="the disk"):
                await failing
            await until(lambda: "other" in called)
            assert not going.done()
            await cancelled(going)

    asyncio.run(follow())


def test_output_without_a_pause_is_given_a_part_of_the_time(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            await cancelled(await settled(watch))
            looks: list[float] = []
            loop = asyncio.get_running_loop()

            def look(_: object) -> bool:
                looks.append(loop.time())
                while loop.time() < looks[-1] + 0.0005:
                    pass
                return True

            with (log_dir / "busy").open("wb", 0) as busy:
                waiting = asyncio.create_task(watch.changed(look, "busy"))
                await loop_has_turned()
                end = loop.time() + 0.2
                while loop.time() < end:
                    busy.write(b"x")
                    await asyncio.sleep(0)
                # Half a millisecond each, then a whole one; and a burst before.
                assert 2 <= len(looks) <= 200 / 1.5 + 10
                before = len(looks)
                busy.write(b"x")
                await until(lambda: len(looks) > before)
            await cancelled(waiting)

    asyncio.run(follow())


def test_a_follower_of_a_file_is_called_when_that_is_written_to(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            told: list[bool] = []

            def look(names: bool) -> bool:  # noqa: FBT001 - as it is called
                told.append(names)
                return True

            waiting = asyncio.create_task(watch.changed(look, f"{0:020}.idx"))
            await loop_has_turned()
            # The watch of the directory was set first: it knows of no file.
            writer.append(1, b"one", 11)
            await until(lambda: True in told)
            for _ in range(20):
                await asyncio.sleep(0.002)
                told.clear()
                writer.append(1, b"two", 12)
                await until(lambda: bool(told))
                assert told == [False]
            told.clear()
            (log_dir / "new").touch()
            await until(lambda: True in told)
            assert not waiting.done()
            await cancelled(waiting)

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_file_that_is_gone_leaves_its_follower_with_the_directory(
    log_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            told: list[bool] = []
            look = partial(noting, told)
            waiting = asyncio.create_task(watch.changed(look, "gone"))
            await loop_has_turned()
            for name in ("one", "two", "three"):
                (log_dir / name).write_bytes(b"x")
                await until(lambda: bool(told))
                await asyncio.sleep(0.002)
                told.clear()
            assert not waiting.done()
            await cancelled(waiting)

    asyncio.run(follow())
    assert not caplog.messages


def test_followers_in_several_segments_watch_the_file_of_each(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            told: dict[str, list[bool]] = {"one": [], "two": []}
            for name in told:
                (log_dir / name).touch()
            waiting = []
            for name, list_ in told.items():
                watch = watcher.watch(log_dir)
                changed = watch.changed(partial(noting, list_), name)
                waiting.append(asyncio.create_task(changed))
            await loop_has_turned()
            (log_dir / "new").touch()
            await until(lambda: all(told.values()))
            assert kernel_watches(watcher) == 3
            for name, list_ in told.items():
                await asyncio.sleep(0.002)
                list_.clear()
                (log_dir / name).write_bytes(b"x")
                await until(partial(bool, list_))
            for task in waiting:
                await cancelled(task)

    asyncio.run(follow())


def test_no_file_is_watched_while_its_followers_are_busy(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            with (log_dir / "file").open("wb", 0) as file:
                waiting = asyncio.create_task(watch.changed(lambda _: True, "file"))
                await loop_has_turned()
                file.write(b"x")
                await until(lambda: kernel_watches(watcher) == 2)
                await cancelled(waiting)
                file.write(b"x")
                await until(lambda: kernel_watches(watcher) == 1)
                # And what came meanwhile is not missed.
                await watch.changed(lambda _: False, "file")

    asyncio.run(follow())


def test_a_follower_that_is_called_polls_once_the_directory_is_gone(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            await cancelled(await settled(watch))
            waiting = await served(watch, [])
            os.rmdir(log_dir)
            await waiting
            await watch.changed(lambda _: True)

    asyncio.run(follow())


# Without a kernel: how often they are called.


class Watcher:
    """A kernel and a clock of the test's. `refuses`: it has no watch for anybody."""

    def __init__(self) -> None:
        self.time = 100.0
        self.refuses = False
        self.armed: list[str] = []
        self.dropped: list[int] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def arm(self, _directory: Followed, name: str, _mask: int) -> int | None:
        if self.refuses:
            return None
        self.armed.append(name)
        return len(self.armed)

    def drop(self, _directory: Followed, descriptor: int) -> None:
        self.dropped.append(descriptor)

    def forget(self, _directory: Followed, descriptors: Iterable[int]) -> None:
        self.dropped += descriptors

    def now(self) -> float:
        return self.time

    def later(self, seconds: float, look: Callable[[], None]) -> Any:
        timer = (self.time + seconds, look)
        self.timers.append(timer)
        return Timer(self, timer)

    def pass_until_the_look(self) -> float:
        """The clock moves on to the one timer that there is, and how long that was."""
        [(when, look)] = self.timers
        waited, self.time = when - self.time, when
        self.timers.clear()
        look()
        return waited


class Timer:
    def __init__(self, watcher: Watcher, timer: Any) -> None:
        self._watcher, self._timer = watcher, timer

    def cancel(self) -> None:
        self._watcher.timers.remove(self._timer)


def followed_by(watcher: Watcher) -> Followed:
    as_watcher: Any = watcher
    return Followed(as_watcher, "/log")


def test_a_look_that_takes_long_is_not_followed_by_another_at_once() -> None:
    async def scenario() -> None:
        watcher = Watcher()
        followed = followed_by(watcher)
        watch = followed.join()
        looks: list[float] = []

        def look(_names: bool) -> bool:  # noqa: FBT001 - as it is called
            looks.append(watcher.time)
            watcher.time += 0.0001
            return True

        waiting = asyncio.create_task(watch.changed(look, "file"))
        await loop_has_turned()
        assert looks == []
        while not watcher.timers:
            followed.fired(has_names=False)
        # A burst of a millisecond, in looks of a tenth that count thrice.
        assert 1 < len(looks) < 10
        seen = len(looks)
        for _ in range(1000):
            followed.fired(has_names=False)
        assert (len(looks), len(watcher.timers)) == (seen, 1)
        assert 0 < watcher.pass_until_the_look() <= 0.001
        assert len(looks) == seen + 1
        await cancelled(waiting)
        watch.close()
        assert watcher.timers == []

    asyncio.run(scenario())


def test_after_a_pause_the_next_line_is_looked_at_as_it_comes() -> None:
    async def scenario() -> None:
        watcher = Watcher()
        followed = followed_by(watcher)
        with followed.join() as watch:
            told: list[bool] = []
            waiting = asyncio.create_task(watch.changed(partial(noting, told), "file"))
            await loop_has_turned()
            while not watcher.timers:
                followed.fired(has_names=True)
            watcher.pass_until_the_look()
            watcher.time += 1.0
            told.clear()
            followed.fired(has_names=False)
            assert told == [False]
            assert watcher.timers == []
            await cancelled(waiting)

    asyncio.run(scenario())


def test_that_names_came_is_told_with_the_next_look_however_late() -> None:
    async def scenario() -> None:
        watcher = Watcher()
        followed = followed_by(watcher)
        with followed.join() as watch:
            told: list[bool] = []
            waiting = asyncio.create_task(watch.changed(partial(noting, told), "file"))
            await loop_has_turned()
            while not watcher.timers:
                followed.fired(has_names=False)
            followed.fired(has_names=True)
            followed.fired(has_names=False)
            told.clear()
            watcher.pass_until_the_look()
            assert told == [True]
            await cancelled(waiting)

    asyncio.run(scenario())


def test_without_a_kernel_watch_a_follower_looks_again_by_itself() -> None:
    async def scenario() -> None:
        watcher = Watcher()
        watcher.refuses = True
        with followed_by(watcher).join() as watch:
            for _ in range(2):
                async with asyncio.timeout(20):
                    await watch.changed(lambda _: True, "file")
        assert not watcher.armed
        assert not watcher.dropped

    asyncio.run(scenario())


def test_a_follower_that_closes_its_watch_leaves_those_of_the_others() -> None:
    async def scenario() -> None:
        watcher = Watcher()
        followed = followed_by(watcher)
        one, other = followed.join(), followed.join()
        waiting = asyncio.create_task(other.changed())
        await loop_has_turned()
        one.close()
        one.close()
        assert watcher.dropped == []
        assert not waiting.done()
        with pytest.raises(RuntimeError, match="closed"):
            await one.changed()
        followed.close()
        await waiting
        assert sorted(watcher.dropped) == sorted(range(1, len(watcher.armed) + 1))

    asyncio.run(scenario())
