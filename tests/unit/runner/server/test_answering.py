"""Requests and answers of one client: what is taken how, in flight, greeted, counted and ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgpack
import pytest

from client import protocol
from client.protocol import FrameError
from runner.messages import ActFor
from runner.parsing import SHORT_BYTES
from runner.policy import Peer
from runner.problems import Problems
from runner.refusal import Refusal
from runner.server.answering import Answering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runner.server.outlet import FilePart
    from runner.server.service import Service
    from runner.server.stream import Stream
    from runner.server.writing import Writer

Message = dict[str, Any]
PEER = Peer(uid=990, gid=990, groups=frozenset({990}), pid=4321)
ALICE = Peer(uid=1000, gid=1000, groups=frozenset({1000}), pid=4321, origin="CN=alice")
HELLO: Message = {"id": 1, "op": "hello", "args": {"protocol": 1}}
ACT_FOR: Message = {"user": "alice", "origin": "CN=alice"}
STATUS: Message = {"id": 5, "op": "status", "args": {"job": "3f2a"}}


class Wire:
    """Connection and writer at once: everything that leaves the part, in order."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.events: list[bytes] = []
        self.parts: list[FilePart] = []
        self.steps: list[str] = []
        self.refuses: Refusal | None = None

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def send_frame(self, frame: bytes, *, is_output: bool = False) -> None:  # noqa: ARG002
        self.events.append(frame)

    def send_part(self, head: bytes, part: FilePart) -> None:
        self.events.append(head)
        self.parts.append(part)

    def greeted(self) -> None:
        self.steps.append("greeted")

    def become(self, uid: int) -> None:
        self.steps.append(f"become {uid}")
        if self.refuses is not None:
            raise self.refuses

    def go_on(self) -> None:
        self.steps.append("go on")


class Daemon:
    """What a request comes to: at once, later, or never."""

    def __init__(self) -> None:
        self.problems = Problems()
        self.refusals: Counter[str] = Counter()
        self.acting = self
        self.asked: list[tuple[Peer, str, Any]] = []
        self.streams: list[Stream] = []
        self.found: Peer | Refusal = ALICE
        self.looked_up = 0

    def check_version(self, hello: Any) -> None:
        if hello.protocol != 1:
            raise Refusal("unsupported-protocol")

    def greet(self, peer: Peer) -> Message:
        return {"uid": peer.uid}

    async def peer_for(self, peer: Peer, asked: ActFor) -> Peer:
        assert (peer, asked) == (PEER, ActFor(**ACT_FOR))
        self.looked_up += 1
        if isinstance(self.found, Refusal):
            raise self.found
        return self.found

    def read(self, op: str, args: Message) -> Any:
        if op == "nope":
            raise Refusal("unknown-op")
        return args

    def handle(self, peer: Peer, op: str, request: Any, stream: Stream) -> Any:
        self.asked.append((peer, op, request))
        self.streams.append(stream)
        if op == "status":
            return lambda: {"job": request.job}
        return self.hang() if op == "hang" else self.refuse()

    async def hang(self) -> Message:
        await asyncio.get_running_loop().create_future()
        return {}

    async def refuse(self) -> Message:
        raise Refusal("no-such-job")


class Part:
    """One answering, between a wire and a daemon that the test looks into."""

    def __init__(self) -> None:
        self.wire, self.daemon, self.writable = Wire(), Daemon(), asyncio.Event()
        self.writable.set()
        self.answering = Answering(
            cast("Service", self.daemon),
            PEER,
            cast("Writer", self.wire),
            self.writable,
            self.wire,
        )

    def take(self, *requests: Message) -> None:
        for request in requests:
            self.answering.take(bytearray(msgpack.packb(request)))

    async def settled(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def answers(self) -> list[tuple[int, str]]:
        """What was answered since: the id, and the code of a refusal or "ok"."""
        sent, self.wire.sent = self.wire.sent, []
        return [(each["id"], each["error"]["code"] if "error" in each else "ok") for each in sent]


def play(scenario: Callable[[Part], Awaitable[None]]) -> None:
    async def whole() -> None:
        part = Part()
        try:
            await asyncio.wait_for(cast("Any", scenario(part)), 10)
        finally:
            part.answering.end()
            await part.settled()
            assert part.answering.requests() == []

    asyncio.run(whole())


# What is taken in one step


def test_a_short_request_is_answered_in_one_step_and_only_after_the_greeting() -> None:
    async def scenario(part: Part) -> None:
        body = memoryview(msgpack.packb(STATUS))
        assert not part.answering.take_short(body)
        part.take(HELLO)
        assert part.answering.take_short(body)
        assert part.answers() == [(1, "ok"), (5, "ok")]

    play(scenario)


@pytest.mark.parametrize(
    "request_",
    [
        {**STATUS, "id": 0},
        {**STATUS, "id": protocol.MAX_REQUEST_ID + 1},
        {**STATUS, "more": 1},
        {**STATUS, "args": {"job": ""}},
        {**STATUS, "op": "hang"},
        {"op": "status"},
    ],
)
def test_what_there_is_a_reason_to_refuse_is_left_to_the_long_way_which_says_why(
    request_: Message,
) -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO)
        assert not part.answering.take_short(bytearray(msgpack.packb(request_)))
        assert part.answers() == [(1, "ok")]
        assert part.daemon.asked == []

    play(scenario)


def test_short_and_long_requests_share_their_ids_and_their_bound() -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO, {"id": 5, "op": "hang"}, STATUS)
        assert part.answers() == [(1, "ok"), (5, "bad-request")]
        part.take(*({"id": 100 + n, "op": "hang"} for n in range(protocol.MAX_IN_FLIGHT - 1)))
        part.take({**STATUS, "id": 6}, {"id": 7, "op": "hang"})
        assert part.answers() == [(6, "too-many-requests"), (7, "too-many-requests")]
        assert len(part.answering.requests()) == protocol.MAX_IN_FLIGHT

    play(scenario)


def test_a_long_body_is_never_read_as_a_short_one() -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO, {**STATUS, "args": {"job": "x" * SHORT_BYTES}})
        # As it came: nothing was read into it but by the daemon.
        assert part.daemon.asked[0][2] == {"job": "x" * SHORT_BYTES}

    play(scenario)


def test_a_body_that_is_no_message_is_its_connections_end() -> None:
    async def scenario(part: Part) -> None:
        with pytest.raises(FrameError):
            part.answering.take(bytearray(b"\xc1"))

    play(scenario)


# In flight


def test_what_is_refused_is_counted_by_code() -> None:
    async def scenario(part: Part) -> None:
        part.take(STATUS, HELLO, {"id": 2, "op": "nope"}, {"id": 3, "op": "other"})
        await part.settled()
        assert part.answers() == [
            (5, "hello-required"), (1, "ok"), (2, "unknown-op"), (3, "no-such-job"),
        ]  # fmt: skip
        expected = {"hello-required": 1, "unknown-op": 1, "no-such-job": 1}
        assert part.daemon.refusals == expected

    play(scenario)


def test_nothing_is_answered_while_the_client_does_not_read_and_everything_then() -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO)
        part.writable.clear()
        part.take(STATUS, {"id": 3, "op": "other"})
        await part.settled()
        assert part.answers() == [(1, "ok")]
        part.writable.set()
        await part.settled()
        assert sorted(part.answers()) == [(3, "no-such-job"), (5, "ok")]

    play(scenario)


def test_at_the_end_everything_in_flight_is_cancelled() -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO, {"id": 2, "op": "hang"}, {"id": 3, "op": "hang"})
        await part.settled()
        part.answering.end()
        await part.settled()
        assert part.answers() == [(1, "ok"), (2, "cancelled"), (3, "cancelled")]

    play(scenario)


def test_events_of_a_stream_leave_as_frames_with_its_id_and_their_number() -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO, {"id": 2, "op": "hang"})
        (stream,) = part.daemon.streams
        assert not stream.is_ready
        part.take({"id": 2, "op": "credit", "args": {"events": 3}})
        assert stream.is_ready
        stream.send_now({"a": 1})
        stream.send_packed_now(msgpack.packb({"b": 2}))
        assert part.wire.sent[-1] == {"id": 2, "seq": 1, "event": {"a": 1}}
        (frame,) = part.wire.events
        assert protocol.decode_body(frame[4:]) == {"id": 2, "seq": 2, "event": {"b": 2}}
        part.writable.clear()
        assert not stream.is_ready

    play(scenario)


# The greeting


def test_from_a_greeting_in_somebodys_name_on_requests_are_that_users() -> None:
    async def scenario(part: Part) -> None:
        part.take({**HELLO, "args": {**HELLO["args"], "act_for": ACT_FOR}})
        assert part.answering.is_greeting
        await part.settled()
        assert not part.answering.is_greeting
        assert part.wire.steps == ["become 1000", "greeted", "go on"]
        assert part.wire.sent == [{"id": 1, "ok": {"uid": 1000}}]
        part.take(STATUS, {"id": 6, "op": "other"})
        await part.settled()
        assert [peer for peer, _, _ in part.daemon.asked] == [ALICE, ALICE]

    play(scenario)


@pytest.mark.parametrize("by", ["policy", "count"])
def test_after_a_greeting_that_was_refused_the_peer_is_who_it_was_and_not_greeted(by: str) -> None:
    async def scenario(part: Part) -> None:
        if by == "policy":
            part.daemon.found = Refusal("not-permitted")
        else:
            part.wire.refuses = Refusal("too-many-requests")
        part.take({**HELLO, "args": {**HELLO["args"], "act_for": ACT_FOR}})
        await part.settled()
        part.take(STATUS)
        assert [code for _, code in part.answers()] == [
            "not-permitted" if by == "policy" else "too-many-requests", "hello-required",
        ]  # fmt: skip
        assert part.wire.steps[-1] == "go on"
        assert "greeted" not in part.wire.steps
        assert (part.answering.peer, part.answering.greeted) == (PEER, False)

    play(scenario)


def test_a_connection_that_acts_for_somebody_is_not_greeted_again() -> None:
    async def scenario(part: Part) -> None:
        in_a_name = {**HELLO, "args": {**HELLO["args"], "act_for": ACT_FOR}}
        part.take(in_a_name)
        await part.settled()
        part.take({**in_a_name, "id": 2}, {**HELLO, "id": 3})
        assert part.answers() == [(1, "ok"), (2, "not-permitted"), (3, "not-permitted")]
        assert (part.answering.peer, part.daemon.looked_up) == (ALICE, 1)

    play(scenario)


def test_a_plain_greeting_may_come_again_and_a_name_must_come_first() -> None:
    async def scenario(part: Part) -> None:
        part.take(HELLO, {**HELLO, "id": 2})
        part.take({"id": 3, "op": "hello", "args": {"protocol": 1, "act_for": ACT_FOR}})
        assert part.answers() == [(1, "ok"), (2, "ok"), (3, "not-permitted")]
        assert (part.answering.peer, part.daemon.looked_up) == (PEER, 0)

    play(scenario)


@pytest.mark.parametrize(
    ("act_for", "field"),
    [
        ({"user": "alice"}, "act_for.origin"),
        ({"origin": "CN=x"}, "act_for.user"),
        ({**ACT_FOR, "origin": ""}, "act_for.origin"),
        ({**ACT_FOR, "origin": "x" * 257}, "act_for.origin"),
        ({**ACT_FOR, "origin": "a\nb"}, "act_for.origin"),
        ({**ACT_FOR, "origin": "a\n"}, "act_for.origin"),
        ({**ACT_FOR, "origin": "\x7f"}, "act_for.origin"),
        ({**ACT_FOR, "origin": "café"}, "act_for.origin"),
        ({**ACT_FOR, "user": ""}, "act_for.user"),
        ({**ACT_FOR, "user": -1}, "act_for.user"),
        ({**ACT_FOR, "user": 2**32 - 1}, "act_for.user"),
        ({**ACT_FOR, "user": None}, "act_for.user"),
        ({**ACT_FOR, "uid": 0}, "act_for.uid"),
        ("alice", "act_for"),
    ],
)
def test_what_is_no_name_to_act_in_is_refused_by_field(act_for: object, field: str) -> None:
    async def scenario(part: Part) -> None:
        part.take({"id": 1, "op": "hello", "args": {"protocol": 1, "act_for": act_for}})
        (answer,) = part.wire.sent
        assert answer["error"]["code"] == "invalid-argument"
        assert answer["error"]["field"] == field
        assert (part.answering.is_greeting, part.daemon.looked_up) == (False, 0)

    play(scenario)
