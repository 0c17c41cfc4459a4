"""The pool of namespaces: who gets which, and that none is lost. Any descriptor will do here."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from isolation.errors import NetworkError
from isolation.network.loopback import LoopbackNetworks

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0


class Maker:
    """Makes descriptors, as many as it is allowed to, and knows which are still open."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.allowed = threading.Semaphore(0)
        self.error: Exception | None = None
        self.changed = threading.Condition()

    def __call__(self) -> int:
        assert self.allowed.acquire(timeout=SECONDS)
        if self.error is not None:
            raise self.error
        fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        with self.changed:
            self.made.append(fd)
            self.changed.notify_all()
        return fd

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.made) >= count, SECONDS)

    def open_now(self) -> int:
        return len(self.made) - sum(_closed(fd) for fd in set(self.made))


def _closed(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno == errno.EBADF
    return False


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def pool(maker: Maker) -> Iterator[LoopbackNetworks]:
    networks = LoopbackNetworks(ready=2, make=maker)
    yield networks
    maker.allowed.release(100)
    networks.close()
    assert all(_closed(fd) for fd in maker.made)


def test_nothing_heavy_is_imported_for_it() -> None:
    program = "import sys, isolation.network.loopback; sys.exit('pyroute2' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0


def test_what_is_taken_is_made_and_the_pool_filled_again(
    maker: Maker, pool: LoopbackNetworks
) -> None:
    maker.allowed.release(3)
    fd = pool.take().result(SECONDS)
    maker.wait_for(3)
    assert fd in maker.made
    os.close(fd)


def test_a_ready_one_is_there_at_once(maker: Maker, pool: LoopbackNetworks) -> None:
    maker.allowed.release(3)
    pool.start()
    maker.wait_for(2)
    os.close(pool.take().result(SECONDS))
    maker.wait_for(3)
    second = pool.take()
    assert second.done()
    os.close(second.result())


def test_who_asks_for_a_ready_one_does_not_wait(maker: Maker, pool: LoopbackNetworks) -> None:
    maker.allowed.release(3)
    os.close(pool.take().result(SECONDS))
    maker.wait_for(3)
    asking = pool.acquire()
    with pytest.raises(StopIteration) as done:
        asking.send(None)
    os.close(done.value.value)


def test_everybody_gets_another_one(maker: Maker, pool: LoopbackNetworks) -> None:
    futures = [pool.take() for _ in range(8)]
    maker.allowed.release(20)
    taken = [future.result(SECONDS) for future in futures]
    assert len(set(taken)) == 8
    for fd in taken:
        os.close(fd)


def test_a_failure_reaches_who_waits_and_the_next_one_tries_again(
    maker: Maker, pool: LoopbackNetworks
) -> None:
    maker.error = NetworkError(errno.ENOSPC, "unshare(CLONE_NEWNET)")
    future = pool.take()
    maker.allowed.release()
    with pytest.raises(NetworkError, match="ENOSPC"):
        future.result(SECONDS)
    maker.error = None
    future = pool.take()
    maker.allowed.release(3)
    os.close(future.result(SECONDS))


def test_a_defect_reaches_who_waits_instead_of_ending_the_thread(
    maker: Maker, pool: LoopbackNetworks
) -> None:
    maker.error = ImportError("no such library")
    future = pool.take()
    maker.allowed.release()
    with pytest.raises(ImportError):
        future.result(SECONDS)


def test_a_cancelled_request_takes_nothing(maker: Maker, pool: LoopbackNetworks) -> None:
    first, second = pool.take(), pool.take()
    assert first.cancel()
    maker.allowed.release()
    os.close(second.result(SECONDS))
    assert maker.made[0] == second.result()


def test_a_cancelled_coroutine_loses_no_namespace(maker: Maker, pool: LoopbackNetworks) -> None:
    async def cancelled_at_any_moment() -> None:
        for turns in range(6):
            task = asyncio.ensure_future(pool.acquire())
            for _ in range(turns):
                await asyncio.sleep(0)
            maker.allowed.release()
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            if isinstance(results[0], int):
                os.close(results[0])

    asyncio.run(cancelled_at_any_moment())
    # The fixture closes the pool and finds every descriptor closed.


def test_a_coroutine_gets_one(maker: Maker, pool: LoopbackNetworks) -> None:
    maker.allowed.release(5)
    os.close(asyncio.run(pool.acquire()))


def test_closing_ends_the_thread_and_refuses_who_waits(
    maker: Maker, pool: LoopbackNetworks
) -> None:
    before = threading.active_count()
    waiting = [pool.take() for _ in range(2)]
    maker.error = NetworkError(errno.EPERM, "unshare(CLONE_NEWNET)")
    maker.allowed.release(2)
    pool.close()
    for future in waiting:
        with pytest.raises(NetworkError):
            future.result(SECONDS)
    with pytest.raises(NetworkError, match="closing"):
        pool.take().result(SECONDS)
    assert threading.active_count() == before
    pool.close()
