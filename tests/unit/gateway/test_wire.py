"""The wire of the gateway from outside: its bounds, and what it says to who ignores them."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from client import protocol
from client.contexts import Context
from client.remote import ALPN
from gateway import wire as wires
from gateway import wire_answers
from tests.unit.gateway.certificates import Town, client_context
from tests.unit.gateway.wire_gateway import ALICE, WireGateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from client.protocol import Message
    from tests.unit.gateway.certificates import Pair

HELLO = {"protocol": 1, "client": "test"}


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


@pytest.fixture(scope="module")
def alice(town: Town) -> Pair:
    return town.client(ALICE)


@pytest.fixture
def gateway(tmp_path: Path, town: Town) -> Iterator[WireGateway]:
    with WireGateway(tmp_path, town, frame_seconds=0.5) as gateway:
        yield gateway


class Raw:
    """Frames by hand."""

    def __init__(self, gateway: WireGateway, pair: Pair) -> None:
        tls = client_context(gateway.town, pair, gateway.directory, alpn=ALPN)
        plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
        self.sock = tls.wrap_socket(plain, server_hostname="localhost")

    def send(self, number: Any, op: Any, args: Any = None, **more: Any) -> None:
        self.raw(protocol.encode_frame({"id": number, "op": op, "args": args or {}, **more}))

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self) -> Message | None:
        header = self._exactly(4)
        if header is None:
            return None
        body = self._exactly(protocol.frame_length(header))
        assert body is not None
        return protocol.decode_body(body)

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                piece = self.sock.recv(size - len(data))
            except (ConnectionError, ssl.SSLEOFError):
                return None
            if not piece:
                return None
            data += piece
        return data

    def is_closed(self) -> bool:
        while (message := self.read()) is not None:
            assert "error" in message or "ok" in message
        return True


@pytest.fixture
def raw(gateway: WireGateway, alice: Pair) -> Iterator[Raw]:
    raw = Raw(gateway, alice)
    yield raw
    raw.sock.close()


@pytest.fixture
def greeted(raw: Raw) -> Raw:
    raw.send(1, "hello", HELLO)
    answer = raw.read()
    assert answer is not None
    assert "ok" in answer
    return raw


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def code(message: Message | None) -> str:
    assert message is not None
    return str(message["error"]["code"])


def test_the_first_request_is_hello(raw: Raw) -> None:
    raw.send(3, "list")
    message = raw.read()
    assert message is not None
    assert (message["id"], code(message)) == (3, "hello-required")


def test_requests_may_follow_hello_without_waiting_for_its_answer(raw: Raw) -> None:
    raw.send(1, "hello", HELLO)
    raw.send(2, "submit", {"argv": ["echo", "x" * 5000]})
    answers = [raw.read(), raw.read()]
    assert [answer["id"] for answer in answers if answer] == [1, 2]
    assert all("ok" in answer for answer in answers if answer)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ({}, "invalid-argument"),
        ({"protocol": "1"}, "invalid-argument"),
        ({"protocol": True}, "invalid-argument"),
        ({"protocol": 0}, "unsupported-protocol"),
        ({**HELLO, "other": 1}, "invalid-argument"),
        ({**HELLO, "client": 5}, "invalid-argument"),
        ({**HELLO, "act_for": "alice"}, "invalid-argument"),
        ({**HELLO, "act_for": {"user": "alice", "origin": "CN=root"}}, "invalid-argument"),
        ({**HELLO, "act_for": {"user": ""}}, "invalid-argument"),
        ({**HELLO, "act_for": {"user": "root"}}, "not-permitted"),
    ],
)
def test_a_greeting_that_is_wrong_is_refused(raw: Raw, args: Message, wanted: str) -> None:
    raw.send(1, "hello", args)
    assert code(raw.read()) == wanted


def test_hello_comes_once(greeted: Raw) -> None:
    greeted.send(2, "hello", HELLO)
    assert code(greeted.read()) == "bad-request"


def test_features_that_the_gateway_does_not_know_are_left_out(
    gateway: WireGateway, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def greeting(_who: object) -> Message:
        return {"protocol": 1, "features": ["events", "teleport", 5]}

    services = gateway.wire.services._replace(greeting=greeting)
    monkeypatch.setattr(gateway.wire, "services", services)
    with_it = Raw(gateway, gateway.town.client(ALICE))
    with_it.send(1, "hello", HELLO)
    answer = with_it.read()
    with_it.sock.close()
    assert answer is not None
    assert answer["ok"]["features"] == ["events"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"id": 0, "op": "list", "args": {}}, "id"),
        ({"id": -1, "op": "list", "args": {}}, "id"),
        ({"id": 2**32, "op": "list", "args": {}}, "id"),
        ({"id": True, "op": "list", "args": {}}, "id"),
        ({"op": "list"}, "id"),
        ({"id": 5, "op": 7}, "op"),
        ({"id": 5, "op": "list", "args": []}, "args"),
        ({"id": 5, "op": "list", "args": {1: 2}}, "args"),
        ({"id": 5, "op": "list", "more": 1}, "more"),
    ],
)
def test_what_is_no_request_is_a_bad_request(greeted: Raw, message: Message, field: str) -> None:
    greeted.raw(protocol.encode_frame(message))
    answer = greeted.read()
    assert answer is not None
    assert (code(answer), answer["error"]["field"]) == ("bad-request", field)
    greeted.send(9, "list")
    answer = greeted.read()
    assert answer is not None
    assert "ok" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"\x7f\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\1\xc1",
        b"\0\0\0\1\x05",
        protocol.HEADER.pack(600) + b"\x91" * 599 + b"\x05",
    ],
)
def test_what_is_no_frame_ends_the_connection(greeted: Raw, data: bytes) -> None:
    greeted.raw(data)
    answer = greeted.read()
    assert answer is not None
    assert (answer["id"], code(answer)) == (0, "bad-frame")
    assert greeted.is_closed()


def test_before_hello_frames_are_short(raw: Raw) -> None:
    raw.raw(protocol.HEADER.pack(protocol.MAX_GREETING_BYTES + 1))
    assert code(raw.read()) == "bad-frame"
    assert raw.is_closed()


@pytest.mark.parametrize("begun", [b"", b"\0\0", protocol.HEADER.pack(100) + b"\x83"])
def test_no_greeting_in_time_ends_the_connection(raw: Raw, begun: bytes) -> None:
    raw.raw(begun)
    began = time.monotonic()
    assert code(raw.read()) == "bad-frame"
    assert time.monotonic() - began < 10
    assert raw.is_closed()


def test_a_frame_that_does_not_end_is_not_waited_for(greeted: Raw) -> None:
    greeted.raw(protocol.HEADER.pack(1000) + b"half")
    answer = greeted.read()
    assert answer is not None
    assert "a frame was not complete within 0.5 s" in answer["error"]["detail"]
    assert greeted.is_closed()


def test_half_frames_of_one_identity_are_bounded(
    gateway: WireGateway, alice: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "HELD_BYTES", 50_000)
    first, second = Raw(gateway, alice), Raw(gateway, alice)
    for each in (first, second):
        each.send(1, "hello", HELLO)
        each.read()
    gateway.wire.frame_seconds = 20.0
    half = protocol.HEADER.pack(100_000) + b"x" * 40_000
    first.raw(half)
    until(lambda: gateway.wire._held.total() == len(half))
    second.raw(half)
    assert code(second.read()) == "too-many-requests"
    assert second.is_closed()
    until(lambda: gateway.wire._held.total() == len(half))
    first.sock.close()
    second.sock.close()
    until(lambda: not gateway.wire._held)


def test_more_than_64_in_flight_are_refused(greeted: Raw) -> None:
    greeted.send(1, "submit", {"argv": ["sleep"]})
    answer = greeted.read()
    assert answer is not None
    job = answer["ok"]["job"]
    for number in range(2, 2 + protocol.MAX_IN_FLIGHT):
        greeted.send(number, "wait", {"job": job, "timeout_seconds": None})
    greeted.send(99, "list")
    answer = greeted.read()
    while answer is not None and answer["id"] != 99:
        # Its bindings' own bounds come first for some.
        assert code(answer) == "too-many-requests"
        answer = greeted.read()
    assert answer is not None


def test_an_id_in_flight_is_not_taken_again(greeted: Raw) -> None:
    greeted.send(1, "submit", {"argv": ["sleep"]})
    answer = greeted.read()
    assert answer is not None
    wait = {"job": answer["ok"]["job"], "timeout_seconds": None}
    greeted.send(2, "wait", wait)
    greeted.send(2, "list")
    answer = greeted.read()
    assert answer is not None
    assert (answer["id"], code(answer), answer["error"]["field"]) == (2, "bad-request", "id")


def test_a_wait_that_is_cancelled_is_answered_so(greeted: Raw) -> None:
    greeted.send(1, "submit", {"argv": ["sleep"]})
    answer = greeted.read()
    assert answer is not None
    greeted.send(2, "wait", {"job": answer["ok"]["job"], "timeout_seconds": None})
    greeted.send(2, "cancel")
    greeted.send(77, "cancel")
    assert code(greeted.read()) == "cancelled"


def test_no_more_events_come_than_were_granted(greeted: Raw, gateway: WireGateway) -> None:
    greeted.send(1, "submit", {"argv": ["sleep"]})
    answer = greeted.read()
    assert answer is not None
    job = answer["ok"]["job"]
    for number in range(20):
        gateway.do(gateway.double.write(job, b"%d\n" % number))
    greeted.send(2, "logs", {"job": job, "follow": True, "credit": 2})
    assert [_seq(greeted.read()), _seq(greeted.read())] == [1, 2]
    greeted.send(3, "status", {"job": job})
    answer = greeted.read()
    assert answer is not None
    assert answer["id"] == 3
    greeted.send(2, "credit", {"events": 1})
    assert _seq(greeted.read()) == 3
    # And runnerd itself was asked for next to nothing in advance.
    held = gateway.double.ops("logs")[0]["credit"]
    assert held <= 4
    greeted.send(2, "cancel")
    assert code(greeted.read()) == "cancelled"


def test_nothing_is_read_ahead_for_who_grants_nothing(greeted: Raw, gateway: WireGateway) -> None:
    greeted.send(1, "submit", {"argv": ["sleep"]})
    answer = greeted.read()
    assert answer is not None
    job = answer["ok"]["job"]
    gateway.do(gateway.double.write(job, b"x\n"))
    greeted.send(2, "logs", {"job": job, "follow": True, "credit": 0})
    until(lambda: bool(gateway.double.ops("logs")))
    assert gateway.double.ops("logs")[0]["credit"] == 0
    greeted.send(2, "credit", {"events": 1})
    assert _seq(greeted.read()) == 1
    # Its end comes without a credit.
    gateway.do(gateway.double.end(job))
    answer = greeted.read()
    assert answer is not None
    assert "ok" in answer


def _seq(message: Message | None) -> int:
    assert message is not None
    assert "event" in message
    return int(message["seq"])


@pytest.mark.parametrize("credit", [-1, 1025, "16", True])
def test_credit_is_bounded(greeted: Raw, credit: Any) -> None:
    greeted.send(2, "events", {"since": 0, "credit": credit})
    answer = greeted.read()
    assert answer is not None
    assert (code(answer), answer["error"]["field"]) == ("invalid-argument", "credit")


def test_what_is_not_known_is_refused(greeted: Raw) -> None:
    greeted.send(2, "teleport")
    assert code(greeted.read()) == "unknown-op"


def test_revocation_counts_for_the_next_request(
    greeted: Raw, gateway: WireGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.tls.trust, "refusal", lambda _: "it was revoked")
    greeted.send(2, "list")
    answer = greeted.read()
    assert answer is not None
    assert (code(answer), answer["error"]["detail"]) == ("unauthenticated", "it was revoked")
    assert greeted.is_closed()


def test_whoever_does_not_read_is_not_read_from_and_costs_little(
    greeted: Raw, gateway: WireGateway
) -> None:
    greeted.send(1, "submit", {"argv": ["sleep"]})
    answer = greeted.read()
    assert answer is not None
    job = answer["ok"]["job"]
    for _ in range(40):
        gateway.do(gateway.double.write(job, b"x" * 1_000_000))
    greeted.send(2, "logs", {"job": job, "follow": True, "credit": 1000})
    other = Raw(gateway, gateway.town.client(ALICE))
    other.send(1, "hello", HELLO)
    assert other.read()
    other.send(2, "status", {"job": job})
    began = time.monotonic()
    assert other.read()
    assert time.monotonic() - began < 5
    held = gateway.do(_buffered(gateway))
    assert held < 8_000_000
    other.sock.close()


async def _buffered(gateway: WireGateway) -> int:
    return sum(
        connection._transport.get_write_buffer_size() for connection in gateway.wire._connections
    )


def test_a_flood_of_small_frames_keeps_nobody_waiting(
    greeted: Raw, gateway: WireGateway, alice: Pair
) -> None:
    other = Raw(gateway, alice)
    other.send(1, "hello", HELLO)
    other.read()
    flood = protocol.encode_frame({"id": 5, "op": "credit", "args": {"events": 1}})
    for _ in range(20):
        greeted.raw(flood * 2000)
    other.send(2, "list")
    assert other.read()
    other.sock.close()


def test_requests_wait_for_their_turn_and_all_are_answered(greeted: Raw) -> None:
    assert wire_answers.AT_ONCE < 40
    for number in range(2, 42):
        greeted.send(number, "list")
    answers = [greeted.read() for _ in range(40)]
    assert sorted(answer["id"] for answer in answers if answer) == [*range(2, 42)]


def test_who_goes_away_leaves_nothing_behind(gateway: WireGateway, alice: Pair) -> None:
    raw = Raw(gateway, alice)
    raw.send(1, "hello", HELLO)
    raw.read()
    raw.send(2, "events", {"since": None, "follow": True})
    raw.raw(b"\0\0\0\x50half")
    raw.sock.close()
    until(lambda: not gateway.wire.connections and not gateway.wire._held)


def test_addresses_of_contexts_are_as_they_are_typed() -> None:
    assert Context("p", "::1", 7443, "", "", "").address == "[::1]:7443"
