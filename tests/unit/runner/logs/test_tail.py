from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from inotify_simple import flags

from runner.event_loop import Loop
from runner.logs.reader import Chunk, LogReader
from runner.logs.tail import LogWatcher
from tests.unit.runner.logs.following import (
    DEADLINE,
    cancelled,
    kernel_watches,
    loop_has_turned,
    noting,
    settled,
    until,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import Popen

OpenWriter = Any


def test_an_append_wakes_a_waiting_follower(log_dir: Path, open_writer: OpenWriter) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            waiting = await settled(watcher.watch(log_dir))
            writer.append(1, b"one", 11)
            await waiting

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_new_segment_wakes_a_waiting_follower(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            waiting = await settled(watcher.watch(log_dir))
            (log_dir / "new").touch()
            await waiting
            waiting = await settled(watcher.watch(log_dir))
            (log_dir.parent / "made").touch()
            (log_dir.parent / "made").rename(log_dir / "moved here")
            await waiting

    asyncio.run(follow())


def test_reading_wakes_nobody(log_dir: Path, open_writer: OpenWriter) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            waiting = await settled(watcher.watch(log_dir))
            with LogReader(log_dir) as reader:
                assert reader.read(0) is not None
            await loop_has_turned()
            assert not waiting.done()
            await cancelled(waiting)

    with open_writer(log_dir) as writer:
        writer.append(1, b"one", 11)
        asyncio.run(follow())


def test_what_comes_between_reading_and_waiting_is_not_missed(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            for _ in range(50):
                await cancelled(await settled(watch))
                writer.append(1, b"one", 11)
                await watch.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_what_comes_after_a_wake_up_and_before_the_next_wait_is_not_missed(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch, other = watcher.watch(log_dir), watcher.watch(log_dir)
            for _ in range(50):
                waiting = [await settled(watch), await settled(other)]
                writer.append(1, b"one", 11)
                await asyncio.gather(*waiting)
                writer.append(1, b"two", 12)
                await watch.changed()
                await other.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_what_comes_before_the_first_wait_is_not_missed(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            writer.append(1, b"one", 11)
            await watch.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_cancelled_wait_does_not_swallow_the_wake_up(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            waiting = await settled(watch)
            writer.append(1, b"one", 11)
            await cancelled(waiting)
            await watch.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_many_followers_of_a_directory_share_one_kernel_watch(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watches = [watcher.watch(log_dir) for _ in range(20)]
            other_name = watcher.watch(f"{log_dir}/../{log_dir.name}")
            waiting = [await settled(watch) for watch in (*watches, other_name)]
            assert kernel_watches(watcher) == 1
            writer.append(1, b"one", 11)
            await asyncio.gather(*waiting)

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_follower_by_another_name_goes_on_when_the_first_name_is_left(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            first = watcher.watch(log_dir)
            second = watcher.watch(f"{log_dir}/../{log_dir.name}")
            waiting = await settled(second)
            first.close()
            (log_dir / "new").touch()
            await waiting
            waiting = await settled(second)
            (log_dir / "newer").touch()
            await waiting
            second.close()
            await loop_has_turned()
            assert not watcher._armed

    asyncio.run(follow())


def test_a_thousand_appends_cost_one_event(log_dir: Path, open_writer: OpenWriter) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            await cancelled(await settled(watch))
            for number in range(1000):
                writer.append(1, b"one", number)
            assert watcher._inotify is not None
            # The event itself, and the notice that the one-shot watch is gone.
            assert len(watcher._inotify.read(timeout=0)) == 2
            assert kernel_watches(watcher) == 0

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_closed_watch_is_gone_from_the_kernel_with_the_last_follower(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            with watcher.watch(log_dir) as one, watcher.watch(log_dir) as other:
                one.close()
                one.close()
                assert kernel_watches(watcher) == 1
                other.close()
                assert kernel_watches(watcher) == 0
            with watcher.watch(log_dir) as again:
                waiting = await settled(again)
                (log_dir / "new").touch()
                await waiting

    asyncio.run(follow())


def test_closing_returns_who_waits_and_refuses_who_comes_later(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch, other = watcher.watch(log_dir), watcher.watch(log_dir)
            waiting, still_waiting = await settled(watch), await settled(other)
            watch.close()
            await waiting
            with pytest.raises(RuntimeError, match="closed"):
                await watch.changed()
            assert not still_waiting.done()
            watcher.close()
            watcher.close()
            await still_waiting
            with pytest.raises(RuntimeError, match="closed"):
                await other.changed()
            with pytest.raises(RuntimeError, match="closed"):
                watcher.watch(log_dir)

    asyncio.run(follow())


def test_removing_the_directory_wakes_its_followers_and_then_they_poll(
    log_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            waiting = await settled(watch)
            os.rmdir(log_dir)
            await waiting
            for _ in range(3):
                await watch.changed()

    asyncio.run(follow())
    assert len(caplog.messages) == 1


def test_a_directory_that_comes_later_is_watched_once_it_is_there(log_dir: Path) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir / "later")
            await watch.changed()
            (log_dir / "later").mkdir()
            waiting = await settled(watch)
            assert kernel_watches(watcher) == 1
            (log_dir / "later" / "new").touch()
            await waiting

    asyncio.run(follow())


def test_without_an_inotify_instance_followers_poll_until_there_is_one(
    log_dir: Path,
    descriptors_left: Callable[[int], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def follow() -> None:
        with descriptors_left(0):
            watcher = LogWatcher(asyncio.get_running_loop())
            watch = watcher.watch(log_dir)
            async with asyncio.timeout(DEADLINE):
                for _ in range(3):
                    await watch.changed()
        async with asyncio.timeout(DEADLINE):
            waiting = await settled(watch)
            (log_dir / "new").touch()
            await waiting
        watcher.close()

    asyncio.run(follow())
    assert len(caplog.messages) == 1
    assert "polling" in caplog.messages[0]


def test_an_overflowing_event_queue_wakes_everybody(log_dir: Path, tmp_path: Path) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events") as setting:
        limit = int(setting.read())

    async def follow() -> None:
        async with watching() as watcher:
            waiting = [await settled(watcher.watch(path)) for path in (log_dir, tmp_path)]
            _fill_queue(watcher, tmp_path / "noise", limit)
            # The event of this one finds no room any more.
            (log_dir / "new").touch()
            await asyncio.gather(*waiting)

    asyncio.run(follow())


def _fill_queue(watcher: LogWatcher, noise: Path, count: int) -> None:
    """Other events in the same queue; two files in turn, as equal neighbours become one."""
    noise.mkdir()
    assert watcher._inotify is not None
    watcher._inotify.add_watch(noise, flags.MODIFY)
    with (noise / "one").open("wb", 0) as one, (noise / "other").open("wb", 0) as other:
        for _ in range(count // 2 + 1):
            one.write(b"x")
            other.write(b"x")


# Appends when told to, so that a wake-up that gets lost is never made good by the next append.
_OBEDIENT_WRITER = """
import os, sys
from runner.logs.writer import SegmentWriter

dir_fd = os.open(sys.argv[1], os.O_RDONLY)
writer = SegmentWriter(dir_fd, segment_bytes=int(sys.argv[2]), keep_bytes=int(sys.argv[3]))
print("begun", flush=True)
while order := os.read(0, 1):
    writer.append(1, order, 0)
writer.close()
"""


def test_no_wake_up_is_lost_between_processes(log_dir: Path, spawn: Callable[..., Any]) -> None:
    rounds = 600

    async def follow(watcher: LogWatcher, seen: asyncio.Queue[int], max_bytes: int) -> None:
        cursor = 0
        with watcher.watch(log_dir) as watch, LogReader(log_dir) as reader:
            while cursor < rounds:
                part = reader.read(cursor, max_bytes)
                if part is None:
                    await watch.changed()
                else:
                    assert isinstance(part, Chunk)
                    cursor += len(part.data)
                    seen.put_nowait(cursor)

    async def conduct(process: Popen[bytes]) -> None:
        seen: asyncio.Queue[int] = asyncio.Queue()
        assert process.stdin is not None
        async with watching() as watcher, asyncio.TaskGroup() as followers:
            for max_bytes in (1, 5, 100):
                followers.create_task(follow(watcher, seen, max_bytes))
            for number in range(1, rounds + 1):
                os.write(process.stdin.fileno(), b"x")
                assert [await seen.get() for _ in range(3)] == [number] * 3
        process.stdin.close()

    with spawn(_OBEDIENT_WRITER, str(log_dir), "200", "1000") as process:
        assert process.stdout.readline() == b"begun\n"
        asyncio.run(conduct(process))
        assert process.wait(timeout=DEADLINE) == 0


def test_a_follower_keeps_up_with_a_writer_that_never_waits(
    log_dir: Path, spawn: Callable[..., Any]
) -> None:
    count = 20_000

    async def follow() -> int:
        cursor = 0
        async with watching() as watcher:
            with watcher.watch(log_dir) as watch, LogReader(log_dir) as reader:
                while cursor < count:
                    part = reader.read(cursor)
                    if part is None:
                        await watch.changed()
                    else:
                        assert isinstance(part, Chunk)
                        cursor += len(part.data)
        return cursor

    with spawn(_OBEDIENT_WRITER, str(log_dir), "20000", "9999999") as process:
        assert process.stdout.readline() == b"begun\n"
        process.stdin.write(b"x" * count)
        process.stdin.close()
        assert asyncio.run(follow()) == count
        assert process.wait(timeout=DEADLINE) == 0


def test_the_daemons_loop_calls_followers_where_it_sees_the_event(
    log_dir: Path, open_writer: OpenWriter, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        async with watching() as watcher:
            watch = watcher.watch(log_dir)
            told: list[bool] = []
            waiting = asyncio.create_task(watch.changed(partial(noting, told), f"{0:020}.idx"))
            await loop_has_turned()
            for _ in range(3):
                told.clear()
                writer.append(1, b"one", 11)
                await until(partial(bool, told))
            await cancelled(waiting)
            # A defect is told, and ends nothing.
            watcher._fired = None  # type: ignore[assignment, method-assign]
            (log_dir / "new").touch()
            await until(lambda: bool(caplog.messages))

    with open_writer(log_dir) as writer, asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(follow())
    assert "defect" in caplog.text
