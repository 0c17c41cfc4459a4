"""A door on loopback with a small aiohttp behind it, and clients of all kinds, for its tests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from client.errors import RequestRefused
from gateway.door import Admitted, Door, DoorBounds, Entrance, http_settings, who
from gateway.tls import Tls, TlsFiles
from tests.unit.gateway.certificates import Files, Pair, Town, client_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"
PATIENCE = 10.0


class Echo(asyncio.Protocol):
    """What speaks `runnerd/1` here: says who came, then says again what it hears."""

    def __init__(self, admitted: Admitted) -> None:
        self._greeting = f"wire {admitted.certificate.subject}\n".encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Counting:
    """So many connections of an identity, of those that are not strangers."""

    def __init__(self, most: int, strangers: frozenset[str] = frozenset()) -> None:
        self.most = most
        self.strangers = strangers
        self.inside: Counter[str] = Counter()

    @property
    def entrance(self) -> Entrance:
        return Entrance(self.connect, self.disconnect, lambda refused: f"{refused.code}\n".encode())

    def connect(self, admitted: Admitted) -> None:
        subject = admitted.certificate.subject
        if subject in self.strangers:
            raise RequestRefused("not-permitted", detail="nobody knows you")
        if self.inside[subject] >= self.most:
            raise RequestRefused("too-many-requests", detail="you are here already")
        self.inside[subject] += 1

    def disconnect(self, admitted: Admitted) -> None:
        self.inside[admitted.certificate.subject] -= 1


class House(NamedTuple):
    """What a test needs of one."""

    town: Town
    files: Files
    tls: Tls
    door: Door
    counted: Counter[str]
    directory: Path

    @property
    def port(self) -> int:
        return self.door.ports[0]

    async def connect(
        self, pair: Pair | None, *, alpn: str | None = None, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = context or client_context(self.town, pair, self.directory, alpn=alpn)
        return await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname="localhost"
        )

    async def ask(
        self, pair: Pair | None, *, alpn: str | None = None, context: ssl.SSLContext | None = None
    ) -> str:
        """The first line and the last of the answer to one request, or the word for a refusal."""
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await self.connect(pair, alpn=alpn, context=context)
                try:
                    return await exchange(reader, writer)
                finally:
                    await hang_up(writer)
        except ssl.SSLError as error:
            return (error.reason or "").lower().replace("_", " ")
        except (OSError, EOFError):
            return "closed"

    async def counts(self, reason: str, least: int = 1) -> None:
        """Waits until so many refusals were counted."""
        async with asyncio.timeout(PATIENCE):
            while self.counted[reason] < least:
                await asyncio.sleep(0.005)

    async def empty(self) -> None:
        """Waits until nobody is connected."""
        async with asyncio.timeout(PATIENCE):
            while self.door.connections:
                await asyncio.sleep(0.005)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """One request over a connection: what came, as `200 runnerd:user:alice`."""
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    return f"{head.split()[1].decode()} {body.decode()}"


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def house(
    directory: Path,
    *,
    revoked: Iterable[Pair] = (),
    town: Town | None = None,
    bounds: DoorBounds | None = None,
    entrance: Entrance | None = None,
    idle_seconds: float = 30.0,
) -> AsyncIterator[House]:
    """One that is open. At its end everybody has left, and nothing is still counted."""
    town = town or Town()
    files = town.write(directory, revoked=revoked)
    tls = Tls(TlsFiles(files.certificate, files.key, files.ca, files.crl))
    bounds, counted = bounds or DoorBounds(), Counter[str]()

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        admitted = who(request.transport)
        why = tls.trust.refusal(admitted.certificate)
        return web.Response(text=why or admitted.certificate.subject, status=401 if why else 200)

    server = web.Server(answer, **http_settings(header_bytes=8190, idle_seconds=idle_seconds))
    door = Door(
        tls,
        lambda _admitted: server(),
        Echo,
        bounds=bounds,
        entrance=entrance,
        count=lambda reason: counted.update([reason]),
    )
    await door.open("127.0.0.1", 0)
    made = House(town, files, tls, door, counted, directory)
    try:
        yield made
    finally:
        await server.shutdown(1)
        await door.close()
    await made.empty()
