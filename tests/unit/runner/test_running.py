"""Who is watched: told once, when its process is gone; begun as soon as that can be committed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from runner import work
from runner.running import Running
from runner.store_file import StoreError
from runner.work import Work
from tests.unit.runner.removal import until

if TYPE_CHECKING:
    import pytest

Test = "Callable[[Watch], Awaitable[None]]"


class Watch:
    """A `Running` and what it tells; `fails` says how often the store does."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.fails = 0
        self.committed: list[tuple[Any, ...]] = []
        self.begun: list[str] = []
        self.ended: list[str] = []
        realm: Any = SimpleNamespace(
            store=self, work=Work(pool), changes=SimpleNamespace(announce=lambda _id: None)
        )
        self.running = Running(realm, self.ended.append, self.begun.append)

    def mark_running(self, job_id: str, *about: Any) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreError("full")
        self.committed.append((job_id, *about))


def child() -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    return process, os.pidfd_open(process.pid)


def end(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


def play(test: Test) -> None:
    async def whole() -> None:
        before = set(os.listdir("/proc/self/fd"))
        with ThreadPoolExecutor(1) as pool:
            watch = Watch(pool)
            await asyncio.wait_for(test(watch), 20)
            watch.running.close()
        assert set(os.listdir("/proc/self/fd")) <= before

    asyncio.run(whole())


def test_each_is_told_once_when_its_process_is_gone_however_many_go_at_once() -> None:
    async def test(watch: Watch) -> None:
        there = {str(number): child() for number in range(20)}
        for job_id, (_, pidfd) in there.items():
            watch.running.watch(job_id, pidfd)
        for process, _ in there.values():
            end(process)
        await until(lambda: len(watch.ended) == 20)
        assert sorted(watch.ended) == sorted(there)
        assert "3" not in watch.running

    play(test)


def test_what_is_told_of_one_that_fails_keeps_nobody_from_theirs() -> None:
    async def test(watch: Watch) -> None:
        def told(job_id: str) -> None:
            watch.ended.append(job_id)
            raise ZeroDivisionError

        watch.running._on_end = told
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        there = [child(), child()]
        for number, (_, pidfd) in enumerate(there):
            watch.running.watch(str(number), pidfd)
        for process, _ in there:
            end(process)
        await until(lambda: sorted(watch.ended) == ["0", "1"])

    play(test)


def test_a_number_that_another_has_now_is_that_of_the_other() -> None:
    async def test(watch: Watch) -> None:
        first, pidfd = child()
        # As the launcher has it for a moment longer.
        copy = os.dup(pidfd)
        watch.running.watch("first", pidfd)
        end(first)
        await until(lambda: watch.ended == ["first"])
        second, again = child()
        assert again == pidfd
        watch.running.watch("second", again)
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert watch.ended == ["first"]
        assert "second" in watch.running
        end(second)
        await until(lambda: watch.ended == ["first", "second"])
        os.close(copy)

    play(test)


def test_one_begins_as_soon_as_that_can_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "RETRY_SECONDS", 0.01)

    async def test(watch: Watch) -> None:
        process, pidfd = child()
        watch.running.begin_now("1", 7, pidfd, b"limits", 5)
        assert watch.begun == ["1"]
        assert watch.committed[0][:2] == ("1", 7)
        assert "1" in watch.running
        other, another = child()
        watch.fails = 3
        watch.running.begin_now("2", 8, another, None, 5)
        assert watch.begun == ["1"]
        await until(lambda: watch.begun == ["1", "2"])
        end(process)
        end(other)
        await until(lambda: len(watch.ended) == 2)

    play(test)
