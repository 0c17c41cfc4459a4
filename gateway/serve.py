"""One gateway, put together: its parts made in order, opened, reloaded, and ended in reverse.

What each part does is its own module's. Nothing is served before everything could be made, and what
is wrong at the start is one sentence; what goes wrong later leaves the last good state in force.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from client.errors import ClientError, RequestRefused
from gateway import tracing
from gateway.audit import NO_AUDIT, Audit, AuditError
from gateway.door import Door, DoorBounds, Entrance, http_settings, who
from gateway.listening import cannot_listen
from gateway.metrics import Metrics
from gateway.policy import Bounds as CallerBounds
from gateway.policy_file import PolicyError, PolicyFile
from gateway.relay import INNER_HOST, Relay
from gateway.rest.app import make_app
from gateway.rest.server import RestRunner
from gateway.rest.services import Bounds, Services
from gateway.session import Gate
from gateway.tls import ALPN_WIRE, Tls, TlsError, TlsFiles
from gateway.upstream import OURSELVES, Upstream
from gateway.wire import Services as WireServices
from gateway.wire import Wire, last_word

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from aiohttp import web

    from client.protocol import Message
    from gateway.config import Address, Config, LimitsConfig
    from gateway.door import Admitted
    from gateway.identity import Certificate

_logger: Final = logging.getLogger(__name__)

# How long requests in flight are waited for at the end; streams are told at once.
GRACE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
RUNNERD_SECONDS: Final = 5.0
_INNER_CONNECTIONS: Final = 8192


class StartError(Exception):
    """The gateway cannot start. A sentence: what, on what, why, what to do."""


class Gateway:
    """A gateway of that configuration. Made in the event loop. Raises StartError."""

    def __init__(self, config: Config) -> None:
        self.config = config
        try:
            self.tls = Tls(TlsFiles(config.certificate, config.key, config.ca, config.crl or None))
            self.policies = PolicyFile(config.policy, defaults=_defaults(config.limits))
            self.audit = Audit(config.audit_log)
        except (TlsError, PolicyError, AuditError) as error:
            raise StartError(str(error)) from None
        self.upstream = Upstream(config.socket, most=config.max_upstream_connections)
        self.metrics = Metrics(lambda: self.upstream.request(OURSELVES, "stats", {}))
        self.gate = Gate(
            policies=self.policies,
            trust=self.tls.trust,
            audit=self.audit,
            metrics=self.metrics,
            upstream=self.upstream,
            max_command_bytes=config.limits.max_command_bytes,
            trace_environment=tracing.environment,
        )
        self._ending = AsyncExitStack()
        self.rest_port = self.grpc_port = 0

    async def open(self) -> None:
        """Listen everywhere. Raises StartError; then nothing listens."""
        config = self.config
        try:
            await self._listen("listen", config.rest_address, self._open_rest)
            if config.grpc_address is not None:
                await self._listen("grpc_listen", config.grpc_address, self._open_grpc)
        except BaseException:
            await self.close()
            raise

    async def _listen(
        self, key: str, address: Address, opened: Callable[[Address], Awaitable[None]]
    ) -> None:
        try:
            await opened(address)
        except OSError as error:
            raise StartError(cannot_listen(key, address, error)) from None

    async def _open_rest(self, address: Address) -> None:
        limits = self.config.limits
        services = Services(
            self.gate,
            self.metrics,
            self.health,
            Bounds(body_bytes=limits.max_body_bytes, slow_seconds=limits.slow_seconds),
        )
        app = make_app(services, certify=_certificate_of)
        settings = http_settings(
            header_bytes=limits.max_header_bytes, idle_seconds=limits.idle_seconds
        )
        runner = RestRunner(app, **settings)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101  set up above
        wire = Wire(WireServices(self.gate, self.upstream.greeting))
        door = Door(
            self.tls,
            http=lambda _admitted: server(),
            wire=wire,
            bounds=_bounds(limits),
            entrance=entrance(self.gate),
            count=self.metrics.connection_refused,
        )
        # In reverse: nobody new comes in, what is in flight ends, who is still there is cut off.
        self._ending.push_async_callback(door.close)
        self._ending.push_async_callback(runner.cleanup)
        self._ending.callback(wire.close)
        self._ending.callback(door.shut)
        await door.open(address.host, address.port)
        self.rest_port = door.ports[0]
        self.metrics.watch(
            connections=lambda: door.connections,
            upstream_connections=lambda: self.upstream.connections,
            ends=self.tls.ends,
            complaints=self.tls.trust.complaints,
        )
        then = door.sweep, self.policies.poll, self.audit.retry
        self._background(self.tls.follow(*then, seconds=LOOK_SECONDS))

    async def _open_grpc(self, address: Address) -> None:
        from gateway.rpc.server import make_server

        limits = self.config.limits
        # The relay bounds connections; local processes that connect to the inner port themselves
        # take the places of nobody.
        inner = replace(limits, max_connections=limits.max_connections + _INNER_CONNECTIONS)
        server = make_server(self.gate, self.tls, inner, self.health)
        inner_port = await server.start(INNER_HOST, 0)
        relay = Relay(inner_port, bounds=_bounds(limits), count=self.metrics.connection_refused)
        # In reverse: nobody new comes in, what is in flight ends, what was said last is passed on.
        self._ending.push_async_callback(relay.close)
        self._ending.push_async_callback(server.stop, GRACE_SECONDS)
        self._ending.callback(relay.shut)
        await relay.open(address.host, address.port)
        self.grpc_port = relay.ports[0]

    def _background(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)

        async def end() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        self._ending.push_async_callback(end)

    async def health(self) -> Message:
        """The greeting of runnerd. Raises ClientError while requests cannot be served."""
        if self.audit.problem is not None:
            raise RequestRefused("audit-unavailable", detail=NO_AUDIT)
        return await self.upstream.greeting()

    def watch_runnerd(self) -> None:
        """Greet it now and again, so that the log says when it is not reached, and when it is."""
        self._background(self._greet())

    async def _greet(self) -> None:
        while True:
            with suppress(ClientError):
                await self.upstream.greeting()
            await asyncio.sleep(RUNNERD_SECONDS)

    def reload(self) -> None:
        """Read certificates and policy again, open the audit log anew; what is broken is said."""
        self.tls.look(again=True)
        self.policies.reload()
        how = "opened anew"
        try:
            self.audit.reopen()
        except AuditError as error:
            how = "as before"
            _logger.error("the old file stays in use: %s", error)  # noqa: TRY400
        _logger.info(
            "SIGHUP: in force now are certificates of version %d, %d bindings of %s, the audit "
            "log %s (%s)",
            self.tls.material().version,
            len(self.policies.policy.bindings),
            self.policies.path,
            self.audit.path,
            how,
        )

    async def close(self) -> None:
        """Take nothing more, let what is in flight end for a while, close everything."""
        await self._ending.aclose()
        self.upstream.close()
        self.audit.close()


async def serve(config: Config, when_open: Callable[[Gateway], object]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. `when_open` hears of the open gateway.

    Raises StartError.
    """
    gateway = Gateway(config)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        if not ended.is_set():
            _logger.info(
                "%s: nothing new is taken, what is in flight has %g s", number.name, GRACE_SECONDS
            )
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
    await gateway.open()
    try:
        _tell_manager("READY=1")
        when_open(gateway)
        gateway.watch_runnerd()
        await ended.wait()
    finally:
        _tell_manager("STOPPING=1")
        await gateway.close()
        _logger.info("it has ended")


def _certificate_of(request: web.Request) -> Certificate:
    """The client's, as the door has read it at the handshake. ConnectionError when it is gone."""
    if request.transport is None:
        raise ConnectionError("the client has gone")
    return who(request.transport).certificate


def _tell_manager(state: str) -> None:
    """sd_notify(3), where a service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        sock.send(state.encode("ascii"))


def entrance(gate: Gate) -> Entrance:
    """Connections at the door count where those of gRPC do; the policy says how many, and whose."""

    def connect(admitted: Admitted) -> None:
        api = "wire" if admitted.alpn == ALPN_WIRE else "rest"
        # For the audit log, which has who was turned away.
        gate.enter(admitted.certificate, remote=admitted.remote, api=api)
        gate.connect(admitted.certificate)

    return Entrance(connect, lambda admitted: gate.disconnect(admitted.certificate), last_word)


def _bounds(limits: LimitsConfig) -> DoorBounds:
    """Of each of the two ports."""
    return DoorBounds(
        connections=limits.max_connections,
        connections_by_address=limits.connections_per_address,
        handshake_seconds=limits.handshake_seconds,
        stall_seconds=limits.slow_seconds,
    )


def _defaults(limits: LimitsConfig) -> CallerBounds:
    """What a binding of the policy has where it says nothing else."""
    return CallerBounds(
        requests_per_second=limits.requests_per_second,
        burst=limits.burst,
        streams=limits.streams,
        connections=limits.connections,
        max_command_bytes=limits.max_command_bytes,
    )
