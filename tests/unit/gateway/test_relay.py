"""What stands before gRPC, over real sockets: gateway.relay, alone and in a whole gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import gateway.rpc  # noqa: F401  before grpc is imported, which it insists on

# isort: split
import grpc
import pytest

from gateway.door import DoorBounds
from gateway.proto.runnerd.worker.v1 import worker_pb2
from gateway.relay import Relay, _Records, client_behind
from gateway.rpc.guard import remote_of
from gateway.serve import Gateway
from tests.unit.gateway.test_serve import Place
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECONDS = 30.0
HELLO = b"\x16\x03\x01\x00\x03abc"
ENCRYPTED = b"\x17\x03\x03\x00\x02xy"


class Far:
    """The server behind: it says again what it hears, or what `serve` makes it do."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.peers: list[int] = []
        self.streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.relay: Relay

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(writer.get_extra_info("peername")[1])
        self.streams.append((reader, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(
        self, address: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.relay.ports[0]
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))

    async def counts(self, reason: str, least: int = 1) -> None:
        while self.counted[reason] < least:
            await asyncio.sleep(0.005)

    async def empty(self) -> None:
        while self.relay.connections:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def far(**bounds: Any) -> AsyncIterator[Far]:
    """At its end nothing is counted, and no address remembered."""
    made = Far()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.relay = Relay(
        server.sockets[0].getsockname()[1],
        bounds=DoorBounds(**bounds),
        count=lambda reason: made.counted.update([reason]),
    )
    await made.relay.open("127.0.0.1", 0)
    try:
        async with asyncio.timeout(SECONDS):
            yield made
    finally:
        await made.relay.close()
        server.close()
    async with asyncio.timeout(SECONDS):
        await made.empty()
        # The inner side may notice a turn later.
        while any(client_behind("127.0.0.1", str(port)) for port in made.peers):
            await asyncio.sleep(0.005)


def test_bytes_go_both_ways_and_the_end_is_passed_on() -> None:
    async def check() -> None:
        async with far() as there:
            reader, writer = await there.connect("127.0.0.9")
            writer.write(HELLO)
            assert await reader.readexactly(len(HELLO)) == HELLO
            (port,) = there.peers
            assert client_behind("127.0.0.1", str(port)) == "127.0.0.9"
            assert remote_of(f"ipv4:127.0.0.1:{port}") == "127.0.0.9"
            writer.write(b"the last")
            writer.write_eof()
            assert await reader.read() == b"the last"
            writer.close()
            await there.empty()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("peer", "remote"),
    [("ipv4:127.0.0.1:1", "127.0.0.1"), ("ipv6:%5B::1%5D:5000", "::1"), ("unix:", "unix:")],
)
def test_who_is_not_behind_a_relay_is_who_it_is(peer: str, remote: str) -> None:
    assert remote_of(peer) == remote


def test_much_goes_through_a_slow_reader_with_little_memory() -> None:
    async def check() -> None:
        async with far() as there:
            reader, writer = await there.connect()
            sent = HELLO + bytes(range(256)) * 65_536
            writing = asyncio.create_task(_write(writer, sent))
            for _ in range(20):
                await asyncio.sleep(0.005)
                assert all(held < 1024 * 1024 for held in _held(there.relay))
            assert await reader.readexactly(len(sent)) == sent
            await writing
            writer.close()

    asyncio.run(check())


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _held(relay: Relay) -> list[int]:
    ends = [end for client in relay._clients for end in (client, client.other)]
    return [
        end.transport.get_write_buffer_size()
        for end in ends
        if end is not None and end.transport is not None
    ]


def test_who_says_nothing_costs_no_connection_behind_and_is_cut_off() -> None:
    async def check() -> None:
        async with far(handshake_seconds=0.1) as there:
            reader, writer = await there.connect()
            assert await reader.read() == b""
            assert not there.peers
            assert there.counted == {"timeout": 1}
            writer.close()

    asyncio.run(check())


def test_a_handshake_that_does_not_end_is_cut_off_and_one_that_does_stays() -> None:
    async def check() -> None:
        async with far(handshake_seconds=0.2) as there:
            half, first = await there.connect()
            whole, second = await there.connect()
            first.write(HELLO)
            second.write(HELLO + ENCRYPTED)
            assert await half.read() == HELLO
            assert there.counted == {"timeout": 1}
            second.write(b"more")
            assert await whole.readexactly(len(HELLO + ENCRYPTED) + 4)
            assert there.relay.turnstile.handshakes == 0
            first.close()
            second.close()

    asyncio.run(check())


def test_a_flood_of_one_address_is_its_own() -> None:
    async def check() -> None:
        async with far(handshakes_by_address=4, handshakes=20) as there:
            flood = [await there.connect("127.0.0.2") for _ in range(40)]
            await there.counts("address-busy", 36)
            reader, writer = await there.connect()
            writer.write(HELLO)
            assert await reader.readexactly(len(HELLO)) == HELLO
            for _, each in [*flood, (reader, writer)]:
                each.close()

    asyncio.run(check())


def test_where_all_places_are_taken_the_oldest_handshake_gives_way() -> None:
    async def check() -> None:
        async with far(handshakes=2) as there:
            first, one = await there.connect("127.0.0.2")
            _, two = await there.connect("127.0.0.3")
            reader, three = await there.connect()
            three.write(HELLO)
            assert await reader.readexactly(len(HELLO)) == HELLO
            with contextlib.suppress(OSError):
                assert await first.read() == b""
            assert there.counted == {"gave-way": 1}
            for each in (one, two, three):
                each.close()

    asyncio.run(check())


def test_who_does_not_read_is_cut_off() -> None:
    async def check() -> None:
        async with far(stall_seconds=0.2) as there:
            reader, writer = await there.connect()
            writer.write(HELLO)
            await reader.readexactly(len(HELLO))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            ((_, back),) = there.streams
            back.write(bytes(32 * 1024 * 1024))
            await there.counts("slow-reader")
            await there.empty()
            writer.close()

    asyncio.run(check())


def test_a_client_that_does_not_close_keeps_no_place_when_the_server_has() -> None:
    async def check() -> None:
        async with far() as there:
            reader, writer = await there.connect()
            writer.write(HELLO)
            await reader.readexactly(len(HELLO))
            there.streams[0][1].close()
            assert await reader.read() == b""
            await there.empty()
            writer.close()

    asyncio.run(check())


def test_a_server_that_is_away_ends_the_connection() -> None:
    async def check() -> None:
        async with far() as there:
            there.relay.inner_port = 1
            reader, writer = await there.connect()
            writer.write(HELLO)
            with contextlib.suppress(OSError):
                assert await reader.read() == b""
            await there.empty()
            writer.close()

    asyncio.run(check())


@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
def test_encrypted_records_are_found_wherever_they_are_cut(size: int) -> None:
    records, sent = _Records(), HELLO + b"\x14\x03\x03\x00\x01\x01" + HELLO + ENCRYPTED
    for start in range(0, len(sent) - 1, size):
        records.feed(sent[start : min(start + size, len(sent) - 1)])
    assert not records.is_encrypted
    records.feed(sent[-1:])
    assert records.is_encrypted


# In a gateway


def channel(place: Place, port: int, address: str = "") -> grpc.aio.Channel:
    shown = grpc.ssl_channel_credentials(
        place.town.ca_pem, place.alice.key_pem, place.alice.certificate_pem
    )
    return grpc.aio.secure_channel(
        f"{address or '127.0.0.1'}:{port}", shown, [("grpc.use_local_subchannel_pool", 1)]
    )


async def status(made: grpc.aio.Channel) -> grpc.StatusCode:
    call = made.unary_unary(
        "/runnerd.worker.v1.Worker/Status",
        worker_pb2.StatusRequest.SerializeToString,
        worker_pb2.StatusResponse.FromString,
    )
    try:
        await call(worker_pb2.StatusRequest(id="x"), timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_grpc_is_served_while_others_fill_its_port(tmp_path: Path) -> None:
    """1100 plain connections of two other addresses, none of which says a word."""

    async def check() -> None:
        place = Place(tmp_path)
        async with UpstreamDouble(place.socket):
            made = Gateway(place.config(grpc_listen="127.0.0.1:0"))
            await made.open()
            flood = []
            for number in range(1100):
                local = (f"127.0.0.{2 + number % 2}", 0)
                with contextlib.suppress(OSError):
                    flood.append(
                        await asyncio.open_connection("127.0.0.1", made.grpc_port, local_addr=local)
                    )
            async with channel(place, made.grpc_port) as one:
                assert await status(one) is grpc.StatusCode.NOT_FOUND
            for _, writer in flood:
                writer.transport.abort()
            await made.close()
        assert {line["remote"] for line in place.audit()} == {"127.0.0.1"}

    asyncio.run(check())


def test_the_connections_of_a_binding_are_those_of_all_interfaces(tmp_path: Path) -> None:
    async def check() -> None:
        place = Place(tmp_path)
        place.policy.write_text(place.policy.read_text() + "limits = { connections = 1 }\n")
        async with UpstreamDouble(place.socket):
            made = Gateway(place.config(grpc_listen="127.0.0.1:0"))
            await made.open()
            async with place.client(made, place.alice) as first:
                async with first.get("/v1/queues") as answer:
                    assert answer.status == 200
                async with place.client(made, place.alice) as second, second.get("/") as answer:
                    assert answer.status == 429
                async with channel(place, made.grpc_port) as one:
                    assert await status(one) is grpc.StatusCode.RESOURCE_EXHAUSTED
                # A policy that knows nobody: who was counted in is counted out all the same.
                place.policy.write_text("")
                made.policies.reload()
                async with first.get("/v1/queues") as answer:
                    assert answer.status == 403
                async with place.client(made, place.alice) as second, second.get("/") as answer:
                    assert answer.status == 403
                    assert (await answer.json())["code"] == "not-permitted"
            while made.gate.rates._accounts["runnerd:user:alice"].connections:
                await asyncio.sleep(0.005)
            await made.close()
        assert "not-permitted" in {line.get("code") for line in place.audit()}

    async def in_time() -> None:
        async with asyncio.timeout(SECONDS):
            await check()

    asyncio.run(in_time())
