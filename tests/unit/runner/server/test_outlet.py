"""Parts of files over a socket: all of it, in order, whatever the reader and the kernel do."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from runner.server.outlet import FilePart, Outlet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE_SECONDS = 10.0
DATA = os.urandom(5 * 2**20)
HEAD = b"head"


class World:
    """A transport, an outlet beside it, and the other end."""

    def __init__(self, transport: asyncio.Transport, other: socket.socket, fd: int) -> None:
        self.transport = transport
        self.other = other
        self.fd = fd
        self.through = 0
        self.outlet = Outlet(transport, self._on_through)

    def _on_through(self) -> None:
        self.through += 1

    def part(self) -> FilePart:
        return FilePart(self.fd, 3, len(DATA) - 3)

    async def receive(self, count: int) -> bytes:
        found = bytearray()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(found) < count:
                more = await asyncio.get_running_loop().sock_recv(self.other, 2**16)
                if not more:
                    break
                found += more
        return bytes(found)


class Ending(asyncio.Protocol):
    """As a connection: its outlet ends with it."""

    world: World

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.world.outlet.close()


@asynccontextmanager
async def world(path: Path) -> AsyncIterator[World]:
    (path / "log").write_bytes(DATA)
    ours, other = socket.socketpair()
    other.setblocking(False)  # noqa: FBT003 - socket's
    loop = asyncio.get_running_loop()
    protocol = Ending()
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
    fd = os.open(path / "log", os.O_RDONLY)
    found = protocol.world = World(transport, other, fd)
    try:
        yield found
    finally:
        found.outlet.close()
        found.outlet.close()
        if not transport.is_closing():
            transport.abort()
            await asyncio.sleep(0)
        other.close()


def test_more_than_the_socket_holds_comes_through_though_the_file_was_closed(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as there:
            before = len(os.listdir("/proc/self/fd"))
            assert not there.outlet.send(HEAD, there.part())
            assert there.through == 0
            os.close(there.fd)
            assert await there.receive(len(HEAD) + len(DATA) - 3) == HEAD + DATA[3:]
            await asyncio.sleep(0)
            assert there.through == 1
            assert len(os.listdir("/proc/self/fd")) == before - 1

    asyncio.run(scenario())


def test_what_fits_is_through_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as there:
            assert there.outlet.send(HEAD, FilePart(there.fd, 1, 1000))
            assert await there.receive(1004) == HEAD + DATA[1:1001]
            assert there.through == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EOPNOTSUPP])
def test_where_the_kernel_cannot_the_bytes_take_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_args: int) -> int:
        raise OSError(error, os.strerror(error))

    async def scenario() -> None:
        async with world(tmp_path) as there:
            monkeypatch.setattr(os, "sendfile", refuse)
            assert there.outlet.send(HEAD, there.part())
            assert await there.receive(len(HEAD) + len(DATA) - 3) == HEAD + DATA[3:]

    asyncio.run(scenario())


def test_what_is_left_is_the_transports_when_the_connection_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as there:
            assert not there.outlet.send(HEAD, there.part())
            there.outlet.finish()
            there.outlet.finish()
            there.transport.write(b"after")
            there.transport.close()
            assert await there.receive(2**30) == HEAD + DATA[3:] + b"after"

    asyncio.run(scenario())


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_socket_without_room_for_the_head_is_waited_for(tmp_path: Path, when: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as there:
            fill = b"x" * 2**16
            sent = 0
            ours: Any = there.outlet._socket
            try:
                while True:
                    sent += ours.send(fill)
            except BlockingIOError:
                pass
            if when == "later":
                sent -= len(await there.receive(2))
            assert not there.outlet.send(HEAD, there.part())
            found = await there.receive(sent + len(HEAD) + len(DATA) - 3)
            assert found[sent:] == HEAD + DATA[3:]

    asyncio.run(scenario())


def test_a_file_that_became_shorter_ends_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as there:
            assert there.outlet.send(HEAD, FilePart(there.fd, len(DATA) - 10, 20))
            assert await there.receive(2**20) == HEAD + DATA[-10:]

    asyncio.run(scenario())
    assert "become shorter" in caplog.text


def test_a_reader_that_has_gone_is_the_transports_to_find_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as there:
            there.other.close()
            assert there.outlet.send(HEAD, there.part())

    asyncio.run(scenario())
