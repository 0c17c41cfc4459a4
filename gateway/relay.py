"""Stands before the gRPC server, which knows no bounds by address: passes bytes on, both ways.

    accept ─► Turnstile (address) ─► first bytes ─► 127.0.0.1, gRPC's own port ─► TLS, guard

TLS goes through it untouched: it holds no key, and who calls is `gateway.rpc.guard`'s to find out,
also for local processes that connect to the inner port themselves; they need a certificate as all
do. Of TLS it reads the types of records until the handshake is over, no more (RFC 8446, 5.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from gateway.door import have_descriptors, watch_for_dead_peers
from gateway.refusals import Refusals
from gateway.turnstile import SENTENCES, DoorBounds, Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_LOG: Final = logging.getLogger(__name__)
# Nothing but this host reaches the inner port.
INNER_HOST: Final = "127.0.0.1"
_ACCEPTS_AT_ONCE: Final = 16
_BACKLOG: Final = 1024
# The client's, ours to gRPC, and gRPC's.
_DESCRIPTORS_EACH: Final = 3
_OTHER_DESCRIPTORS: Final = 2048
# For which what waits may still be sent once one side has ended.
_LINGER_SECONDS: Final = 2.0
_RECORD_HEADER: Final = 5
# The type of records that are encrypted.
_APPLICATION_DATA: Final = 23

# Who is behind a connection of ours to the inner port, by our port.
_BEHIND: Final[dict[int, str]] = {}


def client_behind(host: str, port: str) -> str | None:
    """The address of the client for which a relay has connected from there; None: it has not."""
    if host != INNER_HOST or not port.isdecimal():
        return None
    return _BEHIND.get(int(port))


class Relay:
    """One listener, which connects each client to `inner_port`. `count` hears of refusals."""

    def __init__(
        self,
        inner_port: int,
        *,
        bounds: DoorBounds | None = None,
        count: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.bounds = bounds or DoorBounds()
        self.inner_port = inner_port
        self.turnstile = Turnstile(self.bounds, self._gives_way)
        self._refusals = Refusals(count)
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def ports(self) -> list[int]:
        """Where it listens, once it is open."""
        sockets = () if self._server is None else self._server.sockets
        return [one.getsockname()[1] for one in sockets]

    @property
    def connections(self) -> int:
        """How many there are now."""
        return self.turnstile.connections

    async def open(self, host: str, port: int) -> None:
        """Begins to listen. Raises OSError: the address is taken, or none of this host."""
        have_descriptors(self.bounds.connections * (_DESCRIPTORS_EACH + 1) + _OTHER_DESCRIPTORS)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Client(self), host, port, backlog=_ACCEPTS_AT_ONCE, reuse_address=True
        )
        for one in self._server.sockets:
            with one.dup() as same:
                same.listen(_BACKLOG)

    def shut(self) -> None:
        """Takes no more connections; those that are there go on."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """The end: what gRPC has said last is passed on for a while, then all are cut off."""
        self.shut()
        for client in list(self._clients):
            if client.other is None:
                client.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._is_empty.wait()
        for client in list(self._clients):
            client.abort()
        self._refusals.close()

    def arrive(self, client: _Client) -> bool:
        """Whether it may come in."""
        now = asyncio.get_running_loop().time()
        bound = self.turnstile.arrive(client, client.remote, now)
        if bound is not None:
            self._refusals.add(bound, client.remote, SENTENCES[bound])
            return False
        self._clients.add(client)
        self._is_empty.clear()
        return True

    def leave(self, client: _Client) -> None:
        """It is gone."""
        self.turnstile.leave(client)
        self._clients.discard(client)
        if not self._clients:
            self._is_empty.set()

    def cut_off(self, client: _Client, reason: str, sentence: str) -> None:
        """End it at once, and say why."""
        self._refusals.add(reason, client.remote, sentence)
        client.abort()

    def _gives_way(self, client: Hashable) -> None:
        assert isinstance(client, _Client)  # noqa: S101  what `arrive` has given
        self.cut_off(client, "gave-way", SENTENCES["gave-way"])


class _End(asyncio.Protocol):
    """One of the two connections of a pair. What comes in by it goes out by the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream's
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """No more comes from here; the other way stays open."""
        if self.other is not None and (out := self.other.transport) is not None:
            with contextlib.suppress(OSError):
                out.write_eof()
        return True

    def pause_writing(self) -> None:
        """More waits to go out here than should: nothing more is read from the other."""
        if self.other is not None and (source := self.other.transport) is not None:
            source.pause_reading()

    def resume_writing(self) -> None:
        """It went out."""
        if self.other is not None and (source := self.other.transport) is not None:
            source.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other ends as well: at once when this one broke, else when all is sent."""
        other, self.other = self.other, None
        if other is None or other.transport is None:
            return
        if exc is not None:
            other.transport.abort()
            return
        other.transport.close()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, other.transport.abort)

    def abort(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abort()


class _Inner(_End):
    """Ours to gRPC."""

    def __init__(self, client: _Client) -> None:
        super().__init__()
        self.other = self._client = client
        self._port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._port = transport.get_extra_info("sockname")[1]
        _BEHIND[self._port] = self._client.remote

    def data_received(self, data: bytes) -> None:
        self._client.answered()
        super().data_received(data)

    def eof_received(self) -> bool:
        # It never closes one way alone; a client that does not close must not keep its place.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        # Before the socket is closed, so the port cannot be another's yet.
        _BEHIND.pop(self._port, None)
        super().connection_lost(exc)


class _Client(_End):
    """A client's. Nothing is connected for it before it says something."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay
        self.remote = "unknown"
        self._early: list[bytes] = []
        self._records: _Records | None = _Records()
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if peer := transport.get_extra_info("peername"):
            self.remote = str(peer[0])
        with contextlib.suppress(OSError):
            watch_for_dead_peers(transport.get_extra_info("socket"))
        if not self._relay.arrive(self):
            self.abort()
            return
        seconds = self._relay.bounds.handshake_seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self._records is not None:
            self._records.feed(data)
        if self.other is not None:
            super().data_received(data)
            return
        self._early.append(data)
        if self._connecting is None and self.transport is not None:
            self.transport.pause_reading()
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def eof_received(self) -> bool:
        if self.other is None:
            return False  # it said nothing, or it is soon over: closed
        return super().eof_received()

    def answered(self) -> None:
        """What gRPC says after the client's encrypted records means that the handshake is over.

        (Or it is an alert, and the end.) Before them it says its own part of it, or asks for
        another hello, which anybody can make it do.
        """
        if self._records is not None and self._records.is_encrypted:
            self._records = None
            self._at_ease()
            self._relay.turnstile.settle(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        seconds = self._relay.bounds.stall_seconds
        self._stall = asyncio.get_running_loop().call_later(seconds, self._stalled)

    def resume_writing(self) -> None:
        self._moves()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_ease()
        self._moves()
        if self._connecting is not None:
            self._connecting.cancel()
        self._relay.leave(self)
        super().connection_lost(exc)

    async def _connect(self) -> None:
        try:
            _, inner = await asyncio.get_running_loop().create_connection(
                lambda: _Inner(self), INNER_HOST, self._relay.inner_port
            )
        except OSError as error:
            _LOG.error("the gRPC server of this gateway cannot be reached: %s", error)
            self.abort()
            return
        self._connecting = None
        self._begin(inner)

    def _begin(self, inner: _Inner) -> None:
        if self.transport is None or self.transport.is_closing():
            inner.abort()
            return
        self.other = inner
        self.transport.resume_reading()
        early, self._early = self._early, []
        for data in early:
            super().data_received(data)

    def _too_slow(self) -> None:
        self._timer = None
        self._relay.cut_off(self, "timeout", "it took too long")

    def _stalled(self) -> None:
        self._stall = None
        seconds = self._relay.bounds.stall_seconds
        self._relay.cut_off(self, "slow-reader", f"it took nothing for {seconds:g} s")

    def _at_ease(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _moves(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


class _Records:
    """Whether a whole encrypted record was among what a client has sent. Keeps no data."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self.is_encrypted = False

    def feed(self, data: bytes) -> None:
        """Some more of what it sends."""
        at = 0
        while at < len(data) and not self.is_encrypted:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
            else:
                more = data[at : at + _RECORD_HEADER - len(self._header)]
                self._header += more
                at += len(more)
                if len(self._header) < _RECORD_HEADER:
                    return
                self._left = int.from_bytes(self._header[3:], "big")
            if not self._left:
                self.is_encrypted = self._header[0] == _APPLICATION_DATA
                self._header = b""
