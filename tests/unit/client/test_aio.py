"""The asynchronous connection against a real socket: many at once, credit, ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from client import protocol
from client.aio import AsyncConnection
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SECONDS = 10.0
JOB = {"argv": ["sleep"], "cwd": "/"}


def with_daemon(
    path: Path, body: Callable[[UpstreamDouble, AsyncConnection], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with asyncio.timeout(SECONDS), UpstreamDouble(str(path / "s")) as double:
            connection = await AsyncConnection.open(double.path)
            try:
                await body(double, connection)
            finally:
                connection.close()

    asyncio.run(run())


def test_many_requests_are_in_flight_on_one_connection(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        waits = [asyncio.ensure_future(connection.request("wait", {"job": job})) for _ in range(20)]
        status = await connection.request("status", {"job": job})
        assert status["state"] == "running"
        assert connection.in_flight == 20
        await double.end(job, 3)
        ended = await asyncio.gather(*waits)
        assert {each["result"]["exit_code"] for each in ended} == {3}
        assert connection.in_flight == 0

    with_daemon(tmp_path, body)


def test_the_65th_request_in_flight_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        waits = [asyncio.ensure_future(connection.request("wait", {"job": job})) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(RequestRefused) as refused:
            await connection.request("status", {"job": job})
        assert refused.value.code == "too-many-requests"
        await double.end(job)
        await asyncio.gather(*waits)

    with_daemon(tmp_path, body)


def test_a_refusal_carries_what_the_daemon_said(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, connection: AsyncConnection) -> None:
        with pytest.raises(RequestRefused) as refused:
            await connection.request("status", {"job": "nobody"})
        assert (refused.value.code, refused.value.given) == ("no-such-job", "nobody")

    with_daemon(tmp_path, body)


def test_a_stream_gives_each_event_and_the_last_word(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        async with connection.stream("logs", {"job": job, "follow": True}) as events:
            await double.write(job, b"one\n")
            assert (await anext(events))["data"] == b"one\n"
            await double.write(job, b"two\n")
            await double.end(job)
            assert [event["data"] async for event in events] == [b"two\n"]
            assert events.answer["status"]["state"] == "ended"

    with_daemon(tmp_path, body)


def test_no_more_events_come_than_were_asked_for(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        for number in range(40):
            await double.write(job, b"%d\n" % number)
        await double.end(job)
        async with connection.stream("logs", {"job": job}, window=4) as events:
            # Something else is answered meanwhile, and the daemon has sent what it may.
            for _ in range(5):
                await connection.request("status", {"job": job})
            assert len(events._events) == 4
            assert len([event async for event in events]) == 40

    with_daemon(tmp_path, body)


def test_nothing_is_asked_for_that_was_not_allowed(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        for number in range(9):
            await double.write(job, b"%d\n" % number)
        await double.end(job)
        async with connection.stream("logs", {"job": job}, allowed=0) as events:
            for allowed in (0, 1, 2):
                events.allow(allowed)
                for _ in range(5):
                    await connection.request("status", {"job": job})
                assert len(events._events) == allowed
                for _ in range(allowed):
                    await anext(events)
            events.allow(100)
            assert len([event async for event in events]) == 6

    with_daemon(tmp_path, body)


def test_leaving_a_stream_early_cancels_it_and_frees_its_place(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        async with connection.stream("logs", {"job": job, "follow": True}) as events:
            await double.write(job, b"x")
            await anext(events)
        while connection.in_flight:
            await connection.request("status", {"job": job})

    with_daemon(tmp_path, body)


def test_a_request_whose_caller_is_cancelled_is_cancelled_at_the_daemon(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        waiting = asyncio.ensure_future(connection.request("wait", {"job": job}))
        await connection.request("status", {"job": job})
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while connection.in_flight:
            await connection.request("status", {"job": job})

    with_daemon(tmp_path, body)


def test_an_answer_that_does_not_come_in_time_is_a_lost_connection(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        with pytest.raises(ConnectionLost, match=r"did not answer within 0\.01 s"):
            await connection.request("wait", {"job": job}, timeout=0.01)
        assert (await connection.request("status", {"job": job}))["job"] == job

    with_daemon(tmp_path, body)


def test_a_daemon_that_goes_ends_what_is_in_flight(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, connection: AsyncConnection) -> None:
        job = (await connection.request("submit", JOB))["job"]
        waiting = asyncio.ensure_future(connection.request("wait", {"job": job}))
        async with connection.stream("logs", {"job": job, "follow": True}) as events:
            await double.stop()
            with pytest.raises(ConnectionLost):
                await anext(events)
        with pytest.raises(ConnectionLost):
            await waiting
        assert not connection.is_open
        with pytest.raises(ConnectionLost):
            await connection.request("status", {"job": job})

    with_daemon(tmp_path, body)


def test_whom_it_acts_for_is_in_the_greeting(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, _connection: AsyncConnection) -> None:
        act = {"user": "alice", "origin": "CN=alice"}
        mine = await AsyncConnection.open(double.path, act_for=act)
        await mine.request("submit", JOB)
        mine.close()
        assert double.origins == ["CN=alice"]
        assert next(iter(double.jobs.values())).user == "alice"

    with_daemon(tmp_path, body)


def test_a_greeting_that_is_refused_is_the_refusal(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, _connection: AsyncConnection) -> None:
        double.refuse["hello"] = {"code": "not-permitted", "field": "act_for"}
        with pytest.raises(RequestRefused) as refused:
            await AsyncConnection.open(double.path, act_for={"user": "root"})
        assert refused.value.field == "act_for"

    with_daemon(tmp_path, body)


def test_nobody_at_the_socket_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnavailable, match="there is no socket"):
        asyncio.run(AsyncConnection.open(str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\xff\xff\xff\xff", "frames"),
        (protocol.encode_frame({"id": 77, "ok": {}}), "not asked"),
        (b"\x00\x00\x00\x01\x01", "frames"),
    ],
)
def test_what_is_no_answer_ends_the_connection(tmp_path: Path, sent: bytes, why: str) -> None:
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(sent)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        done.set()

    async def run() -> None:
        path = str(tmp_path / "s")
        async with asyncio.timeout(SECONDS), await asyncio.start_unix_server(answer, path):
            with pytest.raises(ProtocolError, match=why):
                await AsyncConnection.open(path)
            await done.wait()

    asyncio.run(run())
