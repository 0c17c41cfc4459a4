"""A call is asked for certificate, bounds, role and rate before its message is there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from gateway.proto.runnerd.v1 import jobs_pb2
from gateway.rpc import server
from tests.unit.gateway.certificates import client_context, put
from tests.unit.gateway.rpc.place import FILES, Place, collected, until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

CODE = grpc.StatusCode
STATUS = "/runnerd.worker.v1.Worker/Status"
START = "/runnerd.worker.v1.Worker/Start"
LIMITED = """
[[binding]]
match = "runnerd:user:alice"
user = "alice"
roles = ["submitter"]
limits = { requests_per_second = 0.001, burst = 1 }
"""


class Meter:
    """Counts what was refused."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()

    def refused(self, code: str) -> None:
        self.codes[code] += 1

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args, **_named: None


def metered(place: Place) -> Meter:
    meter = Meter()
    place.gate.metrics = meter
    return meter


def raw(channel: grpc.aio.Channel) -> Any:
    """The channel, whose calls take and give bytes: its stubs know of messages alone."""
    return channel


async def never() -> AsyncIterator[bytes]:
    await asyncio.sleep(60)
    yield b""


def held(channel: grpc.aio.Channel, path: str = STATUS) -> Any:
    """A call of which only the headers come."""
    return raw(channel).stream_unary(path)(never(), timeout=50)


async def code_of(call: Any) -> grpc.StatusCode:
    code: grpc.StatusCode = await asyncio.wait_for(call.code(), 15)
    return code


def test_headers_of_somebody_revoked_are_refused_at_once_and_others_go_on(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            meter = metered(place)
            revoked = place.town.client("runnerd:user:bob")
            put(Path(place.files.crl), place.town.crl([revoked]))
            assert place.tls.look(again=True)
            calls = [held(channel) for channel in four(place, revoked) for _ in range(120)]
            codes = Counter([await code_of(call) for call in calls])
            assert (await place.client().Doctor()).server
            lines = [line for line in place.audited() if line["code"] == "unauthenticated"]
        assert codes == {CODE.UNAUTHENTICATED: 480}
        assert meter.codes["unauthenticated"] == 480
        assert 1 <= len(lines) < 60

    asyncio.run(check())


def four(place: Place, pair: Any) -> list[grpc.aio.Channel]:
    return [place.channel(pair) for _ in range(4)]


def test_calls_that_never_come_whole_end_in_time_and_hold_up_nobody_else(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, slow_seconds=2) as place:
            meter = metered(place)
            began = time.monotonic()
            calls = [held(channel) for channel in four(place, place.alice) for _ in range(60)]
            crowd = place.server._guard._crowd
            await until(lambda: crowd._calls["runnerd:user:alice"] > 90 or bool(meter.codes))
            other = place.client(place.town.client("runnerd:user:ada"))
            assert (await other.Doctor()).server
            codes = Counter([await code_of(call) for call in calls])
            took = time.monotonic() - began
            await until(lambda: not crowd._calls)
            lines = [line for line in place.audited() if line["decision"] == "denied"]
        assert codes.keys() <= {CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED}
        assert codes[CODE.RESOURCE_EXHAUSTED] >= 240 - 96 - 8
        assert sum(meter.codes.values()) == 240
        assert {line["subject"] for line in lines} == {"runnerd:user:alice"}
        assert took < 12

    asyncio.run(check())


def test_all_that_are_let_in_end_by_the_time_limit(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, slow_seconds=0.5) as place:
            meter = metered(place)
            calls = [held(place.channel(place.alice)) for _ in range(8)]
            codes = {await code_of(call) for call in calls}
            told = [await call.details() for call in calls]
        assert codes == {CODE.INVALID_ARGUMENT}
        assert all("no whole message came in 0.5 s" in text for text in told)
        assert meter.codes == {"bad-request": 8}

    asyncio.run(check())


@pytest.mark.parametrize(
    "path",
    [
        "/runnerd.v1.JobService/Exec",
        "/runnerd.v1.JobService/StreamLogs",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
def test_streams_have_the_same_time_for_their_first_message(tmp_path: Path, path: str) -> None:
    async def check() -> None:
        async with Place(tmp_path, slow_seconds=0.3) as place:
            call = raw(place.channel(place.alice)).stream_stream(path)(never(), timeout=50)
            assert await code_of(call) is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_a_message_that_stops_halfway_ends_in_time(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, slow_seconds=1) as place:
            context = client_context(place.town, place.alice, tmp_path / "shown", alpn="h2")
            ended = await asyncio.wait_for(halfway(place, context), 10)
            await until(lambda: not place.server._guard._crowd._calls)
        assert ended

    asyncio.run(check())


async def halfway(place: Place, context: ssl.SSLContext) -> bool:
    """Whether a call of which half a message came is ended: by HEADERS, which end the stream."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", place.port, ssl=context, server_hostname="localhost"
    )
    try:
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        writer.write(frame(1, 4, 1, headers(STATUS)))
        writer.write(frame(0, 0, 1, b"\0" + (1000).to_bytes(4, "big") + bytes(500)))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == 1 and head[4] & 1:
                return True
    finally:
        writer.transport.abort()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """As RFC 9113, 4.1 has it."""
    length = len(payload).to_bytes(3, "big")
    return length + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(path: str) -> bytes:
    """Literal ones (RFC 7541, 6.2.2)."""
    fields = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "x",
              "content-type": "application/grpc", "te": "trailers"}  # fmt: skip
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def test_a_call_without_a_message_is_refused(tmp_path: Path) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for each in list[bytes]():
            yield each

    async def check() -> None:
        async with Place(tmp_path) as place:
            call = raw(place.channel(place.alice)).stream_unary(STATUS)(nothing(), timeout=10)
            assert await code_of(call) is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_role_and_rate_are_asked_before_the_message_is_there(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            viewer = place.channel(place.town.client("runnerd:user:vera"))
            assert await code_of(held(viewer, START)) is CODE.PERMISSION_DENIED
            put(tmp_path / "policy.toml", LIMITED.encode())
            assert place.policies.reload()
            client = place.client()
            await client.Doctor()
            call = held(client.channel)
            assert await code_of(call) is CODE.RESOURCE_EXHAUSTED
            assert "retry-after" in dict(await call.trailing_metadata())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await raw(client.channel).unary_unary(STATUS)(b"\xff\xff")
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED

    asyncio.run(check())


def test_a_request_counts_once_in_the_rate(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            put(tmp_path / "policy.toml", LIMITED.replace("burst = 1", "burst = 3").encode())
            assert place.policies.reload()
            client = place.client()
            for _ in range(3):
                await client.Doctor()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.Doctor()
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED

    asyncio.run(check())


def test_health_and_reflection_count_in_the_rate(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            put(tmp_path / "policy.toml", LIMITED.replace("burst = 1", "burst = 3").encode())
            assert place.policies.reload()
            channel = raw(place.channel(place.alice))
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
            stream = channel.stream_stream(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            )()
            for _ in range(3):
                await stream.write(b"\x3a\x00")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await collected(stream)
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED

    asyncio.run(check())


def test_what_is_refused_before_it_is_asked_is_counted_and_written_down(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            meter = metered(place)
            client = place.client()
            with pytest.raises(grpc.aio.AioRpcError):
                await raw(client.channel).unary_unary(STATUS)(b"\xff\xff")
            with pytest.raises(grpc.aio.AioRpcError):
                await client.ListJobs(page_token="x")  # noqa: S106  no password
            lines = [(line["verb"], line["code"]) for line in place.audited()]
        assert meter.codes == {"bad-request": 1, "invalid-argument": 1}
        assert lines == [("status", "bad-request"), ("list", "invalid-argument")]

    asyncio.run(check())


def test_each_of_our_methods_is_an_operation() -> None:
    methods = {
        f"/{service.full_name}/{name}"
        for module in FILES
        for service in module.DESCRIPTOR.services_by_name.values()
        for name in service.methods_by_name
    }
    assert server.operations().keys() == methods


def test_methods_stay_what_they_are_for_clients() -> None:
    service = jobs_pb2.DESCRIPTOR.services_by_name["JobService"]
    streamed = {name for name, each in service.methods_by_name.items() if each.client_streaming}
    assert streamed == {"Exec"}
