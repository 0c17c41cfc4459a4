"""Who gets in over gRPC, and who does not: by handshake, or by the answer to each call."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from gateway.pki.certificates import Kind
from gateway.rpc import guard
from tests.unit.gateway.certificates import DAY, HOUR, Pair, Town, client_context, put
from tests.unit.gateway.rpc.place import Client, Place, until

if TYPE_CHECKING:
    from collections.abc import Callable

CODE = grpc.StatusCode
ONE_TRY = (("grpc.enable_retries", 0),)


async def refusal(client: Client, name: str = "Doctor", **fields: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.call(name, fields, timeout=10)
    return caught.value


def test_a_good_certificate_gets_in(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            answer = await place.client().Doctor()
            (line,) = (line for line in place.audited() if line["verb"] == "doctor")
        assert answer.server == "runnerd 0.1.0"
        assert line["serial"] == place.alice.serial
        assert line["remote"] == "127.0.0.1"
        assert line["api"] == "grpc"

    asyncio.run(check())


STRANGERS: dict[str, Callable[[Town], Pair | None]] = {
    "no certificate": lambda _town: None,
    "another authority": lambda _town: Town().client("runnerd:user:alice"),
    "expired": lambda town: town.client("runnerd:user:alice", starts=-2 * DAY, ends=-DAY),
    "not valid yet": lambda town: town.client("runnerd:user:alice", starts=HOUR, ends=DAY),
    "a server's certificate": lambda town: town.server(),
    "the authority's own": lambda town: town.pair,
    "another one's key": lambda town: Pair(
        town.client("runnerd:user:alice").certificate, town.client("runnerd:user:alice").key
    ),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_the_handshake_refuses(tmp_path: Path, who: str) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            channel = place.channel(STRANGERS[who](place.town), options=ONE_TRY)
            error = await refusal(Client(channel))
            assert place.daemon.seen == [] or all(op == "hello" for _, op, _ in place.daemon.seen)
        assert error.code() is CODE.UNAVAILABLE

    asyncio.run(check())


def test_a_server_of_another_authority_is_refused_by_the_client(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            error = await refusal(Client(place.channel(place.alice, town=Town(), options=ONE_TRY)))
        assert error.code() is CODE.UNAVAILABLE

    asyncio.run(check())


def test_a_certificate_that_is_revoked_counts_no_more_from_the_next_call_on(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            await client.Doctor()
            put(Path(place.files.crl), place.town.crl([place.alice]))
            assert place.tls.look(again=True)
            same = await refusal(client)
            another = await refusal(place.client())
        for error in (same, another):
            assert error.code() is CODE.UNAUTHENTICATED
            assert "revoked" in (error.details() or "")

    asyncio.run(check())


def test_a_stream_ends_when_its_certificate_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "RECHECK_SECONDS", 0.05)

    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            await place.daemon.write(job, b"one\n")
            stream = client.Output(id=job)
            await stream.read()
            put(Path(place.files.crl), place.town.crl([place.alice]))
            place.tls.look(again=True)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
        assert caught.value.code() is CODE.UNAUTHENTICATED

    asyncio.run(check())


def test_who_the_policy_does_not_know_is_not_let_in_for_reflection_either(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client(place.town.client("runnerd:user:mallory"))
            error = await refusal(client)
            stream = client.channel.stream_stream(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            )()
            await stream.write(b"\x3a\x00")
            assert await stream.code() is CODE.PERMISSION_DENIED
            health = client.channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health(b"")
        assert error.code() is caught.value.code() is CODE.PERMISSION_DENIED

    asyncio.run(check())


def test_a_user_is_chosen_among_those_of_the_binding(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            await place.client(runner_user="bob").Start(command="echo")
            other = await refusal(place.client(runner_user="carol"), "Start", command="echo")
            twice = Client(
                place.channel(place.alice), (("runner-user", "bob"), ("runner-user", "alice"))
            )
            both = await refusal(twice)
            users = {user for user, op, _ in place.daemon.seen if op == "submit"}
        assert users == {"bob"}
        assert other.code() is CODE.PERMISSION_DENIED
        assert both.code() is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_roles_count(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            viewer = place.client(place.town.client("runnerd:user:vera"))
            assert (await viewer.ListJobs()).entries == []
            error = await refusal(viewer, "Start", command="echo")
            drain = await refusal(place.client(), "Drain")
            await place.client(place.town.client("runnerd:user:ada")).Drain()
        assert error.code() is drain.code() is CODE.PERMISSION_DENIED

    asyncio.run(check())


async def version(place: Place, context: ssl.SSLContext) -> str | None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", place.port, ssl=context, server_hostname="localhost"
    )
    try:
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        await reader.readexactly(9)
        found: str | None = writer.get_extra_info("ssl_object").version()
        return found
    finally:
        writer.transport.abort()


def test_tls_1_3_is_spoken(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            context = client_context(place.town, place.alice, tmp_path / "shown", alpn="h2")
            assert await version(place, context) == "TLSv1.3"

    asyncio.run(check())


@pytest.mark.parametrize("ciphers", ["DEFAULT", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_older_tls_is_refused_by_the_handshake(
    tmp_path: Path, newest: ssl.TLSVersion, ciphers: str
) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            context = client_context(place.town, place.alice, tmp_path / "shown", alpn="h2")
            context.set_ciphers(ciphers)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = newest
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await version(place, context)

    asyncio.run(check())


class _Peer:
    """A call as gRPC shows it."""

    def __init__(self, shown: dict[str, list[bytes]]) -> None:
        self._shown = shown

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._shown


@pytest.mark.parametrize("said", [[b"TLSv1.2"], [], [b"TLSv1.3", b"TLSv1.2"]])
def test_the_handler_refuses_older_tls_too_and_what_it_does_not_know(said: list[bytes]) -> None:
    pem = Town().client("runnerd:user:alice").certificate_pem
    peer: Any = _Peer({"ssl_tls_version": said, "x509_pem_cert": [pem]})
    with pytest.raises(guard.RequestRefused, match=r"TLS 1\.3"):
        guard.certificate_of(peer)


def test_no_certificate_and_one_of_no_use_are_refused_by_the_handler_too() -> None:
    bare = Town().client("runnerd:user:alice", kind=Kind.SERVER).certificate_pem
    for pems in ([], [b"-----BEGIN CERTIFICATE-----\n"], [bare], [bare, bare]):
        peer: Any = _Peer({"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": pems})
        with pytest.raises(guard.RequestRefused) as caught:
            guard.certificate_of(peer)
        assert caught.value.code == "unauthenticated"


@pytest.mark.parametrize(
    ("peer", "remote"),
    [
        ("ipv4:192.0.2.7:5000", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::1"),
        ("ipv6:[::1]:5000", "::1"),
        ("unix:", "unix:"),
    ],
)
def test_the_address_of_a_peer_is_read(peer: str, remote: str) -> None:
    assert guard.remote_of(peer) == remote


def test_new_certificates_are_used_from_the_next_handshake_on_and_calls_go_on(
    tmp_path: Path,
) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            old = place.client()
            job = (await old.Start(command="sleep")).id
            stream = old.Output(id=job)
            await place.daemon.write(job, b"one\n")
            await stream.read()
            before = await _serial(place, tmp_path)
            place.town.server().files(tmp_path, "server")
            assert place.tls.look(again=True)
            after = await _serial(place, tmp_path)
            await place.client().Doctor()
            await place.daemon.write(job, b"two\n")
            assert (await stream.read()).data == b"two\n"
        assert before != after

    asyncio.run(check())


async def _serial(place: Place, tmp_path: Path) -> str:
    context = client_context(place.town, place.alice, tmp_path / "shown", alpn="h2")
    _, writer = await asyncio.open_connection(
        "127.0.0.1", place.port, ssl=context, server_hostname="localhost"
    )
    try:
        serial: str = writer.get_extra_info("peercert")["serialNumber"]
        return serial
    finally:
        writer.transport.abort()


def test_calls_and_connections_of_one_certificate_are_counted(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            streams = [place.client().StreamEvents(follow=True) for _ in range(32)]
            for stream in streams:
                await stream.read()
            error = await refusal(place.client())
            other = await place.client(place.town.client("runnerd:user:ada")).Doctor()
            for stream in streams:
                stream.cancel()
            await until(lambda: not place.gate.rates.open_streams("runnerd:user:alice"))
            await place.client().Doctor()
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        assert other.server

    asyncio.run(check())
