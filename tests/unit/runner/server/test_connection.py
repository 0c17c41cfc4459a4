"""One client over a real socket: what it may ask, what it may hold, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from client import protocol
from client.protocol import HEADER, encode_frame
from runner.event_loop import Loop
from runner.policy import Peer
from runner.problems import Problems
from runner.refusal import Refusal
from runner.server import connection as connection_module
from runner.server.connection import Connection
from runner.server.outlet import FilePart
from runner.server.stream import MAX_EARLY_SIGNALS, Stream
from runner.store import StoreError
from runner.store_file import DamagedStoreError
from tests.unit.runner.promising import Ground

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from runner import messages

DEADLINE_SECONDS = 10.0
ALICE, FULL_UID = 123_456, 123_457
Message = dict[str, Any]
Handler = "Callable[[Message, Stream], Awaitable[Message]]"


class StubService:
    """The daemon behind the connections: answers by name, jobs there are none."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.handled: list[Message] = []
        self.asked_by: list[int] = []
        self.refuses: Refusal | None = None
        self.handlers: dict[str, Handler] = {"echo": self.echo, "hang": self.hang}
        self.cancelled = 0
        self.held = 0
        self.settling = Ground().settling
        self.may_hold = 2**40
        self.problems = Problems()
        self.refusals: Counter[str] = Counter()
        self.clients = self
        self.acting = self
        # What becomes of a greeting in somebody's name.
        self.act: Callable[[Peer, messages.ActFor], Awaitable[Peer]] | None = None
        self.moves: list[tuple[int, int]] = []

    def admit(self, connection: Connection, uid: int, *, is_job: bool) -> None:
        assert (uid, is_job) == (os.getuid(), False)
        if self.refuses is not None:
            raise self.refuses
        self.connections.append(connection)

    def forget(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def hold(self, uid: int, more: int) -> None:
        assert uid in {os.getuid(), *(to for to, _ in self.moves)}
        if more > 0 and self.held + more > self.may_hold:
            raise Refusal("too-many-requests", allowed="less")
        self.held += more

    def move(self, connection: Connection, uid: int, held: int) -> None:
        assert connection in self.connections
        if uid == FULL_UID:
            raise Refusal("too-many-requests", allowed="none of this user")
        self.moves.append((uid, held))

    async def peer_for(self, peer: Peer, asked: messages.ActFor) -> Peer:
        assert self.act is not None
        return await self.act(peer, asked)

    def check_version(self, hello: messages.Hello) -> None:
        if hello.protocol != 1:
            raise Refusal("unsupported-protocol", allowed="1")

    def greet(self, peer: Peer) -> Message:
        return {"uid": peer.uid}

    def read(self, op: str, args: Message) -> Message:
        if op not in self.handlers:
            raise Refusal("unknown-op", given=op)
        return args

    def handle(
        self, peer: Peer, op: str, args: Message, stream: Stream
    ) -> Awaitable[dict[str, Any]]:
        self.handled.append(args)
        self.asked_by.append(peer.uid)
        return self.handlers[op](args, stream)

    async def echo(self, args: Message, _stream: Stream) -> Message:
        return args

    async def hang(self, _args: Message, _stream: Stream) -> Message:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled += 1
        return {}


class Client:
    """The other end, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *requests: Message) -> None:
        """All of them in one write."""
        self.writer.write(b"".join(map(encode_frame, requests)))

    async def receive(self) -> Message:
        header = await within(self.reader.readexactly(HEADER.size))
        return protocol.decode_body(
            await within(self.reader.readexactly(protocol.frame_length(header)))
        )

    async def ask(self, request: Message) -> Message:
        self.send(request)
        return await self.receive()

    async def greet(self) -> None:
        assert await self.ask(HELLO) == {"id": 1, "ok": {"uid": os.getuid()}}

    async def is_closed(self) -> bool:
        return await within(self.reader.read(1)) == b""


HELLO: Message = {"id": 1, "op": "hello", "args": {"protocol": 1}}


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, DEADLINE_SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


class World:
    """A server on a socket of its own."""

    def __init__(self, service: StubService, path: str) -> None:
        self.service = service
        self.path = path

    async def connect(self) -> Client:
        return Client(*await asyncio.open_unix_connection(self.path, limit=2**24))

    async def greeted(self) -> Client:
        client = await self.connect()
        await client.greet()
        return client


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    """Runs a scenario against a server, and proves that the server forgets every client."""

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        service = StubService()
        path = str(tmp_path / "socket")
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: Connection(service), path)
        try:
            yield World(service, path)
        finally:
            for connection in list(service.connections):
                connection.close()
            await until(lambda: not service.connections)
            assert service.held == 0
            server.close()
            await server.wait_closed()

    async def whole(scenario: Callable[[World], Awaitable[None]]) -> None:
        async with world() as made:
            clients: list[Client] = []
            connect = made.connect

            async def connect_and_remember() -> Client:
                clients.append(await connect())
                return clients[-1]

            made.connect = connect_and_remember  # type: ignore[method-assign]
            try:
                await scenario(made)
            finally:
                for client in clients:
                    client.writer.transport.abort()

    def run(scenario: Callable[[World], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(whole(scenario))

    return run


Play = "Callable[[Callable[[World], Awaitable[None]]], None]"


def error_of(answer: Message) -> tuple[int, str]:
    return answer["id"], answer["error"]["code"]


# Who


def test_who_is_not_admitted_is_told_why_and_closed(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.service.refuses = Refusal("too-many-requests", allowed="2 connections")
        client = await world.connect()
        answer = await client.receive()
        assert answer == {
            "id": 0,
            "error": {"code": "too-many-requests", "allowed": "2 connections"},
        }
        assert await client.is_closed()

    play(scenario)


def test_a_client_that_goes_away_is_forgotten_and_its_requests_are_cancelled(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"}, {"id": 3, "op": "hang"})
        await until(lambda: len(world.service.handled) == 2)
        client.writer.transport.abort()
        await until(lambda: not world.service.connections)
        await until(lambda: world.service.cancelled == 2)

    play(scenario)


# Greeting


def test_nothing_is_answered_before_the_greeting(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        assert error_of(await client.ask({"id": 7, "op": "echo"})) == (7, "hello-required")
        assert world.service.handled == []
        await client.greet()
        assert await client.ask({"id": 7, "op": "echo", "args": {"a": 1}}) == {
            "id": 7,
            "ok": {"a": 1},
        }

    play(scenario)


def test_requests_may_follow_the_greeting_without_waiting_for_its_answer(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.send(HELLO, {"id": 2, "op": "echo"})
        assert [(await client.receive())["id"] for _ in range(2)] == [1, 2]

    play(scenario)


def test_a_greeting_that_is_refused_is_none(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        hello = {**HELLO, "args": {"protocol": 2}}
        assert error_of(await client.ask(hello)) == (1, "unsupported-protocol")
        assert error_of(await client.ask({"id": 2, "op": "echo"})) == (2, "hello-required")

    play(scenario)


# Greeting in somebody's name


def hello_for(user: str = "alice", request_id: int = 1) -> Message:
    args = {"protocol": 1, "act_for": {"user": user, "origin": "CN=alice"}}
    return {"id": request_id, "op": "hello", "args": args}


def acted(uid: int = ALICE) -> Peer:
    return Peer(uid=uid, gid=uid, groups=frozenset({uid}), pid=1, origin="CN=alice")


class LookUp:
    """A user database that answers when it is told to."""

    def __init__(self, service: StubService, found: Peer | Refusal) -> None:
        self.asked: list[str | int] = []
        self.answers = asyncio.Event()
        self._found = found
        service.act = self

    async def __call__(self, peer: Peer, asked: messages.ActFor) -> Peer:
        assert peer.uid == os.getuid()
        self.asked.append(asked.user)
        await self.answers.wait()
        if isinstance(self._found, Refusal):
            raise self._found
        return self._found


def test_from_a_greeting_in_somebodys_name_on_the_connection_is_theirs(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        look_up.answers.set()
        client = await world.connect()
        assert await client.ask(hello_for()) == {"id": 1, "ok": {"uid": ALICE}}
        assert await client.ask({"id": 2, "op": "echo"}) == {"id": 2, "ok": {}}
        assert (world.service.asked_by, look_up.asked) == ([ALICE], ["alice"])
        assert world.service.moves == [(ALICE, 0)]

    play(scenario)


def test_what_comes_while_the_user_is_looked_up_waits_and_is_asked_as_that_user(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        other = await world.greeted()
        client = await world.connect()
        # The last one is longer than a frame may be before the greeting is answered.
        long = {"x": "y" * 2 * protocol.MAX_GREETING_BYTES}
        client.send(hello_for(), {"id": 2, "op": "echo"}, {"id": 3, "op": "echo", "args": long})
        await until(lambda: look_up.asked == ["alice"])
        client.send({"id": 4, "op": "echo"})
        # Others are served meanwhile.
        for number in range(2, 20):
            assert "ok" in await other.ask({"id": number, "op": "echo"})
        assert ALICE not in world.service.asked_by
        look_up.answers.set()
        assert [(await client.receive())["id"] for _ in range(4)] == [1, 2, 3, 4]
        assert world.service.asked_by[-3:] == [ALICE] * 3

    play(scenario)


def test_what_follows_a_greeting_that_is_refused_is_asked_as_nobody(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, Refusal("not-permitted", field="act_for"))
        look_up.answers.set()
        client = await world.connect()
        client.send(hello_for(), {"id": 2, "op": "echo"})
        assert error_of(await client.receive()) == (1, "not-permitted")
        assert error_of(await client.receive()) == (2, "hello-required")
        assert (world.service.handled, world.service.moves) == ([], [])
        # It may say who it is itself.
        await client.greet()

    play(scenario)


def test_who_has_too_many_connections_gets_no_more_through_the_gateway(play: Play) -> None:
    async def scenario(world: World) -> None:
        LookUp(world.service, acted(FULL_UID)).answers.set()
        client = await world.connect()
        client.send(hello_for(), {"id": 2, "op": "echo"})
        assert error_of(await client.receive()) == (1, "too-many-requests")
        assert error_of(await client.receive()) == (2, "hello-required")

    play(scenario)


@pytest.mark.parametrize("second", [HELLO, hello_for("bob"), hello_for("alice")])
def test_a_connection_acts_for_one_user_and_never_for_another_or_for_itself(
    play: Play, second: Message
) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        look_up.answers.set()
        client = await world.connect()
        await client.ask(hello_for())
        assert error_of(await client.ask({**second, "id": 2})) == (2, "not-permitted")
        assert "ok" in await client.ask({"id": 3, "op": "echo"})
        assert (world.service.asked_by, look_up.asked) == ([ALICE], ["alice"])

    play(scenario)


def test_who_greeted_as_itself_cannot_act_for_anybody_afterwards(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        client = await world.greeted()
        assert error_of(await client.ask(hello_for(request_id=2))) == (2, "not-permitted")
        assert "ok" in await client.ask({"id": 3, "op": "echo"})
        assert (world.service.asked_by, look_up.asked) == ([os.getuid()], [])

    play(scenario)


def test_an_unknown_version_is_refused_before_anybody_is_looked_up(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        client = await world.connect()
        hello = hello_for()
        hello["args"]["protocol"] = 2
        assert error_of(await client.ask(hello)) == (1, "unsupported-protocol")
        assert look_up.asked == []

    play(scenario)


def test_what_waits_in_a_half_frame_moves_to_the_user_and_is_given_back(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        client = await world.connect()
        hello = encode_frame(hello_for())
        client.writer.write(hello[:10])
        await until(lambda: world.service.held == 10)
        client.writer.write(hello[10:] + HEADER.pack(9))
        await until(lambda: look_up.asked == ["alice"])
        look_up.answers.set()
        assert "ok" in await client.receive()
        assert world.service.moves == [(ALICE, 10)]
        await until(lambda: world.service.held == HEADER.size)

    play(scenario)


def test_a_client_that_goes_while_its_user_is_looked_up_leaves_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, acted())
        client = await world.connect()
        client.send(hello_for())
        await until(lambda: look_up.asked == ["alice"])
        client.writer.transport.abort()
        # Nobody reads meanwhile, so nobody hears of it; then it is heard of at once.
        look_up.answers.set()
        await until(lambda: not world.service.connections)

    play(scenario)


def test_the_clock_of_the_greeting_stands_while_a_user_is_looked_up_and_runs_after_a_refusal(
    play: Play, hurried: float
) -> None:
    async def scenario(world: World) -> None:
        look_up = LookUp(world.service, Refusal("not-permitted"))
        client = await world.connect()
        client.send(hello_for())
        await asyncio.sleep(2 * hurried)
        look_up.answers.set()
        assert error_of(await client.receive()) == (1, "not-permitted")
        assert error_of(await client.receive()) == (0, "bad-frame")
        assert await client.is_closed()

    play(scenario)


# Requests


@pytest.mark.parametrize("request_id", [0, -1, 2**32, 1.0, "1", None, True, [1]])
def test_an_id_that_is_none_is_answered_with_id_zero(play: Play, request_id: object) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        answer = await client.ask({"id": request_id, "op": "echo"})
        assert error_of(answer) == (0, "bad-request")
        assert (answer["error"]["field"], answer["error"]["allowed"]) == ("id", "1 to 4294967295")
        assert "ok" in await client.ask({"id": 2**32 - 1, "op": "echo"})

    play(scenario)


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({"op": "nope"}, "unknown-op", None),
        ({}, "bad-request", "op"),
        ({"op": 5}, "bad-request", "op"),
        ({"op": b"echo"}, "bad-request", "op"),
        ({"op": "echo", "args": []}, "bad-request", "args"),
        ({"op": "echo", "args": None}, "bad-request", "args"),
        ({"op": "echo", "args": {1: 2}}, "bad-request", "args"),
        ({"op": "echo", "more": 1}, "bad-request", "'more'"),
        ({"op": "echo", 5: 1}, "bad-request", "5"),
        ({"op": "credit", "args": {"events": 0}}, "invalid-argument", "events"),
        ({"op": "credit", "args": {}}, "invalid-argument", "events"),
        ({"op": "cancel", "args": {"a": 1}}, "invalid-argument", "a"),
        ({"op": "hello", "args": {"protocol": "1"}}, "invalid-argument", "protocol"),
        ({"op": "hello", "args": {"protocol": 1, "uid": 0}}, "invalid-argument", "uid"),
    ],
)
def test_what_is_no_request_is_refused_by_name_and_the_next_one_is_answered(
    play: Play, request_: Message, code: str, field: str | None
) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        answer = await client.ask({"id": 9, **request_})
        assert error_of(answer) == (9, code)
        assert answer["error"].get("field") == field
        assert "ok" in await client.ask({"id": 9, "op": "echo"})

    play(scenario)


def test_answers_come_as_they_are_ready_and_not_in_order(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"}, {"id": 3, "op": "echo"})
        assert (await client.receive())["id"] == 3

    play(scenario)


def test_an_id_in_flight_cannot_be_used_again_until_it_is_answered(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"})
        answer = await client.ask({"id": 2, "op": "echo"})
        assert error_of(answer) == (2, "bad-request")
        assert answer["error"]["field"] == "id"
        assert error_of(await client.ask({"id": 2, "op": "cancel"})) == (2, "cancelled")
        assert "ok" in await client.ask({"id": 2, "op": "echo"})

    play(scenario)


def test_one_request_more_than_may_be_in_flight_is_refused_and_the_others_live(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        hangs = [{"id": 100 + n, "op": "hang"} for n in range(protocol.MAX_IN_FLIGHT)]
        client.send(*hangs)
        answer = await client.ask({"id": 2, "op": "echo"})
        assert error_of(answer) == (2, "too-many-requests")
        assert len(world.service.handled) == protocol.MAX_IN_FLIGHT
        assert error_of(await client.ask({"id": 100, "op": "cancel"})) == (100, "cancelled")
        assert "ok" in await client.ask({"id": 2, "op": "echo"})

    play(scenario)


def test_a_handlers_refusal_is_the_answer(play: Play) -> None:
    async def refuse(_args: Message, _stream: Stream) -> Message:
        raise Refusal("no-such-job", field="job", given="'x'")

    async def scenario(world: World) -> None:
        world.service.handlers["refuse"] = refuse
        client = await world.greeted()
        assert await client.ask({"id": 2, "op": "refuse"}) == {
            "id": 2,
            "error": {"code": "no-such-job", "field": "job", "given": "'x'"},
        }

    play(scenario)


@pytest.mark.parametrize("text", ["caf\udce9", "\ud800"])
def test_a_refusal_that_cannot_be_encoded_is_still_answered(play: Play, text: str) -> None:
    """A path of the host is in it, whose bytes are not UTF-8."""

    async def refuse(_args: Message, _stream: Stream) -> Message:
        raise Refusal("limit-unavailable", detail=f"{text}: it is in memory")

    async def scenario(world: World) -> None:
        world.service.handlers["refuse"] = refuse
        client = await world.greeted()
        assert (await client.ask({"id": 2, "op": "refuse"}))["id"] == 2

    play(scenario)


@pytest.mark.parametrize(
    "result", [{"text": "caf\udce9"}, {"data": b"x" * protocol.MAX_FRAME_BYTES}, {"no": object()}]
)
def test_an_answer_that_cannot_be_sent_is_answered_as_a_defect(
    play: Play, result: Message, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(_args: Message, _stream: Stream) -> Message:
        return result

    async def scenario(world: World) -> None:
        world.service.handlers["answer"] = answer
        client = await world.greeted()
        assert error_of(await client.ask({"id": 2, "op": "answer"})) == (2, "internal")

    play(scenario)
    assert "defect" in caplog.text


def test_a_defect_is_answered_without_details_and_logged_with_them(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def late(_args: Message, _stream: Stream) -> Message:
        raise KeyError("a secret detail")

    def early(_args: Message, _stream: Stream) -> Awaitable[Message]:
        raise ZeroDivisionError("another detail")

    async def scenario(world: World) -> None:
        world.service.handlers |= {"late": late, "early": early}
        client = await world.greeted()
        for op in ("late", "early"):
            answer = await client.ask({"id": 2, "op": op})
            assert error_of(answer) == (2, "internal")
            assert answer["error"] == {"code": "internal"}
        assert "ok" in await client.ask({"id": 2, "op": "echo"})

    play(scenario)
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [type(record.exc_info[1]) for record in logged if record.exc_info] == [
        KeyError,
        ZeroDivisionError,
    ]
    assert f"uid {os.getuid()}" in caplog.text


def test_a_store_that_fails_is_answered_and_its_own_words_are_logged(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_args: Message, _stream: Stream) -> Message:
        raise StoreError("/var/lib/x: disk I/O error")

    async def scenario(world: World) -> None:
        world.service.handlers["fail"] = fail
        client = await world.greeted()
        answer = await client.ask({"id": 2, "op": "fail"})
        assert error_of(answer) == (2, "store-error")
        assert answer["error"]["detail"] == "/var/lib/x: disk I/O error"

    play(scenario)
    assert "/var/lib/x: disk I/O error" in caplog.text


def test_a_store_that_is_damaged_while_it_is_used_is_a_problem(play: Play) -> None:
    async def fail(_args: Message, _stream: Stream) -> Message:
        raise DamagedStoreError("/var/lib/x: malformed. Restart runnerd")

    async def scenario(world: World) -> None:
        world.service.handlers["fail"] = fail
        client = await world.greeted()
        for number in (2, 3):
            answer = await client.ask({"id": number, "op": "fail"})
            assert error_of(answer) == (number, "store-error")
        (problem,) = world.service.problems.all()
        assert problem.text == "/var/lib/x: malformed. Restart runnerd"

    play(scenario)


# Cancelling


def test_a_cancelled_request_is_answered_once_and_its_work_ends(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"})
        await until(lambda: len(world.service.handled) == 1)
        client.send({"id": 2, "op": "cancel"}, {"id": 2, "op": "cancel"})
        assert await client.receive() == {"id": 2, "error": {"code": "cancelled"}}
        assert await client.ask({"id": 3, "op": "echo"}) == {"id": 3, "ok": {}}
        assert world.service.cancelled == 1

    play(scenario)


def test_a_cancel_right_behind_its_request_is_answered(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"}, {"id": 2, "op": "cancel"}, {"id": 3, "op": "echo"})
        answers = [await client.receive() for _ in range(2)]
        assert sorted(answer["id"] for answer in answers) == [2, 3]
        assert "ok" in await client.ask({"id": 2, "op": "echo"})

    play(scenario)


def test_signals_reach_whoever_listens_also_those_that_came_before(play: Play) -> None:
    async def scenario(world: World) -> None:
        begun, heard, ended = asyncio.Event(), list[int](), asyncio.Event()

        async def listen(_args: Message, stream: Stream) -> Message:
            await begun.wait()
            stream.listen(heard.append)
            await ended.wait()
            return {"heard": heard}

        world.service.handlers["listen"] = listen
        client = await world.greeted()
        client.send({"id": 2, "op": "listen"})
        for _ in range(MAX_EARLY_SIGNALS + 5):
            client.send({"id": 2, "op": "signal", "args": {"signal": 2}})
        await client.ask({"id": 3, "op": "echo"})
        begun.set()
        await until(lambda: len(heard) == MAX_EARLY_SIGNALS)
        client.send({"id": 2, "op": "signal", "args": {"signal": 15}})
        client.send({"id": 9, "op": "signal", "args": {"signal": 15}})
        await until(lambda: heard[-1] == 15)
        assert error_of(await client.ask({"id": 2, "op": "signal", "args": {"signal": 65}})) == (
            2,
            "invalid-argument",
        )
        ended.set()
        assert (await client.receive())["ok"]["heard"] == [2] * (len(heard) - 1) + [15]

    play(scenario)


def test_credit_and_cancel_for_what_is_not_in_flight_have_no_answer(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 5, "op": "credit", "args": {"events": 1}}, {"id": 5, "op": "cancel"})
        assert await client.ask({"id": 6, "op": "echo"}) == {"id": 6, "ok": {}}

    play(scenario)


# Streams


class Counting:
    """A handler that sends events for as long as it may."""

    def __init__(self, events: int, event: Message) -> None:
        self.events = events
        self.event = event
        self.sent = 0

    async def __call__(self, args: Message, stream: Stream) -> Message:
        if credit := args.get("credit"):
            stream.grant(credit)
        for _ in range(self.events):
            await stream.send(self.event)
            self.sent += 1
        return {"sent": self.sent}


def test_events_are_numbered_from_one_and_the_answer_comes_last(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.service.handlers["count"] = Counting(3, {"a": 1})
        client = await world.greeted()
        client.send({"id": 2, "op": "count", "args": {"credit": 10}})
        assert [await client.receive() for _ in range(4)] == [
            *({"id": 2, "seq": seq, "event": {"a": 1}} for seq in (1, 2, 3)),
            {"id": 2, "ok": {"sent": 3}},
        ]

    play(scenario)


def test_no_more_events_come_than_were_granted(play: Play) -> None:
    async def scenario(world: World) -> None:
        count = world.service.handlers["count"] = Counting(10, {})
        client = await world.greeted()
        client.send({"id": 2, "op": "count"})
        assert "ok" in await client.ask({"id": 3, "op": "echo"})
        assert count.sent == 0
        for credit in (1, 3):
            client.send({"id": 2, "op": "credit", "args": {"events": credit}})
            for _ in range(credit):
                assert "event" in await client.receive()
            # What comes next is this answer: no event slipped through.
            assert "ok" in await client.ask({"id": 3, "op": "echo"})
        assert count.sent == 4
        client.send({"id": 2, "op": "cancel"})
        assert error_of(await client.receive()) == (2, "cancelled")

    play(scenario)


def test_streams_of_one_connection_have_each_their_own_credit(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.service.handlers["count"] = Counting(10, {})
        client = await world.greeted()
        client.send({"id": 2, "op": "count"}, {"id": 3, "op": "count"})
        client.send({"id": 3, "op": "credit", "args": {"events": 2}})
        assert [(await client.receive())["id"] for _ in range(2)] == [3, 3]

    play(scenario)


def test_a_reader_that_does_not_read_is_written_no_further(play: Play) -> None:
    """Credit for a thousand events of 100 kB, of which the client takes none."""

    async def scenario(world: World) -> None:
        count = world.service.handlers["count"] = Counting(1000, {"data": b"x" * 100_000})
        client = await world.greeted()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send({"id": 2, "op": "count", "args": {"credit": 1000}})
        transport = world.service.connections[0]._transport
        await until(lambda: transport.get_write_buffer_size() > 0)
        # Whoever could go on has gone on after a few rounds of the loop.
        for _ in range(20):
            await asyncio.sleep(0)
        stuck = count.sent
        assert transport.get_write_buffer_size() < 400_000
        assert stuck < 50
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for seq in range(1, 1001):
            assert (await client.receive())["seq"] == seq
        assert (await client.receive())["ok"] == {"sent": 1000}

    play(scenario)


def test_answers_that_nobody_reads_do_not_pile_up(play: Play) -> None:
    async def big(_args: Message, _stream: Stream) -> Message:
        return {"data": b"x" * 1_000_000}

    async def scenario(world: World) -> None:
        world.service.handlers["big"] = big
        client = await world.greeted()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(*({"id": n, "op": "big"} for n in range(2, 42)))
        await until(lambda: len(world.service.handled) == 40)
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.service.connections[0]._transport.get_write_buffer_size() < 4_000_000
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert sorted([(await client.receive())["id"] for _ in range(40)]) == [*range(2, 42)]

    play(scenario)


def test_a_cancel_reaches_a_stream_whose_client_reads_nothing_but_asks(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.service.handlers["count"] = Counting(5, {})
        client = await world.greeted()
        client.send({"id": 2, "op": "count"}, {"id": 2, "op": "credit", "args": {"events": 2}})
        await client.receive()
        await client.receive()
        client.send({"id": 2, "op": "cancel"})
        assert error_of(await client.receive()) == (2, "cancelled")
        assert "ok" in await client.ask({"id": 2, "op": "echo"})

    play(scenario)


# Turns, and what is answered at once


class Quick:
    """What a service gives for a request that needs no task: a function that answers."""

    def __init__(self, service: StubService, answer: Callable[[Message], Any]) -> None:
        self.asked: list[Message] = []
        self._handle, self._answer = service.handle, answer
        self._read = service.read
        service.handle = self.handle  # type: ignore[method-assign, assignment]
        service.read = self.read  # type: ignore[method-assign]

    def read(self, op: str, args: Message) -> Message:
        return args if op == "quick" else self._read(op, args)

    def handle(self, peer: Peer, op: str, args: Message, stream: Stream) -> Any:
        return (lambda: self._ask(args)) if op == "quick" else self._handle(peer, op, args, stream)

    def _ask(self, args: Message) -> Any:
        self.asked.append(args)
        return self._answer(args)


def requests(count: int, op: str = "quick") -> list[Message]:
    return [{"id": n, "op": op, "args": {"n": n}} for n in range(1, count + 1)]


def test_any_number_that_is_answered_at_once_is_answered_in_order(play: Play) -> None:
    """They are never in flight: the bound on those is not theirs."""

    async def scenario(world: World) -> None:
        Quick(world.service, lambda args: args)
        client = await world.greeted()
        sent = requests(20 * protocol.MAX_IN_FLIGHT)
        client.send(*sent)
        for request_ in sent:
            assert await client.receive() == {"id": request_["id"], "ok": request_["args"]}

    play(scenario)


def test_what_is_answered_at_once_fails_like_everything_else(play: Play) -> None:
    failures: list[Exception] = [Refusal("no-such-job"), KeyError("a secret"), StoreError("full")]

    def fail(args: Message) -> Message:
        raise failures[args["n"] - 1]

    async def scenario(world: World) -> None:
        Quick(world.service, fail)
        client = await world.greeted()
        client.send(*requests(3), {"id": 4, "op": "echo"})
        answers = [error_of(await client.receive()) for _ in range(3)]
        assert answers == [(1, "no-such-job"), (2, "internal"), (3, "store-error")]
        assert "ok" in await client.receive()

    play(scenario)


def test_what_begins_at_once_may_go_on_waiting_and_be_cancelled(play: Play) -> None:
    async def scenario(world: World) -> None:
        Quick(world.service, lambda args: world.service.hang(args, None))  # type: ignore[arg-type]
        client = await world.greeted()
        client.send(*requests(1), {"id": 1, "op": "cancel"})
        assert error_of(await client.receive()) == (1, "cancelled")
        assert world.service.cancelled == 1

    play(scenario)


def test_nothing_is_looked_up_for_a_client_that_does_not_read(play: Play) -> None:
    async def scenario(world: World) -> None:
        quick = Quick(world.service, lambda _args: {"data": b"x" * 1_000_000})
        client = await world.greeted()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(*requests(40))
        transport = world.service.connections[0]._transport
        await until(lambda: transport.get_write_buffer_size() > 0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(quick.asked) < 5
        assert transport.get_write_buffer_size() < 4_000_000
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert sorted([(await client.receive())["id"] for _ in range(40)]) == [*range(1, 41)]

    play(scenario)


def test_one_clients_many_requests_do_not_keep_the_others_waiting(play: Play) -> None:
    async def scenario(world: World) -> None:
        def slow(args: Message) -> Message:
            until_ = time.monotonic() + 0.003
            while time.monotonic() < until_:
                pass
            return args

        quick = Quick(world.service, slow)
        greedy, other = await world.greeted(), await world.greeted()
        greedy.send(*requests(50))
        await until(lambda: len(quick.asked) > 0)
        assert await other.ask({"id": 2, "op": "echo"}) == {"id": 2, "ok": {}}
        assert len(quick.asked) < 25
        for number in range(1, 51):
            assert (await greedy.receive())["id"] == number
        assert await greedy.ask({"id": 2, "op": "echo"}) == {"id": 2, "ok": {}}

    play(scenario)


def test_a_frame_that_is_cut_off_is_taken_up_after_what_came_before_it(play: Play) -> None:
    """Its beginning comes in a piece that takes several turns."""

    async def scenario(world: World) -> None:
        def slow(args: Message) -> Message:
            time.sleep(0.002)
            return args

        Quick(world.service, slow)
        client = await world.greeted()
        frames = b"".join(map(encode_frame, requests(10)))
        last = encode_frame({"id": 11, "op": "echo"})
        client.writer.write(frames + last[:6])
        await until(lambda: world.service.held == 6)
        client.writer.write(last[6:])
        assert [(await client.receive())["id"] for _ in range(11)] == [*range(1, 12)]

    play(scenario)


def test_a_client_that_goes_away_in_the_middle_is_asked_no_further(play: Play) -> None:
    async def scenario(world: World) -> None:
        def slow(args: Message) -> Message:
            time.sleep(0.002)
            if args["n"] == 3:
                client.writer.transport.abort()
                world.service.connections[0].close()
            return args

        quick = Quick(world.service, slow)
        client = await world.greeted()
        client.send(*requests(10))
        await until(lambda: not world.service.connections)
        assert len(quick.asked) == 3

    play(scenario)


# Frames


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(0),
        HEADER.pack(protocol.MAX_FRAME_BYTES + 1),
        HEADER.pack(1) + b"\x05",
        HEADER.pack(2) + b"\x80\x80",
        HEADER.pack(1) + b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_frame_ends_this_connection_and_no_other(play: Play, data: bytes) -> None:
    async def scenario(world: World) -> None:
        other = await world.greeted()
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"})
        client.writer.write(data)
        assert error_of(await client.receive()) == (0, "bad-frame")
        assert await client.is_closed()
        await until(lambda: len(world.service.connections) == 1)
        assert "ok" in await other.ask({"id": 2, "op": "echo"})

    play(scenario)


def test_requests_before_a_bad_frame_in_one_packet_harm_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.writer.write(encode_frame({"id": 2, "op": "echo"}) + HEADER.pack(0))
        assert error_of(await client.receive()) == (0, "bad-frame")
        assert await client.is_closed()

    play(scenario)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(connection_module, "FRAME_SECONDS", 0.2)
    return 0.2


def test_half_a_frame_is_held_for_a_while_and_not_for_ever(play: Play, hurried: float) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        started = asyncio.get_running_loop().time()
        client.writer.write(encode_frame({"id": 2, "op": "echo"})[:-1])
        answer = await client.receive()
        assert error_of(answer) == (0, "bad-frame")
        assert "not complete within 0.2 s" in answer["error"]["detail"]
        assert asyncio.get_running_loop().time() - started >= hurried
        assert await client.is_closed()

    play(scenario)


def test_dribbling_a_frame_byte_by_byte_does_not_put_the_deadline_off(
    play: Play, hurried: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        end = asyncio.get_running_loop().time() + 20 * hurried
        client.writer.write(HEADER.pack(100_000))
        while world.service.connections:
            client.writer.write(b"\x81")
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() < end

    play(scenario)
    assert "a frame was not complete within 0.2 s" in caplog.text


def test_an_idle_client_between_two_frames_is_left_alone(play: Play, hurried: float) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        frame = encode_frame({"id": 2, "op": "echo"})
        client.writer.write(frame[:5])
        await until(lambda: world.service.held == 5)
        client.writer.write(frame[5:])
        assert "ok" in await client.receive()
        closed = asyncio.create_task(client.is_closed())
        assert not (await asyncio.wait([closed], timeout=2 * hurried))[0]
        closed.cancel()
        await asyncio.wait([closed])
        assert "ok" in await client.ask({"id": 3, "op": "echo"})

    play(scenario)


def test_a_frame_that_is_quick_is_not_blamed_for_those_before_it(
    play: Play, hurried: float
) -> None:
    """Every write ends in the middle of a frame, and none of the frames takes long."""

    async def scenario(world: World) -> None:
        client = await world.greeted()
        frame = encode_frame({"id": 2, "op": "echo"})
        end = asyncio.get_running_loop().time() + 3 * hurried
        client.writer.write(frame[:7])
        while asyncio.get_running_loop().time() < end:
            client.writer.write(frame[7:] + frame[:7])
            assert await client.receive() == {"id": 2, "ok": {}}

    play(scenario)


def test_a_half_frame_for_which_there_is_no_room_ends_its_connection(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.service.may_hold = 1000
        client = await world.greeted()
        client.writer.write(HEADER.pack(5000) + bytes(500))
        await until(lambda: world.service.held == 504)
        client.writer.write(bytes(500))
        assert error_of(await client.receive()) == (0, "too-many-requests")
        assert await client.is_closed()
        await until(lambda: world.service.held == 0)

    play(scenario)


def test_who_never_greets_is_closed(play: Play, hurried: float) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        answer = await client.receive()
        assert error_of(answer) == (0, "bad-frame")
        assert answer["error"]["detail"] == f"no hello came within {hurried:g} s"
        assert await client.is_closed()

    play(scenario)


def test_before_the_greeting_frames_are_short(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.writer.write(HEADER.pack(protocol.MAX_GREETING_BYTES + 1))
        assert error_of(await client.receive()) == (0, "bad-frame")
        assert await client.is_closed()

    play(scenario)


# The end of what the client sends


def test_a_client_that_is_done_is_closed(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.writer.write_eof()
        assert await client.is_closed()
        await until(lambda: not world.service.connections)

    play(scenario)


def test_a_client_that_reads_to_the_end_comes_to_an_end(play: Play) -> None:
    """As `printf REQUESTS | nc -NU SOCKET` does it, whether or not it gets these answers."""

    async def scenario(world: World) -> None:
        may_end = asyncio.Event()

        async def later(_args: Message, _stream: Stream) -> Message:
            await may_end.wait()
            return {}

        world.service.handlers["later"] = later
        client = await world.greeted()
        client.send({"id": 2, "op": "later"}, {"id": 3, "op": "later"})
        await until(lambda: len(world.service.handled) == 2)
        client.writer.write_eof()
        may_end.set()
        await asyncio.wait_for(client.reader.read(), 3)
        await until(lambda: not world.service.connections)

    play(scenario)


def test_an_end_of_file_within_a_frame_ends_the_connection_at_once(play: Play) -> None:
    async def scenario(world: World) -> None:
        client = await world.greeted()
        client.send({"id": 2, "op": "hang"})
        client.writer.write(encode_frame({"id": 3, "op": "echo"})[:-1])
        client.writer.write_eof()
        assert await client.is_closed()
        await until(lambda: world.service.cancelled == 1)

    play(scenario)


# Parts of files


def test_a_part_of_a_file_is_the_same_frame_as_its_bytes_and_answers_come_after_it(
    play: Play, tmp_path: Path
) -> None:
    data = os.urandom(4 * 2**18)
    (tmp_path / "log").write_bytes(data)
    expected = [
        {"id": 2, "seq": seq, "event": {"data": data[2**18 * (seq - 1) : 2**18 * seq]}}
        for seq in range(1, 5)
    ]

    async def parts(args: Message, stream: Stream) -> Message:
        fd = os.open(tmp_path / "log", os.O_RDONLY)
        for number in range(4):
            await stream.ready()
            head = b"\x81\xa4data\xc6" + HEADER.pack(2**18)
            stream.send_part_now(head, FilePart(fd, number * 2**18, 2**18))
        os.close(fd)
        return args

    async def scenario(world: World) -> None:
        world.service.handlers["parts"] = parts
        client = await world.connect()
        client.send(
            HELLO,
            {"id": 2, "op": "parts", "args": {"x": 1}},
            {"id": 3, "op": "echo", "args": {}},
            {"id": 2, "op": "credit", "args": {"events": 9}},
            {"id": 4, "op": "echo", "args": {}},
        )
        await until(lambda: len(world.service.handled) == 3)
        # Nobody reads for a while.
        await asyncio.sleep(0.01)
        answers = [await client.receive() for _ in range(8)]
        assert [answer for answer in answers if "seq" in answer] == expected
        others = [answer["id"] for answer in answers if "seq" not in answer]
        assert sorted(others) == [1, 2, 3, 4]
        assert others.index(2) > 0

    play(scenario)


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_part_that_was_begun_is_whole_when_its_stream_is_cancelled(
    play: Play, tmp_path: Path, how: str
) -> None:
    data = os.urandom(3 * 2**20)
    (tmp_path / "log").write_bytes(data)

    async def part(_args: Message, stream: Stream) -> Message:
        await stream.ready()
        fd = os.open(tmp_path / "log", os.O_RDONLY)
        stream.send_part_now(b"\xc6" + HEADER.pack(len(data)), FilePart(fd, 0, len(data)))
        os.close(fd)
        await asyncio.get_running_loop().create_future()
        return {}

    async def scenario(world: World) -> None:
        world.service.handlers["part"] = part
        client = await world.greeted()
        # Not read beyond what the kernel holds.
        client.writer.transport.pause_reading()
        client.send(
            {"id": 2, "op": "credit", "args": {"events": 9}},
            {"id": 2, "op": "part"},
            {"id": 2, "op": "credit", "args": {"events": 9}},
            {"id": 2, "op": "cancel"},
        )
        await until(lambda: len(world.service.handled) == 1)
        (connection,) = world.service.connections
        await until(lambda: not connection._writable.is_set())
        if how == "gone":
            client.writer.transport.abort()
            await until(lambda: not world.service.connections)
            return
        client.writer.transport.resume_reading()
        assert await client.receive() == {"id": 2, "seq": 1, "event": data}
        assert error_of(await client.receive()) == (2, "cancelled")

    play(scenario)


# What is read in one step


def test_what_is_asked_most_keeps_to_the_same_rules(play: Play) -> None:
    async def status(request: Any, _stream: Stream) -> Message:
        return {"job": request.job}

    def asking(request_id: int, op: str = "status") -> Message:
        return {"id": request_id, "op": op, "args": {"job": "abcd"}}

    async def scenario(world: World) -> None:
        world.service.handlers.update(status=status, wait=world.service.hang)
        client = await world.connect()
        client.send(asking(1))
        assert error_of(await client.receive()) == (1, "hello-required")
        await client.greet()
        client.send(asking(2))
        assert await client.receive() == {"id": 2, "ok": {"job": "abcd"}}
        client.send(asking(3), asking(4))
        assert [(await client.receive())["id"] for _ in range(2)] == [3, 4]
        client.send(asking(5, "wait"))
        client.send(asking(5))
        assert error_of(await client.receive()) == (5, "bad-request")
        client.send(asking(0))
        assert error_of(await client.receive()) == (0, "bad-request")
        client.send(*(asking(n, "wait") for n in range(6, 5 + protocol.MAX_IN_FLIGHT)))
        client.send(asking(1))
        assert error_of(await client.receive()) == (1, "too-many-requests")

    play(scenario)


def test_a_short_request_may_come_in_pieces(play: Play) -> None:
    async def status(request: Any, _stream: Stream) -> Message:
        return {"job": request.job}

    async def scenario(world: World) -> None:
        world.service.handlers["status"] = status
        client = await world.greeted()
        frame = encode_frame({"id": 1, "op": "status", "args": {"job": "abcd"}})
        for cut in (1, HEADER.size, HEADER.size + 1, len(frame) - 1):
            client.writer.write(frame[:cut])
            await until(lambda cut=cut: world.service.held == cut)  # type: ignore[misc]
            client.writer.write(frame[cut:])
            assert await client.receive() == {"id": 1, "ok": {"job": "abcd"}}
            assert world.service.held == 0

    play(scenario)
