"""The loop: as asyncio's, but for what is read at once."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from runner.event_loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


def run(scenario: Callable[[Loop, socket.socket, socket.socket], Coroutine[Any, Any, _T]]) -> _T:
    async def whole() -> _T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)  # noqa: FBT003 - socket's
            async with asyncio.timeout(10):
                return await scenario(loop, ours, theirs)

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(whole())


def test_what_is_read_at_once_is_not_given_to_the_reader() -> None:
    async def scenario(loop: Loop, ours: socket.socket, theirs: socket.socket) -> list[bytes]:
        seen: list[bytes] = []
        done = asyncio.Event()

        def read() -> bool:
            seen.append(ours.recv(10))
            done.set()
            return True

        loop.add_reader(ours, seen.append, b"the reader")
        loop.read_at_once(ours.fileno(), read)
        theirs.send(b"a")
        await done.wait()
        loop.remove_reader(ours)
        return seen

    assert run(scenario) == [b"a"]


def test_the_reader_is_called_where_nothing_was_read_or_it_was_forgotten() -> None:
    async def scenario(loop: Loop, ours: socket.socket, theirs: socket.socket) -> list[str]:
        seen: list[str] = []
        read = asyncio.Event()

        def look() -> bool:
            seen.append("looked")
            return False

        def reader() -> None:
            seen.append(ours.recv(10).decode())
            read.set()

        loop.add_reader(ours, reader)
        loop.read_at_once(ours.fileno(), look)
        theirs.send(b"a")
        await read.wait()
        read.clear()
        loop.forget(ours.fileno())
        loop.forget(ours.fileno())
        theirs.send(b"b")
        await read.wait()
        loop.remove_reader(ours)
        return seen

    assert run(scenario) == ["looked", "a", "b"]


def test_nothing_is_read_at_once_without_a_reader_nor_when_the_other_side_is_gone() -> None:
    async def scenario(loop: Loop, ours: socket.socket, theirs: socket.socket) -> list[str]:
        seen: list[str] = []

        def look() -> bool:
            seen.append("looked")
            return True

        loop.read_at_once(ours.fileno(), look)
        writable = asyncio.Event()
        loop.add_writer(ours, writable.set)
        theirs.send(b"a")
        await writable.wait()
        loop.remove_writer(ours)
        gone = asyncio.Event()
        theirs.close()
        loop.add_reader(ours, gone.set)
        await gone.wait()
        loop.remove_reader(ours)
        return seen

    assert run(scenario) == []


def test_one_that_was_paused_by_another_in_the_same_turn_is_not_read() -> None:
    async def scenario(loop: Loop, ours: socket.socket, theirs: socket.socket) -> int:
        other, far = socket.socketpair()
        reads = []

        def read(mine: socket.socket, others: socket.socket) -> bool:
            reads.append(mine.recv(10))
            loop.remove_reader(others)
            return True

        with other, far:
            loop.add_reader(ours, lambda: None)
            loop.add_reader(other, lambda: None)
            loop.read_at_once(ours.fileno(), lambda: read(ours, other))
            loop.read_at_once(other.fileno(), lambda: read(other, ours))
            theirs.send(b"a")
            far.send(b"a")
            while not reads:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            loop.remove_reader(ours)
            loop.remove_reader(other)
        return len(reads)

    assert run(scenario) == 1


def test_a_time_is_waited_for_and_not_turned_for() -> None:
    async def scenario(_loop: Loop, _ours: socket.socket, _theirs: socket.socket) -> float:
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(0.05)
        assert time.process_time() - cpu < 0.04
        return time.monotonic() - began

    assert run(scenario) >= 0.05


def test_threads_pipes_and_servers_work_as_in_any_loop() -> None:
    async def scenario(loop: Loop, ours: socket.socket, theirs: socket.socket) -> bytes:
        assert await asyncio.to_thread(os.getpid) == os.getpid()
        await loop.sock_sendall(ours, b"x" * 10)
        theirs.setblocking(False)  # noqa: FBT003 - socket's
        got = await loop.sock_recv(theirs, 100)
        reader, writer = await asyncio.open_connection(sock=theirs)
        await loop.sock_sendall(ours, b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        return got

    assert run(scenario) == b"x" * 10


def test_what_is_registered_twice_or_not_at_all_is_refused() -> None:
    loop = Loop()
    selector = loop._seeing
    ours, theirs = socket.socketpair()
    with ours, theirs:
        selector.register(ours, 1)
        with pytest.raises(KeyError):
            selector.register(ours.fileno(), 1)
        assert selector.get_key(ours).fd in selector.get_map()
        selector.modify(ours, 3)
        selector.unregister(ours)
        for ask in (selector.unregister, selector.get_key):
            with pytest.raises(KeyError):
                ask(ours)
    loop.close()
