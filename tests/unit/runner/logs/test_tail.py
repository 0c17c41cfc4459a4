from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from inotify_simple import flags

from runner.event_loop import Loop
from runner.logs.reader import Chunk, LogReader
from runner.logs.tail import LogWatcher, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from subprocess import Popen

OpenWriter = Any

# Long enough for a busy machine; only a failure waits for it.
_DEADLINE = 20.0


@contextlib.asynccontextmanager
async def _watcher() -> AsyncIterator[LogWatcher]:
    watcher = LogWatcher(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(_DEADLINE):
            yield watcher
    finally:
        watcher.close()


def _kernel_watches(watcher: LogWatcher) -> int:
    """As the kernel tells it (proc_pid_fdinfo(5))."""
    assert watcher._inotify is not None
    with open(f"/proc/self/fdinfo/{watcher._inotify.fileno()}") as info:
        return sum(line.startswith("inotify ") for line in info)


async def _loop_has_turned() -> None:
    """Everything that was ready to run has run, and the selector was asked."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _settled(watch: Watch) -> asyncio.Task[None]:
    """A task that waits in changed(), all earlier wake-ups used up."""
    while True:
        task = asyncio.create_task(watch.changed())
        await _loop_has_turned()
        if not task.done():
            return task


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_an_append_wakes_a_waiting_follower(log_dir: Path, open_writer: OpenWriter) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            waiting = await _settled(watcher.watch(log_dir))
            writer.append(1, b"one", 11)
            await waiting

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_new_segment_wakes_a_waiting_follower(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            waiting = await _settled(watcher.watch(log_dir))
            (log_dir / "new").touch()
            await waiting
            waiting = await _settled(watcher.watch(log_dir))
            (log_dir.parent / "made").touch()
            (log_dir.parent / "made").rename(log_dir / "moved here")
            await waiting

    asyncio.run(follow())


def test_reading_wakes_nobody(log_dir: Path, open_writer: OpenWriter) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            waiting = await _settled(watcher.watch(log_dir))
            with LogReader(log_dir) as reader:
                assert reader.read(0) is not None
            await _loop_has_turned()
            assert not waiting.done()
            await _cancelled(waiting)

    with open_writer(log_dir) as writer:
        writer.append(1, b"one", 11)
        asyncio.run(follow())


def test_what_comes_between_reading_and_waiting_is_not_missed(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            for _ in range(50):
                await _cancelled(await _settled(watch))
                writer.append(1, b"one", 11)
                await watch.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_what_comes_after_a_wake_up_and_before_the_next_wait_is_not_missed(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch, other = watcher.watch(log_dir), watcher.watch(log_dir)
            for _ in range(50):
                waiting = [await _settled(watch), await _settled(other)]
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
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            writer.append(1, b"one", 11)
            await watch.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_cancelled_wait_does_not_swallow_the_wake_up(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            waiting = await _settled(watch)
            writer.append(1, b"one", 11)
            await _cancelled(waiting)
            await watch.changed()

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_many_followers_of_a_directory_share_one_kernel_watch(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watches = [watcher.watch(log_dir) for _ in range(20)]
            other_name = watcher.watch(f"{log_dir}/../{log_dir.name}")
            waiting = [await _settled(watch) for watch in (*watches, other_name)]
            assert _kernel_watches(watcher) == 1
            writer.append(1, b"one", 11)
            await asyncio.gather(*waiting)

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_follower_by_another_name_goes_on_when_the_first_name_is_left(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            first = watcher.watch(log_dir)
            second = watcher.watch(f"{log_dir}/../{log_dir.name}")
            waiting = await _settled(second)
            first.close()
            (log_dir / "new").touch()
            await waiting
            waiting = await _settled(second)
            (log_dir / "newer").touch()
            await waiting
            second.close()
            await _loop_has_turned()
            assert not watcher._armed

    asyncio.run(follow())


def test_a_thousand_appends_cost_one_event(log_dir: Path, open_writer: OpenWriter) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            await _cancelled(await _settled(watch))
            for number in range(1000):
                writer.append(1, b"one", number)
            assert watcher._inotify is not None
            # The event itself, and the notice that the one-shot watch is gone.
            assert len(watcher._inotify.read(timeout=0)) == 2
            assert _kernel_watches(watcher) == 0

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_closed_watch_is_gone_from_the_kernel_with_the_last_follower(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            with watcher.watch(log_dir) as one, watcher.watch(log_dir) as other:
                one.close()
                one.close()
                assert _kernel_watches(watcher) == 1
                other.close()
                assert _kernel_watches(watcher) == 0
            with watcher.watch(log_dir) as again:
                waiting = await _settled(again)
                (log_dir / "new").touch()
                await waiting

    asyncio.run(follow())


def test_closing_returns_who_waits_and_refuses_who_comes_later(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch, other = watcher.watch(log_dir), watcher.watch(log_dir)
            waiting, still_waiting = await _settled(watch), await _settled(other)
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
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            waiting = await _settled(watch)
            os.rmdir(log_dir)
            await waiting
            for _ in range(3):
                await watch.changed()

    asyncio.run(follow())
    assert len(caplog.messages) == 1


def test_a_directory_that_comes_later_is_watched_once_it_is_there(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir / "later")
            await watch.changed()
            (log_dir / "later").mkdir()
            waiting = await _settled(watch)
            assert _kernel_watches(watcher) == 1
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
            async with asyncio.timeout(_DEADLINE):
                for _ in range(3):
                    await watch.changed()
        async with asyncio.timeout(_DEADLINE):
            waiting = await _settled(watch)
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
        async with _watcher() as watcher:
            waiting = [await _settled(watcher.watch(path)) for path in (log_dir, tmp_path)]
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
        async with _watcher() as watcher, asyncio.TaskGroup() as followers:
            for max_bytes in (1, 5, 100):
                followers.create_task(follow(watcher, seen, max_bytes))
            for number in range(1, rounds + 1):
                os.write(process.stdin.fileno(), b"x")
                assert [await seen.get() for _ in range(3)] == [number] * 3
        process.stdin.close()

    with spawn(_OBEDIENT_WRITER, str(log_dir), "200", "1000") as process:
        assert process.stdout.readline() == b"begun\n"
        asyncio.run(conduct(process))
        assert process.wait(timeout=_DEADLINE) == 0


def test_a_follower_keeps_up_with_a_writer_that_never_waits(
    log_dir: Path, spawn: Callable[..., Any]
) -> None:
    count = 20_000

    async def follow() -> int:
        cursor = 0
        async with _watcher() as watcher:
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
        assert process.wait(timeout=_DEADLINE) == 0


async def _served(watch: Watch, answers: list[bool]) -> asyncio.Task[None]:
    """A follower that is called, and answers in this order, then that it goes on."""
    task = asyncio.create_task(watch.changed(lambda _: answers.pop(0) if answers else True))
    await _loop_has_turned()
    return task


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_follower_that_is_called_is_not_woken_until_it_hands_over(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            await _cancelled(await _settled(watch))
            answers: list[bool] = []
            waiting = await _served(watch, answers)
            for number in range(5):
                answers.append(True)
                (log_dir / f"new{number}").touch()
                await _until(lambda: not answers)
            assert not waiting.done()
            answers.append(False)
            (log_dir / "last").touch()
            await waiting

    asyncio.run(follow())


def test_what_a_follower_raises_is_raised_where_it_waits_and_harms_no_other(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            called: list[str] = []

            def fail(_: object) -> bool:
                called.append("one")
                raise OSError("the disk")

            one, other = watcher.watch(log_dir), watcher.watch(log_dir)
            for watch in (one, other):
                await _cancelled(await _settled(watch))
            failing = asyncio.create_task(one.changed(fail))
            going = asyncio.create_task(other.changed(lambda _: not called.append("other")))
            await _loop_has_turned()
            called.clear()
            (log_dir / "new").touch()
            with pytest.raises(OSError, match="the disk"):
                await failing
            await _until(lambda: "other" in called)
            assert not going.done()
            await _cancelled(going)

    asyncio.run(follow())


def test_output_without_a_pause_is_given_a_part_of_the_time(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            await _cancelled(await _settled(watch))
            looks: list[float] = []
            loop = asyncio.get_running_loop()

            def look(_: object) -> bool:
                looks.append(loop.time())
                while loop.time() < looks[-1] + 0.0005:
                    pass
                return True

            with (log_dir / "busy").open("wb", 0) as busy:
                waiting = asyncio.create_task(watch.changed(look, "busy"))
                await _loop_has_turned()
                until = loop.time() + 0.2
                while loop.time() < until:
                    busy.write(b"x")
                    await asyncio.sleep(0)
                # Half a millisecond each, then a whole one; and a burst before.
                assert 2 <= len(looks) <= 200 / 1.5 + 10
                before = len(looks)
                busy.write(b"x")
                await _until(lambda: len(looks) > before)
            await _cancelled(waiting)

    asyncio.run(follow())


def test_a_follower_of_a_file_is_called_when_that_is_written_to(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            told: list[bool] = []

            def look(names: bool) -> bool:  # noqa: FBT001 - as it is called
                told.append(names)
                return True

            waiting = asyncio.create_task(watch.changed(look, f"{0:020}.idx"))
            await _loop_has_turned()
            # The watch of the directory was set first: it knows of no file.
            writer.append(1, b"one", 11)
            await _until(lambda: True in told)
            for _ in range(20):
                await asyncio.sleep(0.002)
                told.clear()
                writer.append(1, b"two", 12)
                await _until(lambda: bool(told))
                assert told == [False]
            told.clear()
            (log_dir / "new").touch()
            await _until(lambda: True in told)
            assert not waiting.done()
            await _cancelled(waiting)

    with open_writer(log_dir) as writer:
        asyncio.run(follow())


def test_a_file_that_is_gone_leaves_its_follower_with_the_directory(
    log_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            told: list[bool] = []
            look = partial(_noting, told)
            waiting = asyncio.create_task(watch.changed(look, "gone"))
            await _loop_has_turned()
            for name in ("one", "two", "three"):
                (log_dir / name).write_bytes(b"x")
                await _until(lambda: bool(told))
                await asyncio.sleep(0.002)
                told.clear()
            assert not waiting.done()
            await _cancelled(waiting)

    asyncio.run(follow())
    assert not caplog.messages


def test_followers_in_several_segments_watch_the_file_of_each(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            told: dict[str, list[bool]] = {"one": [], "two": []}
            for name in told:
                (log_dir / name).touch()
            waiting = []
            for name, list_ in told.items():
                watch = watcher.watch(log_dir)
                changed = watch.changed(partial(_noting, list_), name)
                waiting.append(asyncio.create_task(changed))
            await _loop_has_turned()
            (log_dir / "new").touch()
            await _until(lambda: all(told.values()))
            assert _kernel_watches(watcher) == 3
            for name, list_ in told.items():
                await asyncio.sleep(0.002)
                list_.clear()
                (log_dir / name).write_bytes(b"x")
                await _until(partial(bool, list_))
            for task in waiting:
                await _cancelled(task)

    asyncio.run(follow())


def _noting(told: list[bool], names: bool) -> bool:  # noqa: FBT001 - as it is called
    told.append(names)
    return True


def test_no_file_is_watched_while_its_followers_are_busy(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            with (log_dir / "file").open("wb", 0) as file:
                waiting = asyncio.create_task(watch.changed(lambda _: True, "file"))
                await _loop_has_turned()
                file.write(b"x")
                await _until(lambda: _kernel_watches(watcher) == 2)
                await _cancelled(waiting)
                file.write(b"x")
                await _until(lambda: _kernel_watches(watcher) == 1)
                # And what came meanwhile is not missed.
                await watch.changed(lambda _: False, "file")

    asyncio.run(follow())


def test_the_daemons_loop_calls_followers_where_it_sees_the_event(
    log_dir: Path, open_writer: OpenWriter, caplog: pytest.LogCaptureFixture
) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            told: list[bool] = []
            waiting = asyncio.create_task(watch.changed(partial(_noting, told), f"{0:020}.idx"))
            await _loop_has_turned()
            for _ in range(3):
                told.clear()
                writer.append(1, b"one", 11)
                await _until(partial(bool, told))
            await _cancelled(waiting)
            # A defect is told, and ends nothing.
            watcher._fired = None  # type: ignore[assignment, method-assign]
            (log_dir / "new").touch()
            await _until(lambda: bool(caplog.messages))

    with open_writer(log_dir) as writer, asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(follow())
    assert "defect" in caplog.text


def test_a_follower_that_is_called_polls_once_the_directory_is_gone(log_dir: Path) -> None:
    async def follow() -> None:
        async with _watcher() as watcher:
            watch = watcher.watch(log_dir)
            await _cancelled(await _settled(watch))
            waiting = await _served(watch, [])
            os.rmdir(log_dir)
            await waiting
            await watch.changed(lambda _: True)

    asyncio.run(follow())
