"""The gRPC server: its services, its certificates, its health. The gateway's one loop runs it.

`make_server` puts together what the modules beside it are: who may come in is `guard`'s, what the
calls do `calls`, `streams` and `worker`'s. Certificates are read by `gateway.tls`; those that are
replaced are used from the next handshake on.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from client.errors import ClientError
from gateway.proto.runnerd.v1 import events_pb2
from gateway.proto.runnerd.worker.v1 import worker_pb2
from gateway.rpc import calls, streams, worker
from gateway.rpc.bounds import Bounds, options
from gateway.rpc.guard import SESSION, Guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from gateway.config import LimitsConfig
    from gateway.session import Gate
    from gateway.tls import Material, Tls

    Behaviour = Callable[..., Awaitable[Any]]
    Handler = grpc.RpcMethodHandler[Any, Any]

_LOG: Final = logging.getLogger(__name__)
HEALTH_SECONDS = 2.0
# Both names of one service; older clients ask for the first, newer ones for the second.
_REFLECTION: Final = (
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.reflection.v1.ServerReflection",
)
_HEALTH: Final = "grpc.health.v1.Health"


class Server:
    """Started once, stopped once. `reached` asks runnerd for a sign of life, or raises."""

    def __init__(
        self,
        gate: Gate,
        material: Callable[[], Material],
        bounds: Bounds,
        reached: Callable[[], Awaitable[object]],
    ) -> None:
        self._credentials = _credentials(material)
        self._reached = reached
        self._guard = Guard(gate, bounds, operations())
        self._server = grpc.aio.server(interceptors=[self._guard], options=options(bounds))
        self._health = health.aio.HealthServicer()
        self._names = _add_services(self._server, bounds.slow_seconds)
        _add_neighbours(self._server, self._names, self._health)
        self._watch: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which is another one for 0. Raises OSError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen at {address}: {error}") from None
        if bound == 0:
            raise OSError(f"gRPC cannot listen at {address}; another program may do so")
        await self._server.start()
        self._watch = asyncio.get_running_loop().create_task(self._follow_health())
        return int(bound)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """No new calls; those that go on may end within the grace, then they are cancelled."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)

    async def _follow_health(self) -> None:
        """SERVING as long as runnerd is reached."""
        while True:
            status = await self._status()
            for name in ("", *self._names):
                await self._health.set(name, status)
            await asyncio.sleep(HEALTH_SECONDS)

    async def _status(self) -> health_pb2.HealthCheckResponse.ServingStatus:  # type: ignore[valid-type]  # an enum of the stubs' old kind
        try:
            await self._reached()
        except ClientError:
            return health_pb2.HealthCheckResponse.NOT_SERVING
        except Exception:  # noqa: BLE001  it goes on asking
            _LOG.exception("whether runnerd is reached cannot be told")
            return health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse.SERVING


def make_server(
    gate: Gate, tls: Tls, limits: LimitsConfig, reached: Callable[[], Awaitable[object]]
) -> Server:
    """A server that has not started, with the certificates that `tls` has in force."""
    bounds = Bounds(
        max_request_bytes=limits.max_body_bytes,
        max_metadata_bytes=limits.max_header_bytes,
        max_connections=limits.max_connections,
        slow_seconds=limits.slow_seconds,
        handshake_seconds=limits.handshake_seconds,
        idle_seconds=limits.idle_seconds,
    )
    return Server(gate, tls.material, bounds, reached)


# Services


def _add_services(server: grpc.aio.Server, slow_seconds: float) -> list[str]:
    """All of them; their full names."""
    behaviours: dict[str, Behaviour] = {
        **{method.path: _one_answer(method) for method in calls.methods()},
        **streams.handlers(slow_seconds),
        **worker.handlers(slow_seconds),
    }
    for service in _services():
        _add(server, service, behaviours)
    return [service.full_name for service in _services()]


def _services() -> list[ServiceDescriptor]:
    """Ours."""
    return calls.services() + [
        service
        for module in (events_pb2, worker_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]


def operations() -> dict[str, str]:
    """By a method's path on the wire what it asks for first. Raises KeyError for one without."""
    ops = {name: call.op for name, call in calls.CALLS.items()}
    ops |= streams.OPERATIONS | worker.OPERATIONS
    return {
        f"/{service.full_name}/{method.name}": ops[calls.path(method)]
        for service in _services()
        for method in service.methods
    }


def _add(
    server: grpc.aio.Server, service: ServiceDescriptor, behaviours: dict[str, Behaviour]
) -> None:
    handlers = {
        method.name: _handler(method, behaviours[calls.path(method)]) for method in service.methods
    }
    _register(server, service.full_name, handlers)


def _register(server: grpc.aio.Server, name: str, handlers: dict[str, Handler]) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def _handler(method: MethodDescriptor, behaviour: Behaviour) -> Handler:
    kind = "stream" if method.client_streaming else "unary"
    kind += "_stream" if method.server_streaming else "_unary"
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    request, response = (GetMessageClass(each) for each in (method.input_type, method.output_type))
    made: Handler = make(behaviour, request.FromString, response.SerializeToString)
    return made


def _one_answer(method: calls.Method) -> Behaviour:
    """One request of the session, for a call with one answer."""
    call, response_class = method.call, GetMessageClass(method.descriptor.output_type)

    async def behaviour(request: Any, _context: object) -> Any:  # noqa: ANN401  of that method
        session = SESSION.get()
        args = calls.arguments(call, request)
        timeout = {"timeout": None} if call.is_long else {}
        answer = await session.request(call.op, args, **timeout)
        response = response_class()
        calls.fill(call, response, answer)
        return response

    return behaviour


def _add_neighbours(
    server: grpc.aio.Server, names: list[str], servicer: health.aio.HealthServicer
) -> None:
    """Health, and what the services are, for tools."""
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflecting = reflection.aio.ReflectionServicer([*names, _HEALTH, *_REFLECTION])
    handler = grpc.stream_stream_rpc_method_handler(
        reflecting.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in _REFLECTION:
        _register(server, name, {"ServerReflectionInfo": handler})


# Certificates


def _credentials(material: Callable[[], Material]) -> grpc.ServerCredentials:
    """Client certificates always, ours as they are at each handshake."""
    fetcher = _Fetcher(material)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(fetcher.material),
        fetcher,  # type: ignore[arg-type]  # None is for nothing new
        require_client_authentication=True,
    )


class _Fetcher:
    """What is new since the last handshake, if anything is. Called in threads of gRPC's."""

    def __init__(self, material: Callable[[], Material]) -> None:
        self._now = material
        self.material = material()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        now = self._now()
        if now.version == self.material.version:
            return None
        self.material = now
        return _configuration(now)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate_chain)], root_certificates=material.ca
    )
