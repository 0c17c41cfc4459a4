"""Output, events and commands in jobs, over gRPC: by cursor, with a bounded memory, to the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from client.log_position import LogChunk, LogGap
from gateway.following import Batch
from gateway.proto.runnerd.v1 import jobs_pb2, options_pb2, records_pb2
from gateway.rpc import streams
from tests.unit.gateway.rpc.place import Place, collected, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.gateway.rpc.place import Client

CODE = grpc.StatusCode


def text_of(messages: list[jobs_pb2.StreamLogsResponse]) -> bytes:
    return b"".join(chunk.data for message in messages for chunk in message.chunks)


async def refusal(stream: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collected(stream)
    return caught.value


async def with_output(place: Place, client: Client, *parts: bytes) -> str:
    job: str = (await client.Start(command="sleep")).id
    for number, part in enumerate(parts):
        await place.daemon.write(job, part, 1 + number % 2)
    return job


def test_output_has_streams_offsets_times_and_ends_with_the_jobs_status(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = await with_output(place, client, b"one\n", b"two\n")
            await place.daemon.end(job, 3)
            messages = await collected(client.StreamLogs(job=job, follow=True))
        first, second, last = messages
        assert [(c.offset, c.stream, c.data) for c in (*first.chunks, *second.chunks)] == [
            (0, records_pb2.OUTPUT_STREAM_STDOUT, b"one\n"),
            (4, records_pb2.OUTPUT_STREAM_STDERR, b"two\n"),
        ]
        assert first.chunks[0].time_ns > 0
        assert [message.cursor for message in messages] == ["4", "8", "8"]
        assert last.end.summary.result.exit_code == 3

    asyncio.run(check())


def test_reading_goes_on_from_a_cursor(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = await with_output(place, client, b"one\n", b"two\n")
            messages = await collected(client.StreamLogs(job=job, cursor="4"))
            beyond = await refusal(client.StreamLogs(job=job, cursor="99"))
            odd = await refusal(client.StreamLogs(job=job, cursor="four"))
            other = await refusal(client.StreamLogs(job=job, cursor="2:4", attempt=1))
        assert text_of(messages) == b"two\n"
        for error in (beyond, odd, other):
            assert error.code() is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_the_last_lines_are_read_from_where_runnerd_finds_them(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = await with_output(place, client, b"a\nb\n", b"x\ny\n")
            place.daemon._about = lambda found, op, _args: (  # type: ignore[method-assign]
                {"cursor": 2, "stdout": 2, "stderr": 6, "end": 8, "attempt": 1}
                if op == "locate"
                else found.status()
            )
            messages = await collected(client.StreamLogs(job=job, tail_lines=2))
            (asked,) = place.daemon.ops("locate")
            both = await refusal(client.StreamLogs(job=job, tail_lines=2, cursor="1"))
        assert text_of(messages) == b"b\ny\n"
        assert asked == {"job": job, "lines": 2}
        assert both.code() is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_a_follower_bears_a_restart_of_runnerd_and_misses_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = await with_output(place, client, b"one\n")
            stream = client.StreamLogs(job=job, follow=True)
            messages = [await stream.read()]
            await place.daemon.stop()
            await place.daemon.start()
            await place.daemon.write(job, b"two\n")
            await place.daemon.end(job)
            messages += await collected(stream)
        assert text_of(messages) == b"one\ntwo\n"
        assert messages[-1].HasField("end")

    asyncio.run(check())


def test_while_runnerd_is_away_calls_are_told_to_come_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            await place.daemon.stop()
            stream = await refusal(client.StreamLogs(job="0123", follow=True))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.GetJob(job="0123")
        for error in (stream, caught.value):
            assert error.code() is CODE.UNAVAILABLE
            assert ("retry-after", "2") in tuple(error.trailing_metadata())

    asyncio.run(check())


def test_a_batch_is_sent_in_messages_of_a_bounded_size_each_with_its_cursor() -> None:
    chunks = [LogChunk(n * 100_000, 1, b"x" * 100_000, n) for n in range(10)]
    batch = Batch(2, 1_000_000, list(chunks))
    found = list(streams._messages(batch, {}))
    assert text_of(found) == b"x" * 1_000_000
    assert [message.cursor for message in found] == [
        "2:300000",
        "2:600000",
        "2:900000",
        "2:1000000",
    ]
    assert all(message.ByteSize() < 400_000 for message in found)
    tiny = Batch(1, 9, [LogChunk(n, 1, b"x", n) for n in range(20_000)])
    assert all(message.ByteSize() < 1_000_000 for message in streams._messages(tiny, {}))


def test_a_gap_says_how_much_is_not_there_and_why() -> None:
    (message,) = streams._messages(Batch(1, 70, [LogGap(60, 70, "dropped")]), {})
    assert (message.gap.gap_bytes, message.gap.offset, message.gap.why) == (60, 70, "dropped")
    assert message.cursor == "70"


def test_another_attempt_begins_with_a_message_of_its_own() -> None:
    (message,) = streams._messages(Batch(2, 0, []), {})
    assert (message.attempt, message.cursor, len(message.chunks)) == (2, "2:0", 0)


def test_events_come_with_the_number_to_go_on_from(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            place.daemon.events[1]["data"] = {"monitor_pid": 17}
            all_of_them = await collected(client.StreamEvents(since=0))
            rest = await collected(client.StreamEvents(since=1, job=job))
            now = await collected(client.StreamEvents())
        assert [message.next for message in all_of_them] == [1, 2]
        assert all_of_them[1].event.kind_name == "started"
        assert all_of_them[1].event.data.monitor_pid == 17
        assert [message.event.seq for message in rest] == [2]
        assert [(message.ready, message.next) for message in now] == [(True, 2)]

    asyncio.run(check())


def test_events_are_followed_from_now_on_over_a_restart(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            await client.Start(command="sleep")
            stream = client.StreamEvents(follow=True)
            assert (await stream.read()).ready
            await until(lambda: len(place.daemon.ops("events")) == 2)
            await place.daemon.stop()
            await place.daemon.start()
            await client.Start(command="sleep")
            found = [await stream.read(), await stream.read()]
            stream.cancel()
        assert [message.event.seq for message in found] == [3, 4]

    asyncio.run(check())


def test_a_gap_among_the_events_is_told() -> None:
    message = streams._event({"gap": True, "since": 17, "oldest": 4000})
    assert (message.next, message.gap.since, message.gap.oldest) == (3999, 17, 4000)


def test_a_kind_of_event_that_is_not_known_here_keeps_its_name() -> None:
    event = {"seq": 1, "time_ns": 2, "job": "x", "kind": "new", "data": {"unheard": 1}}
    assert streams._event(event).event.kind_name == "new"
    assert streams._event(event).event.kind == 0


class Executing:
    """A daemon that has `exec`: it says what it is sent, until a signal ends it."""

    def __init__(self, place: Place) -> None:
        self.signals: list[int] = []
        self.ended = False
        self._more = asyncio.Event()
        self._daemon = place.daemon
        self._plain = place.daemon.one
        place.gate.upstream.stream = self.stream  # type: ignore[method-assign]

    def stream(self, _who: object, op: str, args: Any, **_: Any) -> Any:
        assert op == "exec"
        self.args = args
        return self

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ended = True

    def __aiter__(self) -> Any:
        return self._events()

    async def _events(self) -> Any:
        yield {"stream": 1, "data": b"ready"}
        await self._more.wait()
        self.answer = {"exit_code": None, "signal": self.signals[0], "exit_status": 130,
                       "detail": None}  # fmt: skip

    async def __anext__(self) -> Any:
        self._all = getattr(self, "_all", None) or self._events()
        return await anext(self._all)

    def signal(self, number: int) -> None:
        self.signals.append(number)
        self._more.set()


def test_a_command_in_a_job_gives_its_output_takes_signals_and_ends(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            executing = Executing(place)
            call = client.Exec()
            start = jobs_pb2.ExecStart(job=job, argv=["cat"], env={"A": "b"}, clean_env=True)
            await call.write(jobs_pb2.ExecRequest(start=start))
            first = await call.read()
            await call.write(jobs_pb2.ExecRequest(signal=2))
            await call.done_writing()
            last = await call.read()
            assert await call.read() is grpc.aio.EOF
        assert (first.output.stream, first.output.data) == (1, b"ready")
        assert (last.result.exit_status, last.result.signal) == (130, 2)
        assert executing.args == {"job": job, "argv": ["cat"], "env": {"A": "b"}, "clean_env": True}

    asyncio.run(check())


def test_who_leaves_a_command_in_a_job_ends_it(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            executing = Executing(place)
            call = client.Exec()
            await call.write(jobs_pb2.ExecRequest(start=jobs_pb2.ExecStart(job=job, argv=["cat"])))
            await call.read()
            call.cancel()
            await until(lambda: executing.ended)

    asyncio.run(check())


def test_a_command_in_a_job_is_named_first(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            call = place.client().Exec()
            await call.write(jobs_pb2.ExecRequest(signal=2))
            error = await refusal(call)
        assert error.code() is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_who_does_not_read_is_cut_off_and_costs_one_message(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, slow_seconds=0.2) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            stream = client.StreamLogs(job=job, follow=True)
            await until(lambda: place.gate.rates.open_streams("runnerd:user:alice") == 1)
            for _ in range(80):
                await place.daemon.write(job, b"x" * 100_000)
            await until(lambda: not place.gate.rates.open_streams("runnerd:user:alice"))
            crowd = place.server._guard._crowd
            # It still counts: its caller could have any number of them otherwise.
            assert crowd._calls["runnerd:user:alice"] == 1
            error = await refusal(stream)
            await until(lambda: not crowd._calls and not crowd._peers)
        assert "nothing was read for 0.2 s" in (error.details() or "")

    asyncio.run(check())


def test_who_was_cut_off_and_goes_away_counts_no_more(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, slow_seconds=0.2) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            stream = client.Output(id=job)
            await until(lambda: place.gate.rates.open_streams("runnerd:user:alice") == 1)
            for _ in range(80):
                await place.daemon.write(job, b"x" * 100_000)
            await until(lambda: not place.gate.rates.open_streams("runnerd:user:alice"))
            stream.cancel()
            await until(lambda: not place.server._guard._crowd._calls)

    asyncio.run(check())


def test_a_caller_that_is_gone_ends_its_stream(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            stream = client.StreamLogs(job=job, follow=True)
            await until(lambda: place.gate.rates.open_streams("runnerd:user:alice") == 1)
            stream.cancel()
            await until(lambda: place.gate.rates.open_streams("runnerd:user:alice") == 0)

    asyncio.run(check())


def test_a_deadline_ends_a_wait(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.call("WaitJob", {"job": job}, timeout=0.3)
            assert caught.value.code() is CODE.DEADLINE_EXCEEDED
            await until(lambda: place.gate.rates.open_streams("runnerd:user:alice") == 0)
            status = (await client.WaitJob(job=job, timeout_seconds=0)).status
        assert status.summary.state == options_pb2.JOB_STATE_RUNNING

    asyncio.run(check())
