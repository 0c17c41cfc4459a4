"""Followers of a log for tests: a watcher, who waits in it, and what the kernel has of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from runner.logs.tail import LogWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from runner.logs.tail import Watch

# Long enough for a busy machine; only a failure waits for it.
DEADLINE = 20.0


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[LogWatcher]:
    watcher = LogWatcher(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(DEADLINE):
            yield watcher
    finally:
        watcher.close()


def kernel_watches(watcher: LogWatcher) -> int:
    """As the kernel tells it (proc_pid_fdinfo(5))."""
    assert watcher._inotify is not None
    with open(f"/proc/self/fdinfo/{watcher._inotify.fileno()}") as info:
        return sum(line.startswith("inotify ") for line in info)


async def loop_has_turned() -> None:
    """Everything that was ready to run has run, and the selector was asked."""
    for _ in range(5):
        await asyncio.sleep(0)


async def settled(watch: Watch) -> asyncio.Task[None]:
    """A task that waits in changed(), all earlier wake-ups used up."""
    while True:
        task = asyncio.create_task(watch.changed())
        await loop_has_turned()
        if not task.done():
            return task


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def served(watch: Watch, answers: list[bool]) -> asyncio.Task[None]:
    """A follower that is called, and answers in this order, then that it goes on."""
    task = asyncio.create_task(watch.changed(lambda _: answers.pop(0) if answers else True))
    await loop_has_turned()
    return task


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def noting(told: list[bool], names: bool) -> bool:  # noqa: FBT001 - as it is called
    told.append(names)
    return True
