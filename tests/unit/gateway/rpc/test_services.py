"""Each call reaches runnerd and its answer the caller; refusals with their details; bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from client.errors import GroupMeant, RequestRefused
from gateway.codes import CODES
from gateway.proto.runnerd.v1 import errors_pb2, groups_pb2, options_pb2, records_pb2
from gateway.rpc import calls
from gateway.rpc.details import status_of
from tests.unit.gateway.rpc.place import FILES, Client, Place, described, until

if TYPE_CHECKING:
    from pathlib import Path

CODE = grpc.StatusCode
GROUP = {
    "group": "9b1d", "kind": "array", "name": None, "state": "running", "ok": None, "size": 2,
    "max_running": None, "submitted_by_uid": 1, "user": "ada", "submitted_ns": 1, "ended_ns": None,
    "queue": "default", "argv": ["a"], "counts": {"queued": 1, "running": 1}, "first": 0, "last": 1,
}  # fmt: skip
SCHEDULE = {
    "schedule": "5c0e", "name": "n", "submitted_by_uid": 1, "every": "@hourly", "zone": None,
    "missed": "once", "overlap": "allow", "paused": False, "created_ns": 1, "next_ns": 2,
    "last_job": None, "last_ns": None, "last_error": None, "runs": 0, "failed": 0, "skipped": 0,
    "argv": ["a"], "queue": None,
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "submit_array": {"group": "9b1d", "kind": "array", "jobs": 2, "existing": False},
    "submit_flow": {"group": "9b1d", "kind": "flow", "jobs": 1, "existing": False},
    "group": {**GROUP, "hooks": [], "members": [], "next": 7},
    "wait_group": {**GROUP, "failed": None},
    "stop_group": {"group": "9b1d", "jobs": 2, "queued": 1, "running": 1},
    "retry_group": {"group": "9b1d", "jobs": 2},
    "hold_group": {"group": "9b1d", "jobs": 2, "held": True},
    "update_group": {"group": "9b1d", "max_running": None, "jobs": 2},
    "remove_group": {"group": "9b1d", "jobs": 2},
    "schedule": {"schedule": "5c0e", "paused": False, "next_ns": 2},
    "schedules": {"schedules": [SCHEDULE], "next": None},
    "schedule_status": {**SCHEDULE, "next_times_ns": [2, 3], "submit": {"argv": ["a"], "umask": 0}},
    "schedule_pause": {"schedule": "5c0e", "paused": True, "next_ns": None},
    "schedule_resume": {"schedule": "5c0e", "paused": False, "next_ns": 2},
    "schedule_run": {"schedule": "5c0e", "job": "3f2a"},
    "schedule_remove": {"schedule": "5c0e"},
    "queue": {"name": "batch", "paused": True, "max_running": 4},
}


def test_a_job_through_all_of_its_life(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            submission = options_pb2.Submission(argv=["sleep"], name="build", labels={"a": "b"})
            made = await client.SubmitJob(submission=submission)
            job = made.job
            status = (await client.GetJob(job="build")).status
            listed = (await client.ListJobs()).entries
            assert (await client.PauseJob(job=job)).state == options_pb2.JOB_STATE_PAUSED
            assert (await client.ResumeJob(job=job)).state == options_pb2.JOB_STATE_RUNNING
            limits = options_pb2.Limits(pids_max=9)
            updated = await client.UpdateJob(job=job, limits=limits, priority=-3)
            assert (updated.limits.pids_max, updated.priority) == (9, -3)
            assert (await client.HoldJob(job=job)).state == options_pb2.JOB_STATE_QUEUED
            assert (await client.MoveJob(job=job, queue="batch")).queue == "batch"
            assert (await client.ExplainJob(job=job)).state == options_pb2.JOB_STATE_QUEUED
            await client.ReleaseJob(job=job)
            await client.StopJob(job=job)
            ended = (await client.WaitJob(job=job)).status.summary
            assert (await client.RetryJob(job=job)).attempt == 2
            await client.StopJobs(select=records_pb2.Selection(name="build"))
            await client.RemoveJob(job=job)
            assert (await client.ListJobs(ended=True)).entries == []
        assert status.summary.labels == {"a": "b"}
        assert status.usage.memory_peak_bytes == 8192
        assert [entry.job.job for entry in listed] == [job]
        assert ended.result.reason == options_pb2.END_REASON_STOPPED

    asyncio.run(check())


@pytest.mark.parametrize("method", calls.methods(), ids=lambda method: method.path)
def test_each_call_is_its_operation_and_is_answered(tmp_path: Path, method: calls.Method) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client(place.town.client("runnerd:user:ada"))
            place.daemon.answers.update(ANSWERS)
            submission = options_pb2.Submission(argv=["sleep"])
            job = (await client.SubmitJob(submission=submission)).job
            own = {"job": job, "group": "9b1d", "schedule": "5c0e", "submission": submission,
                   "name": "n", "queue": "batch", "every": "@hourly", "timeout_seconds": 0.0,
                   "ranges": [groups_pb2.IndexRange(last=1)],
                   "steps": [groups_pb2.FlowStep(name="a", submission=submission)]}  # fmt: skip
            fields = {
                field.name: own[field.name]
                for field in method.descriptor.input_type.fields
                if field.name in own
            }
            if method.call.op == "remove":
                await client.StopJob(job=job)
            try:
                await client.call(method.descriptor.name, fields)
            except grpc.aio.AioRpcError as error:
                assert error.code() is CODE.FAILED_PRECONDITION, error.details()
            assert place.daemon.ops(method.call.op)

    asyncio.run(check())


def test_groups_and_schedules_are_answered_in_full(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client(place.town.client("runnerd:user:ada"))
            place.daemon.answers.update(ANSWERS)
            group = await client.GetGroup(group="9b1d")
            schedule = await client.GetSchedule(schedule="5c0e")
        assert (group.summary.size, group.next_page_token) == (2, "7")
        assert not group.summary.HasField("ok")
        assert schedule.summary.next_ns == 2
        assert list(schedule.next_times_ns) == [2, 3]
        assert schedule.submission.HasField("umask")

    asyncio.run(check())


def test_a_submission_may_be_repeated_with_its_key(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            submission = options_pb2.Submission(argv=["sleep"], idempotency_key="k")
            first = await client.SubmitJob(submission=submission)
            again = await client.SubmitJob(submission=submission)
            other = options_pb2.Submission(argv=["echo"], idempotency_key="k")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.SubmitJob(submission=other)
        assert (first.job, again.existing) == (again.job, True)
        assert caught.value.code() is CODE.ALREADY_EXISTS

    asyncio.run(check())


def test_reflection_names_the_services_and_has_their_files(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            client = place.client()
            for version in ("v1", "v1alpha"):
                listed = await reflected(client, version, list_services="")
                names = {service.name for service in listed.list_services_response.service}
                ours = {
                    service.full_name
                    for module in FILES
                    for service in module.DESCRIPTOR.services_by_name.values()
                }
                assert ours | {"grpc.health.v1.Health"} <= names
                symbol = "runnerd.v1.JobService"
                found = await reflected(client, version, file_containing_symbol=symbol)
                assert found.file_descriptor_response.file_descriptor_proto

    asyncio.run(check())


async def reflected(
    client: Client, version: str, **asked: str
) -> reflection_pb2.ServerReflectionResponse:
    call = client.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(**asked))  # type: ignore[arg-type]
    answer = await call.read()
    await call.done_writing()
    assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
    return answer


def test_health_follows_whether_runnerd_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.rpc.server.HEALTH_SECONDS", 0.05)

    async def check() -> None:
        async with Place(tmp_path) as place:
            call = place.client().channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )(health_pb2.HealthCheckRequest(service="runnerd.worker.v1.Worker"))
            states = health_pb2.HealthCheckResponse
            await read_until(call, states.SERVING)
            await place.daemon.stop()
            await read_until(call, states.NOT_SERVING)
            await place.daemon.start()
            await read_until(call, states.SERVING)
            call.cancel()

    asyncio.run(check())


async def read_until(call: Any, status: int) -> None:
    async with asyncio.timeout(10):
        while (await call.read()).status != status:
            pass


def details_of(error: grpc.aio.AioRpcError) -> dict[str, bytes]:
    """What is packed in the status, by its type, as clients of any language read it."""
    found: dict[str, bytes] = {}
    metadata = dict(error.trailing_metadata())
    for number, body in fields(bytes(metadata["grpc-status-details-bin"])):  # type: ignore[arg-type]
        if number == 3:
            packed = Packed.FromString(body)
            found[packed.type_url.removeprefix("type.googleapis.com/")] = packed.value
        elif number == 2:
            assert body.decode() == error.details()
    return found


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """Fields of a message as protobuf.dev describes them, those of kind LEN with their bytes."""
    found, at = [], 0
    while at < len(data):
        key, at = data[at], at + 1
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                break
        body = data[at : at + value] if key & 7 == 2 else b""
        at += len(body)
        found.append((key >> 3, body))
    return found


def test_a_refusal_says_what_is_wrong_to_people_and_programs(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            place.daemon.refuse["submit"] = {
                "code": "invalid-argument", "field": "limits.pids_max", "given": 0,
                "allowed": "1 to 4194304",
            }  # fmt: skip
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place.client().SubmitJob(submission=options_pb2.Submission(argv=["a"]))
        assert caught.value.code() is CODE.INVALID_ARGUMENT
        details = details_of(caught.value)
        refusal = errors_pb2.Refusal.FromString(details["runnerd.v1.Refusal"])
        assert (refusal.code, refusal.field) == ("invalid-argument", "limits.pids_max")
        assert (refusal.given, refusal.allowed) == ("0", "1 to 4194304")
        info = dict(fields(details["google.rpc.ErrorInfo"]))
        assert (info[1], info[2]) == (b"INVALID_ARGUMENT", b"runnerd")
        (violation,) = fields(details["google.rpc.BadRequest"])
        assert dict(fields(violation[1]))[1] == b"limits.pids_max"

    asyncio.run(check())


def test_a_refusal_that_passes_says_when_to_try_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            place.daemon.refuse["submit"] = {"code": "draining"}
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place.client().Start(command="echo")
        assert caught.value.code() is CODE.UNAVAILABLE
        assert ("retry-after", "30") in tuple(caught.value.trailing_metadata())
        ((_, delay),) = fields(details_of(caught.value)["google.rpc.RetryInfo"])
        assert delay == b"\x08\x1e"

    asyncio.run(check())


def test_the_group_that_was_named_is_told() -> None:
    refused = RequestRefused("is-group", field="job", given="nightly")
    refused.group = GroupMeant("9b1d", "flow", 3)
    status = status_of(refused)
    assert status.code is CODE.FAILED_PRECONDITION
    _, details = status.metadata[0]
    assert isinstance(details, bytes)
    packed = Packed.FromString(fields(details)[-1][1])
    refusal = errors_pb2.Refusal.FromString(packed.value)
    assert (refusal.group.group, refusal.group.kind, refusal.group.jobs) == ("9b1d", "flow", 3)


@pytest.mark.parametrize("code", [*CODES, "not-known-yet"])
def test_each_code_is_a_status_and_its_details_fit_into_metadata(code: str) -> None:
    long = "é" * 100_000
    refused = RequestRefused(
        code, field=long, given=long, allowed=long, detail=long, candidates=["x" * 36] * 9000
    )
    status = status_of(refused)
    assert status.code is not CODE.OK
    details = sum(len(key) + len(value) * 4 // 3 for key, value in status.metadata)
    assert details + 3 * len(status.text.encode()) < 8000


def test_requests_and_metadata_are_bounded(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, max_body_bytes=65536, max_header_bytes=4096) as place:
            with pytest.raises(grpc.aio.AioRpcError) as body:
                await place.client().Start(command="echo", args=["x" * 70_000])
            with pytest.raises(grpc.aio.AioRpcError) as head:
                await place.client(note="x" * 5000).Start(command="echo")
            assert not place.daemon.ops("submit")
        assert body.value.code() is CODE.RESOURCE_EXHAUSTED
        assert head.value.code() is CODE.RESOURCE_EXHAUSTED

    asyncio.run(check())


def test_what_is_small_only_while_it_is_compressed_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            call = place.client().channel.unary_unary("/runnerd.worker.v1.Worker/Start")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(bytes(8_000_000), compression=grpc.Compression.Gzip)
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED

    asyncio.run(check())


def test_one_certificate_cannot_take_all_calls(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            most = place.server._guard._crowd._most
            client = place.client()
            watching = [
                client.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
                for _ in range(most)
            ]
            for call in watching:
                await call.read()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.Doctor()
            assert (await place.client(place.town.client("runnerd:user:ada")).Doctor()).server
            for call in watching:
                call.cancel()
            await until(lambda: not place.server._guard._crowd._calls)
            await client.Doctor()
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED

    asyncio.run(check())


def test_connections_are_bounded(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path, max_connections=2) as place:
            await place.client().Doctor()
            await place.client().Doctor()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place.client().call("Doctor", {}, timeout=2)
        assert caught.value.code() in (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED)

    asyncio.run(check())


def test_a_trace_of_the_caller_is_the_sessions(tmp_path: Path) -> None:
    async def check() -> None:
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        async with Place(tmp_path) as place:
            place.gate.trace_environment = lambda trace: {"TRACE": trace.trace_id}
            await place.client(traceparent=parent).Start(command="echo")
            (submitted,) = place.daemon.ops("submit")
        assert submitted["env"]["TRACE"] == "4bf92f3577b34da6a3ce929d0e0e4736"

    asyncio.run(check())


def test_a_call_that_there_is_not_is_unimplemented(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place.client().channel.unary_unary("/runnerd.v1.JobService/Nothing")(b"")
        assert caught.value.code() is CODE.UNIMPLEMENTED

    asyncio.run(check())


def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            service, _ = described("GetJob")
            call = place.client().channel.unary_unary(f"/{service}/GetJob")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"\xff\xff\xff")
        assert caught.value.code() is CODE.INVALID_ARGUMENT

    asyncio.run(check())


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            (tmp_path / "other").mkdir()
            other = Place(tmp_path / "other")
            with pytest.raises(OSError, match="cannot listen at 127"):
                await other.server.start("127.0.0.1", place.port)
            other.audit.close()

    asyncio.run(check())
