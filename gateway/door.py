"""The door: one listener for REST and for runnerd's own protocol, TLS before anything else.

    accept ─► Turnstile (address) ─► handshake ─► identity, Trust ─► `connect` (policy) ─► factory

Who comes in is known by certificate; `http` or `wire` makes what serves it, by what ALPN agreed on.
Whether the policy knows it, and how many connections it has, is asked once for each connection;
what it may do, for each of its requests: both by `session`, not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from client.errors import RequestRefused
from gateway.codes import code_of
from gateway.connection_guard import Guard
from gateway.farewell import speaking_to
from gateway.handshakes import Failure, failure
from gateway.identity import Certificate, IdentityError, read_certificate
from gateway.refusals import Refusals
from gateway.tls import ALPN_WIRE
from gateway.turnstile import SENTENCES, DoorBounds, Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.tls import Tls

__all__ = [
    "Admitted", "Door", "DoorBounds", "Entrance", "have_descriptors", "http_settings",
    "watch_for_dead_peers", "who",
]  # fmt: skip

_LOG: Final = logging.getLogger(__name__)
# asyncio takes so many from the queue in one turn of the loop, in which nobody else is served; the
# queue itself may be longer (listen(2) may be called again).
_ACCEPTS_AT_ONCE: Final = 16
_BACKLOG: Final = 1024
# asyncio keeps so much for each TLS connection, zeroed, so it is memory from the first moment on:
# 256 KiB unless told otherwise, which were most of what a connection costs. A TLS record has 16.
_READ_BUFFER: Final = 32 * 1024
# For connections to runnerd, gRPC's, and files.
_OTHER_DESCRIPTORS: Final = 1024
_WRITE_BUFFER: Final = 64 * 1024
_GOODBYE_SECONDS: Final = 2.0
# Words for metrics, of the codes of refusals.
_REASONS: Final = {
    "too-many-requests": "subject-busy", "not-permitted": "no-binding",
    "unauthenticated": "certificate",
}  # fmt: skip


class Admitted(NamedTuple):
    """Who stands behind a connection. Whether the certificate counts is asked again each time."""

    certificate: Certificate
    remote: str  # the address alone
    alpn: str | None


class Entrance(NamedTuple):
    """Who counts an identity's connections, over all interfaces together.

    `connect` raises RequestRefused: it may not come in, or not now; `disconnect` follows each
    `connect` that did not raise, once. `last_word` is what a connection of runnerd's protocol is
    told that is refused.
    """

    connect: Callable[[Admitted], None] = lambda _admitted: None
    disconnect: Callable[[Admitted], None] = lambda _admitted: None
    last_word: Callable[[RequestRefused], bytes] = lambda _refused: b""


_ADMITTED: WeakKeyDictionary[asyncio.BaseTransport, Admitted] = WeakKeyDictionary()


def who(transport: asyncio.BaseTransport) -> Admitted:
    """Who is behind a transport that a door gave to a protocol. KeyError for any other."""
    return _ADMITTED[transport]


def http_settings(*, header_bytes: int, idle_seconds: float) -> dict[str, Any]:
    """What aiohttp's server is made with, so that slow senders of headers are cut off.

    Its keep-alive time counts from the handshake, or the last answer, to the end of the next
    request's headers, however they trickle in. It does not count for bodies: whoever reads one
    does that with a time of its own.
    """
    return {
        "keepalive_timeout": idle_seconds,
        "lingering_time": 5.0,
        "max_line_size": header_bytes,
        "max_field_size": header_bytes,
        "max_headers": 64,
        "tcp_keepalive": False,  # the door has seen to it
        "access_log": None,
    }


class Door:
    """One listener. `http` and `wire` make the protocol of a connection; `count` hears of refusals.

    `count` is called with one of the few words of `handshakes` and `turnstile`, or "identity",
    "certificate", "no-binding", "subject-busy", "slow-reader".
    """

    def __init__(
        self,
        tls: Tls,
        http: Callable[[Admitted], asyncio.Protocol],
        wire: Callable[[Admitted], asyncio.Protocol] | None = None,
        *,
        bounds: DoorBounds | None = None,
        entrance: Entrance | None = None,
        count: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._tls = tls
        self._http = http
        self._wire = wire
        self._bounds = bounds or DoorBounds()
        self._entrance = entrance or Entrance()
        self._turnstile = Turnstile(self._bounds, self._gives_way)
        self._refusals = Refusals(count)
        self._server: asyncio.Server | None = None
        self._coming: dict[Hashable, tuple[asyncio.Task[bool], str]] = {}
        self._inside: dict[Guard, Admitted] = {}

    @property
    def ports(self) -> list[int]:
        """Where it listens, once it is open."""
        sockets = () if self._server is None else self._server.sockets
        return [one.getsockname()[1] for one in sockets]

    @property
    def connections(self) -> int:
        """How many there are now, handshakes among them."""
        return self._turnstile.connections

    async def open(self, host: str, port: int) -> None:
        """Begins to listen. Raises OSError: the address is taken, or none of this host."""
        loop = asyncio.get_running_loop()
        SSLProtocol.max_size = _READ_BUFFER
        have_descriptors(self._bounds.connections + _OTHER_DESCRIPTORS)
        self._server = await loop.create_server(
            lambda: _Arrival(self._arrive), host, port, backlog=_ACCEPTS_AT_ONCE, reuse_address=True
        )
        for one in self._server.sockets:
            with one.dup() as same:
                same.listen(_BACKLOG)

    def shut(self) -> None:
        """Takes no more connections; those that are inside go on."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """The end: whoever is still inside is cut off."""
        self.shut()
        tasks = [task for task, _remote in self._coming.values()]
        for task in tasks:
            task.cancel()
        for guard in list(self._inside):
            guard.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refusals.close()

    def sweep(self) -> int:
        """Cuts off whose certificate has stopped to count; how many. For each second, or so.

        Requests are refused anyway: this ends what goes on without asking, such as a followed log.
        """
        ended = [
            (guard, admitted, why)
            for guard, admitted in self._inside.items()
            if (why := self._tls.trust.refusal(admitted.certificate)) is not None
        ]
        for guard, admitted, why in ended:
            self._refusals.add("certificate", admitted.remote, f"{_called(admitted)}: {why}")
            guard.abort()
        return len(ended)

    def _arrive(self, transport: asyncio.Transport) -> None:
        remote = _remote(transport)
        guard = Guard(
            self._bounds.stall_seconds, lambda: self._stalled(guard), lambda: self._leave(guard)
        )
        now = asyncio.get_running_loop().time()
        if (bound := self._turnstile.arrive(guard, remote, now)) is not None:
            self._refusals.add(bound, remote, SENTENCES[bound])
            transport.abort()
            return
        task = asyncio.create_task(self._let_in(transport, remote, guard))
        self._coming[guard] = task, remote

        def came(task: asyncio.Task[bool]) -> None:
            self._came(guard, transport, task)

        task.add_done_callback(came)

    def _came(self, guard: Guard, raw: asyncio.Transport, task: asyncio.Task[bool]) -> None:
        """Its way in is over. Here, because a task that is cancelled may never have begun."""
        del self._coming[guard]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _LOG.error("a connection could not be let in", exc_info=error)
        if task.cancelled() or error is not None:
            raw.abort()
        elif task.result():
            return
        self._turnstile.leave(guard)

    def _gives_way(self, guard: Hashable) -> None:
        task, remote = self._coming[guard]
        self._refusals.add("gave-way", remote, SENTENCES["gave-way"])
        task.cancel()

    async def _let_in(self, raw: asyncio.Transport, remote: str, guard: Guard) -> bool:
        """From an accepted connection to one that is served; whether it is."""
        transport = await self._shake_hands(raw, remote, guard)
        if transport is None or guard.gone:
            return False
        return self._enter(transport, remote, guard)

    async def _shake_hands(
        self, raw: asyncio.Transport, remote: str, guard: Guard
    ) -> asyncio.Transport | None:
        try:
            with speaking_to(raw):
                # None when the peer has gone by then, whatever the annotation says.
                return await asyncio.get_running_loop().start_tls(
                    raw,
                    guard,
                    self._tls.context(),
                    server_side=True,
                    ssl_handshake_timeout=self._bounds.handshake_seconds,
                    ssl_shutdown_timeout=_GOODBYE_SECONDS,
                )
        except (OSError, ssl.SSLError) as error:
            self._refuse(remote, failure(error))
            return None
        finally:
            self._turnstile.settle(guard)

    def _enter(self, transport: asyncio.Transport, remote: str, guard: Guard) -> bool:
        """Whether it is served from now on. False: it was told why not, and closed."""
        try:
            admitted = self._known(transport, remote)
        except IdentityError as error:
            self._turn_away(transport, remote, Failure("identity", str(error)))
            return False
        if (why := self._tls.trust.refusal(admitted.certificate)) is not None:
            told = Failure("certificate", f"{_called(admitted)}: {why}")
            self._turn_away(transport, remote, told)
            return False
        try:
            self._entrance.connect(admitted)
        except RequestRefused as refused:
            self._not_now(transport, admitted, refused)
            return False
        self._inside[guard] = admitted
        _ADMITTED[transport] = admitted
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        try:
            guard.serve(transport, self._protocol(admitted))
        except Exception:  # noqa: BLE001  a protocol that cannot begin costs its connection alone
            _LOG.exception("a connection of %s cannot be served", _called(admitted))
            transport.abort()
        return True

    def _not_now(
        self, transport: asyncio.Transport, admitted: Admitted, refused: RequestRefused
    ) -> None:
        """Of an identity that is known, and may not come in."""
        reason = _REASONS.get(refused.code, "certificate")
        sentence = refused.detail or str(refused)
        if admitted.alpn == ALPN_WIRE:
            transport.write(self._entrance.last_word(refused))
        told = Failure(reason, f"{_called(admitted)}: {sentence}")
        self._turn_away(transport, admitted.remote, told, refused.code)

    def _turn_away(
        self,
        transport: asyncio.Transport,
        remote: str,
        why: Failure,
        code: str = "unauthenticated",
    ) -> None:
        """The handshake is over, so HTTP can be told; others see the end."""
        self._refuse(remote, why)
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != ALPN_WIRE:
            transport.write(_last_answer(code, why.sentence))
        transport.close()

    def _known(self, transport: asyncio.Transport, remote: str) -> Admitted:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        if der is None or tls.version() != "TLSv1.3":  # neither can be; but then nobody is let in
            raise IdentityError("no certificate was shown, or not over TLS 1.3")
        return Admitted(read_certificate(der), remote, tls.selected_alpn_protocol())

    def _protocol(self, admitted: Admitted) -> asyncio.Protocol:
        if admitted.alpn == ALPN_WIRE and self._wire is not None:
            return self._wire(admitted)
        return self._http(admitted)

    def _refuse(self, remote: str, why: Failure) -> None:
        self._refusals.add(why.reason, remote, why.sentence)

    def _stalled(self, guard: Guard) -> None:
        admitted = self._inside.get(guard)
        if admitted is not None:
            sentence = f"{_called(admitted)} took nothing for {self._bounds.stall_seconds:g} s"
            self._refuse(admitted.remote, Failure("slow-reader", sentence))

    def _leave(self, guard: Guard) -> None:
        """A connection that had entered is gone."""
        admitted = self._inside.pop(guard, None)
        if admitted is not None:
            self._turnstile.leave(guard)
            self._entrance.disconnect(admitted)


class _Arrival(asyncio.Protocol):
    """A connection before its handshake begins, in the same turn of the loop or the next."""

    def __init__(self, arrive: Callable[[asyncio.Transport], None]) -> None:
        self._arrive = arrive
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream's
        self._transport = transport
        with contextlib.suppress(OSError):
            watch_for_dead_peers(transport.get_extra_info("socket"))
        self._arrive(transport)

    def data_received(self, _data: bytes) -> None:
        """Nobody reads in clear text here, whatever the order of callbacks."""
        if self._transport is not None:
            self._transport.abort()


def have_descriptors(wanted: int) -> None:
    """The usual soft limit of 1024 would end before the bounds do, with no word to anybody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            _LOG.warning("%d descriptors are allowed, %d may be needed (ulimit -Hn)", most, wanted)


def watch_for_dead_peers(connection: socket.socket) -> None:
    """A peer that lost its power or its network is noticed in two minutes. tcp(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _last_answer(code: str, sentence: str) -> bytes:
    """For a connection that is closed before it asked anything."""
    known = code_of(code)
    body = msgspec.json.encode(
        {"type": "about:blank", "title": known.title, "status": known.http, "code": code,
         "detail": sentence}
    )  # fmt: skip
    later = "Retry-After: 1\r\n" if code == "too-many-requests" else ""
    head = (
        f"HTTP/1.1 {known.http} {HTTPStatus(known.http).phrase}\r\n"
        f"Content-Type: application/problem+json\r\n{later}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _remote(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else "unknown"


def _called(admitted: Admitted) -> str:
    certificate = admitted.certificate
    return f"{certificate.subject}, serial {certificate.serial}"
