"""The service Worker: start, stop, status, output, run, over TLS, in the words of a job worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from gateway.proto.runnerd.worker.v1 import worker_pb2 as w
from tests.unit.gateway.rpc.place import Place, collected

if TYPE_CHECKING:
    from pathlib import Path


def test_a_command_is_started_and_its_status_told(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            started = await client.Start(command="echo", args=["hello", "you"])
            status = await client.Status(id=started.id)
        assert len(started.id) == 36
        assert status.status == w.STATUS_COMPLETED
        assert (status.exit_code, status.reason) == (0, "exit")
        assert not status.HasField("pid")
        assert 0 < status.started_ns <= status.ended_ns

    asyncio.run(check())


def test_a_running_job_has_a_pid_and_is_stopped(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            started = await client.Start(command="sleep", args=["9"])
            running = await client.Status(id=started.id)
            stopped = await client.Stop(id=started.id)
            again = await client.Stop(id=started.id)
        assert started.status == running.status == w.STATUS_RUNNING
        assert running.pid == 4242
        assert not running.HasField("exit_code")
        assert stopped.status == again.status == w.STATUS_STOPPED

    asyncio.run(check())


def test_output_comes_from_the_first_byte_and_then_live_until_the_end(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            job = (await client.Start(command="sleep")).id
            await place.daemon.write(job, b"one\n")
            stream = client.Output(id=job)
            first = await stream.read()
            await place.daemon.write(job, b"\xfftwo", stream=2)
            second = await stream.read()
            await place.daemon.end(job, 3)
            assert await stream.read() is grpc.aio.EOF
            status = await client.Status(id=job)
        assert (first.data, second.data) == (b"one\n", b"\xfftwo")
        assert (status.status, status.exit_code) == (w.STATUS_FAILED, 3)

    asyncio.run(check())


def test_a_run_gives_its_id_its_numbered_lines_and_its_result(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            stream = place.client().Run(
                name="build", command="fail", arguments=["2"], directory="/srv", group=""
            )
            events = await collected(stream)
            (submitted,) = place.daemon.ops("submit")
        assert [event.WhichOneof("event") for event in events] == ["started", "line", "result"]
        started, line, result = events[0].started, events[1].line, events[2].result
        assert (started.name, started.id) == ("build", result.id)
        assert (line.number, line.source, line.text) == (1, w.SOURCE_STDERR, "it failed")
        assert (result.name, result.status, result.exit_code) == ("build", w.STATUS_FAILED, 2)
        assert result.duration_seconds == pytest.approx(0.001)
        assert result.lines == 1
        assert (submitted["cwd"], submitted.get("group")) == ("/srv", None)

    asyncio.run(check())


def test_several_runs_are_followed_in_one_call_and_one_that_is_refused_ends_none(
    tmp_path: Path,
) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            runs = [
                w.RunRequest(command="echo", arguments=["a"]),
                w.RunRequest(command=""),
                w.RunRequest(command="echo", arguments=["b"]),
            ]
            events = await collected(place.client().RunMany(runs=runs))
        lines = {event.index: event.line.text for event in events if event.HasField("line")}
        last = {event.index: event for event in events}
        assert lines == {0: "a", 2: "b"}
        assert last[0].result.status == last[2].result.status == w.STATUS_COMPLETED
        assert last[1].refused.code == "invalid-argument"

    asyncio.run(check())


def test_more_runs_than_streams_are_refused_at_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            runs = [w.RunRequest(command="echo")] * 33
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await collected(place.client().RunMany(runs=runs))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert not place.daemon.jobs

    asyncio.run(check())


def test_who_leaves_a_run_leaves_the_job_running(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            stream = client.Run(command="sleep")
            job = (await stream.read()).started.id
            stream.cancel()
            status = await client.Status(id=job)
        assert status.status == w.STATUS_RUNNING

    asyncio.run(check())


def test_a_command_without_a_program_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place.client().Start(command="")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "command" in (caught.value.details() or "")

    asyncio.run(check())
