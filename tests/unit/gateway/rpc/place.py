"""A gRPC server over real TLS on loopback, before a runnerd without a kernel."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf.message_factory import GetMessageClass

from gateway.audit import Audit
from gateway.config import LimitsConfig
from gateway.policy_file import PolicyFile
from gateway.proto.runnerd.v1 import (
    events_pb2,
    groups_pb2,
    jobs_pb2,
    queues_pb2,
    schedules_pb2,
    system_pb2,
)  # fmt: skip
from gateway.proto.runnerd.worker.v1 import worker_pb2
from gateway.rpc.server import make_server
from gateway.session import Gate
from gateway.tls import Tls, TlsFiles
from gateway.upstream import Upstream
from tests.unit.gateway.certificates import Pair, Town
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLICY = """
[[binding]]
match = "runnerd:user:alice"
user = "alice"
users = ["bob"]
roles = ["submitter"]

[[binding]]
match = "runnerd:user:vera"
user = "alice"
roles = ["viewer"]

[[binding]]
match = "runnerd:user:ada"
user = "ada"
roles = ["admin"]
"""
FILES = (jobs_pb2, groups_pb2, schedules_pb2, queues_pb2, events_pb2, system_pb2, worker_pb2)


class NoMeter:
    """Counts nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_named: None


class Client:
    """All calls of one channel by their names: `await client.GetJob(job="build")`."""

    def __init__(
        self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.channel = channel
        self.metadata = metadata

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda **fields: self.call(name, fields)

    def call(self, name: str, fields: dict[str, Any], **options: Any) -> Any:
        service, method = described(name)
        request, response = (
            GetMessageClass(each) for each in (method.input_type, method.output_type)
        )
        kind = "stream" if method.client_streaming else "unary"
        kind += "_stream" if method.server_streaming else "_unary"
        made = getattr(self.channel, kind)(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        options.setdefault("metadata", self.metadata)
        options.setdefault("timeout", 20)
        if method.client_streaming:
            return made(**options)
        return made(request(**fields), **options)


def described(name: str) -> Any:
    for module in FILES:
        for service in module.DESCRIPTOR.services_by_name.values():
            if name in service.methods_by_name:
                return service.full_name, service.methods_by_name[name]
    raise AssertionError(name)


class Place:
    """The server, its authority, the daemon behind it."""

    def __init__(self, path: Path, **limits: Any) -> None:
        self.path = path
        self.town = Town()
        self.alice = self.town.client("runnerd:user:alice")
        self.daemon = UpstreamDouble(str(path / "socket"))
        self.upstream = Upstream(self.daemon.path)
        self.files = self.town.write(path)
        (path / "policy.toml").write_text(POLICY)
        (path / "policy.toml").chmod(0o644)
        self.tls = Tls(
            TlsFiles(self.files.certificate, self.files.key, self.files.ca, self.files.crl)
        )
        self.policies = PolicyFile(str(path / "policy.toml"))
        self.audit = Audit(str(path / "audit.log"))
        self.gate = Gate(
            policies=self.policies, trust=self.tls.trust, audit=self.audit, metrics=NoMeter(),
            upstream=self.upstream,
        )  # fmt: skip
        self.server = make_server(
            self.gate, self.tls, LimitsConfig(**limits), self.upstream.greeting
        )
        self.port = 0
        self._channels: list[grpc.aio.Channel] = []

    async def __aenter__(self) -> Self:
        await self.daemon.start()
        self.port = await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()
        await self.server.stop(0)
        self.upstream.close()
        await self.daemon.stop()
        self.audit.close()

    def channel(
        self, pair: Pair | None, *, town: Town | None = None, options: tuple[Any, ...] = ()
    ) -> grpc.aio.Channel:
        shown = (None, None) if pair is None else (pair.key_pem, pair.certificate_pem)
        credentials = grpc.ssl_channel_credentials((town or self.town).ca_pem, *shown)
        # Each with a connection of its own, as different clients have.
        own = (("grpc.use_local_subchannel_pool", 1), *options)
        made = grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=own)
        self._channels.append(made)
        return made

    def client(self, pair: Pair | None = None, **metadata: str) -> Client:
        pairs = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        return Client(self.channel(pair or self.alice), pairs)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "audit.log").read_text().splitlines()]


async def collected(stream: Any) -> list[Any]:
    """What is still to come."""
    found = []
    while (message := await stream.read()) is not grpc.aio.EOF:
        found.append(message)
    return found


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
