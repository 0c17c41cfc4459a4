"""The door over real sockets: who gets in, who does not, and what each is told."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import ssl
import struct
import warnings
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway import door
from gateway.door import DoorBounds, Entrance
from gateway.pki.certificates import new_key
from tests.unit.gateway.certificates import DAY, HOUR, Pair, Town, client_context, put
from tests.unit.gateway.houses import (
    PATIENCE,
    REQUEST,
    Counting,
    House,
    exchange,
    hang_up,
    house,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

ALICE = "runnerd:user:alice"


def run(
    directory: Path,
    body: Callable[[House], Awaitable[None]],
    *,
    bounds: DoorBounds | None = None,
    entrance: Entrance | None = None,
    idle_seconds: float = 30.0,
) -> None:
    async def inside() -> None:
        async with house(
            directory, bounds=bounds, entrance=entrance, idle_seconds=idle_seconds
        ) as there:
            await body(there)

    asyncio.run(inside())


def old_context(there: House, pair: Pair, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks nothing newer, with every suite that OpenSSL has."""
    context = client_context(there.town, pair, there.directory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return context


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def stolen(pair: Pair, directory: Path) -> tuple[str, str]:
    """A certificate with the key of somebody else, made up so that OpenSSL takes it for its own.

    A PKCS #8 key carries its public half beside the private one, and nobody compares them.
    """
    thief = new_key()
    der = thief.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    forged = der.replace(point(thief.public_key()), point(pair.key.public_key()))
    assert forged != der
    put(directory / "stolen.crt", pair.certificate_pem)
    put(directory / "stolen.key", _pem(forged), 0o600)
    return str(directory / "stolen.crt"), str(directory / "stolen.key")


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "PRIVATE KEY").encode()


def test_a_client_with_a_good_certificate_is_known_by_it(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice = there.town.client(ALICE)
        assert await there.ask(alice) == f"200 {ALICE}"
        assert await there.ask(alice, alpn="http/1.1") == f"200 {ALICE}"
        assert not there.counted

    run(tmp_path, body)


def test_what_alpn_agrees_on_decides_who_serves(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        reader, writer = await there.connect(there.town.client(ALICE), alpn="runnerd/1")
        assert await reader.readline() == f"wire {ALICE}\n".encode()
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        await hang_up(writer)

    run(tmp_path, body)


MATRIX: dict[str, tuple[Callable[[House], Pair | None], str, str]] = {
    # who: what it shows, the alert that it gets, the word that is counted
    "no certificate": (lambda _: None, "tlsv13 alert certificate required", "no-certificate"),
    "wrong CA": (lambda _: Town("other").client(ALICE), "unknown ca", "unknown-authority"),
    "CA of the same name": (lambda _: Town().client(ALICE), "unknown ca", "unknown-authority"),
    "self-signed": (lambda _: Town(ALICE).pair, "unknown ca", "unknown-authority"),
    "expired": (
        lambda there: there.town.client(ALICE, starts=-DAY, ends=-1),
        "certificate expired",
        "expired",
    ),
    "not yet valid": (
        lambda there: there.town.client(ALICE, starts=HOUR, ends=DAY),
        "bad certificate",
        "not-yet-valid",
    ),
    "server's as a client": (
        lambda there: there.town.server(),
        "unsupported certificate",
        "purpose",
    ),
    "CA's as a client": (lambda there: there.town.pair, "unsupported certificate", "purpose"),
}


@pytest.mark.parametrize("who", MATRIX)
def test_nobody_else_gets_through_the_handshake(tmp_path: Path, who: str) -> None:
    shown, alert, word = MATRIX[who]

    async def body(there: House) -> None:
        assert alert in await there.ask(shown(there))
        assert there.counted == {word: 1}

    run(tmp_path, body)


@pytest.mark.parametrize("uris", [("no-scheme",), ("CN=root",)])
def test_a_signed_certificate_that_names_nobody_is_told_so(
    tmp_path: Path, uris: tuple[str, ...]
) -> None:
    async def body(there: House) -> None:
        answer = await there.ask(there.town.client(*uris))
        assert answer.startswith("401 ")
        assert '"code":"unauthenticated"' in answer
        assert there.counted == {"identity": 1}

    run(tmp_path, body)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2"])
def test_older_tls_is_refused_whatever_suites_it_has(tmp_path: Path, version: str) -> None:
    async def body(there: House) -> None:
        context = old_context(there, there.town.client(ALICE), ssl.TLSVersion[version])
        assert "alert protocol version" in await there.ask(None, context=context)
        assert there.counted == {"old-tls": 1}

    run(tmp_path, body)


def test_only_the_suites_of_tls_1_3_are_spoken(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        context = client_context(there.town, there.town.client(ALICE), tmp_path)
        context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
        reader, writer = await there.connect(None, context=context)
        assert await exchange(reader, writer) == f"200 {ALICE}"
        tls = writer.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        assert tls.cipher()[0] in {
            "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256",
        }  # fmt: skip
        assert tls.session is None or not tls.session.has_ticket
        await hang_up(writer)

    run(tmp_path, body)


def test_a_certificate_without_its_key_is_worth_nothing(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        context = client_context(there.town, None, tmp_path)
        context.load_cert_chain(*stolen(there.town.client(ALICE), tmp_path))
        assert "alert" in await there.ask(None, context=context)
        assert there.counted == {"wrong-key": 1}

    run(tmp_path, body)


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (REQUEST, "not-tls"),
        (b"\x00\x00\x00\x05hello", "not-tls"),
        (b"\x16\x03\x01\x00\x05aaaaa", "handshake"),
        (b"", "closed"),
    ],
)
def test_what_is_not_tls_is_refused(tmp_path: Path, sent: bytes, word: str) -> None:
    async def body(there: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(sent)
        writer.write_eof()
        assert b"HTTP" not in await reader.read()
        await there.counts(word)
        await hang_up(writer)

    run(tmp_path, body)


def test_a_handshake_that_takes_its_time_is_cut_off_and_others_go_on(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(b"\x16\x03\x01")
        assert await there.ask(there.town.client(ALICE)) == f"200 {ALICE}"
        assert await reader.read() == b""
        assert there.counted == {"timeout": 1}
        await hang_up(writer)

    run(tmp_path, body, bounds=DoorBounds(handshake_seconds=0.2))


def test_a_revoked_certificate_is_refused_at_the_door_and_within(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice = there.town.client(ALICE)
        reader, writer = await there.connect(alice)
        assert await exchange(reader, writer) == f"200 {ALICE}"
        put(tmp_path / "ca.crl", there.town.crl([alice]))
        assert there.tls.look()
        assert "was revoked" in await exchange(reader, writer)
        assert "certificate revoked" in await there.ask(alice)
        assert there.counted == {"revoked": 1}
        await hang_up(writer)

    run(tmp_path, body)


def test_a_revoked_connection_that_asks_nothing_is_swept_out(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice, bob = there.town.client(ALICE), there.town.client("runnerd:user:bob")
        reader, writer = await there.connect(alice, alpn="runnerd/1")
        kept, other = await there.connect(bob, alpn="runnerd/1")
        assert await reader.readline()
        assert await kept.readline()
        put(tmp_path / "ca.crl", there.town.crl([alice]))
        follower = asyncio.create_task(there.tls.follow(there.door.sweep, seconds=0.01))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises((OSError, EOFError)):
                await reader.readexactly(1)
        other.write(b"still here\n")
        assert await kept.readline() == b"still here\n"
        follower.cancel()
        assert there.counted == {"certificate": 1}
        await hang_up(writer)
        await hang_up(other)

    run(tmp_path, body)


def test_a_list_that_has_ended_lets_nobody_in(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        put(tmp_path / "ca.crl", there.town.crl(starts=-DAY, ends=-1))
        there.tls.look()
        assert "alert" in await there.ask(there.town.client(ALICE))
        assert there.counted == {"list-expired": 1}

    run(tmp_path, body)


def test_a_new_certificate_is_shown_without_a_restart_and_connections_stay(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice = there.town.client(ALICE)
        reader, writer = await there.connect(alice)
        before = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        renewed = there.town.server()
        renewed.files(tmp_path, "server")
        assert there.tls.look()
        assert await exchange(reader, writer) == f"200 {ALICE}"
        _, second = await there.connect(alice)
        assert second.get_extra_info("ssl_object").getpeercert(binary_form=True) == renewed.der
        assert renewed.der != before
        await hang_up(writer)
        await hang_up(second)

    run(tmp_path, body)


def test_headers_that_trickle_in_are_cut_off(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        reader, writer = await there.connect(there.town.client(ALICE))
        writer.write(b"GET / HTTP/1.1\r\n")
        heard = asyncio.create_task(reader.read())
        async with asyncio.timeout(PATIENCE):
            while not heard.done():
                writer.write(b"x: y\r\n")
                await asyncio.wait([heard], timeout=0.05)
        assert heard.result() == b""
        await hang_up(writer)

    run(tmp_path, body, idle_seconds=0.3)


def test_who_takes_nothing_of_what_waits_for_it_is_cut_off(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        _, writer = await there.connect(there.town.client(ALICE), alpn="runnerd/1")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent = b"x" * 65_536
        with pytest.raises(OSError):  # noqa: PT011  reset, or broken pipe
            async with asyncio.timeout(PATIENCE):
                while True:
                    writer.write(sent)
                    await writer.drain()
                    await asyncio.sleep(0)
        await there.counts("slow-reader")
        await hang_up(writer)

    run(tmp_path, body, bounds=DoorBounds(stall_seconds=0.2))


def test_one_identity_has_so_many_connections_and_others_have_theirs(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice = there.town.client(ALICE)
        both = [await there.connect(alice), await there.connect(alice)]
        assert [await exchange(*one) for one in both] == [f"200 {ALICE}"] * 2
        refused = await there.ask(alice)
        assert refused.startswith("429 ")
        assert '"code":"too-many-requests"' in refused
        assert await there.ask(there.town.client("runnerd:user:bob")) == "200 runnerd:user:bob"
        for _, writer in both:
            await hang_up(writer)
        await there.empty()
        assert await there.ask(alice) == f"200 {ALICE}"
        assert there.counted == {"subject-busy": 1}

    counting = Counting(2)
    run(tmp_path, body, entrance=counting.entrance)
    assert not counting.inside.total()


def test_who_may_not_come_in_is_told_so_in_its_own_protocol(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        eve = there.town.client("runnerd:user:eve")
        answer = await there.ask(eve)
        assert answer.startswith("403 ")
        assert "nobody knows you" in answer
        reader, writer = await there.connect(eve, alpn="runnerd/1")
        assert await reader.read() == b"not-permitted\n"
        await hang_up(writer)
        await there.empty()
        assert there.counted == {"no-binding": 2}

    counting = Counting(2, frozenset({"runnerd:user:eve"}))
    run(tmp_path, body, entrance=counting.entrance)
    assert not counting.inside.total()


def test_a_flood_from_many_addresses_pushes_out_itself(tmp_path: Path) -> None:
    """All places for handshakes are taken by silent ones, and one more is let in all the same."""

    async def body(there: House) -> None:
        flood = [
            await asyncio.open_connection("127.0.0.1", there.port, local_addr=(f"127.0.0.{n}", 0))
            for n in (2, 3, 4, 5)
            for _ in range(4)
        ]
        await there.counts("gave-way", 8)
        assert there.door.connections == 8
        for _ in range(5):
            assert await there.ask(there.town.client(ALICE)) == f"200 {ALICE}"
        assert await flood[0][0].read() == b""
        assert there.counted == {"gave-way": 9}
        for _, writer in flood:
            await hang_up(writer)

    run(tmp_path, body, bounds=DoorBounds(handshakes_by_address=4, handshakes=8))


def test_a_client_may_open_many_connections_at_once(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice = there.town.client(ALICE)
        context = client_context(there.town, alice, tmp_path)
        asked = [there.ask(None, context=context) for _ in range(50)]
        assert await asyncio.gather(*asked) == [f"200 {ALICE}"] * 50
        assert not there.counted

    run(tmp_path, body)


def test_connections_of_one_address_are_counted(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        alice = there.town.client(ALICE)
        both = [await there.connect(alice), await there.connect(alice)]
        assert [await exchange(*one) for one in both] == [f"200 {ALICE}"] * 2
        assert await there.ask(alice) == "closed"
        assert there.counted == {"address-connections": 1}
        for _, writer in both:
            await hang_up(writer)
        await there.empty()
        assert await there.ask(alice) == f"200 {ALICE}"

    run(tmp_path, body, bounds=DoorBounds(connections_by_address=2))


def test_a_flood_before_the_handshake_costs_its_own_address_alone(tmp_path: Path) -> None:
    """127.0.0.2 floods, with handshakes that never end; 127.0.0.1 is served meanwhile."""

    async def body(there: House) -> None:
        flood = [
            await asyncio.open_connection("127.0.0.1", there.port, local_addr=("127.0.0.2", 0))
            for _ in range(40)
        ]
        await there.counts("address-busy", 36)
        assert there.door.connections == 4
        for _ in range(5):
            assert await there.ask(there.town.client(ALICE)) == f"200 {ALICE}"
        for _, writer in flood:
            await hang_up(writer)

    run(tmp_path, body, bounds=DoorBounds(handshakes_by_address=4, handshakes=20))


def test_connections_that_come_too_fast_from_one_address_are_refused(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        for _ in range(3):
            assert await there.ask(there.town.client(ALICE)) == f"200 {ALICE}"
        assert await there.ask(there.town.client(ALICE)) == "closed"
        assert there.counted == {"address-rate": 1}

    run(tmp_path, body, bounds=DoorBounds(rate_by_address=0.001, burst_by_address=3))


@pytest.mark.parametrize(
    ("before", "after"),
    [((256, 4096), (2048, 4096)), ((256, 1000), (1000, 1000)), ((9999, 9999), None)],
)
def test_descriptors_are_there_for_all_connections(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: tuple[int, int] | None
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, pair: limits.append(pair))
    door.have_descriptors(2048)
    assert limits[1:] == ([] if after is None else [after])


def test_an_idle_connection_costs_little_memory(tmp_path: Path) -> None:
    """What asyncio sets aside for each is most of it."""

    async def body(there: House) -> None:
        _, writer = await there.connect(there.town.client(ALICE))
        buffers = [one for one in gc.get_objects() if isinstance(one, SSLProtocol)]
        assert len(buffers) >= 2  # ours and the client's
        assert all(one.max_size <= 32 * 1024 for one in buffers)
        await hang_up(writer)

    run(tmp_path, body)


def test_a_client_that_leaves_at_any_moment_is_forgotten(tmp_path: Path) -> None:
    async def body(there: House) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            with socket.socket() as gone:
                gone.setblocking(False)  # noqa: FBT003
                # With a reset instead of an end.
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await loop.sock_connect(gone, ("127.0.0.1", there.port))
        for _ in range(5):
            _, writer = await there.connect(there.town.client(ALICE))
            writer.transport.abort()
        await there.empty()
        assert await there.ask(there.town.client(ALICE)) == f"200 {ALICE}"

    run(tmp_path, body)


def test_a_request_with_the_last_byte_of_the_handshake_is_answered(tmp_path: Path) -> None:
    """It is there before the door has looked at the certificate."""

    async def body(there: House) -> None:
        context = client_context(there.town, there.town.client(ALICE), tmp_path)

        def at_once() -> bytes:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with socket.create_connection(("127.0.0.1", there.port), PATIENCE) as raw:
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        raw.sendall(outgoing.read())
                        incoming.write(raw.recv(65_536))
                tls.write(REQUEST)
                raw.sendall(outgoing.read())  # certificate, finished and request in one segment
                while True:
                    incoming.write(raw.recv(65_536))
                    try:
                        return tls.read(4096)
                    except ssl.SSLWantReadError:
                        continue

        answer = await asyncio.to_thread(at_once)
        assert answer.startswith(b"HTTP/1.1 200")

    run(tmp_path, body)
