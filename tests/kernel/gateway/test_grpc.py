"""gRPC with a real runnerd behind it: live output, restarts, commands in jobs, groups, events."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

# isort: off
import gateway.rpc  # noqa: F401  before grpc
import grpc

# isort: on
import pytest
from google.protobuf.message_factory import GetMessageClass

from gateway.proto.runnerd.v1 import events_pb2, groups_pb2, jobs_pb2, options_pb2, system_pb2
from gateway.proto.runnerd.worker.v1 import worker_pb2
from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.gateway.harness import RunningGateway

FILES = (worker_pb2, jobs_pb2, groups_pb2, events_pb2, system_pb2)
CODE = grpc.StatusCode


class Caller:
    """All calls by their names, blocking."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def __getattr__(self, name: str) -> Any:
        method = next(
            service.methods_by_name[name]
            for module in FILES
            for service in module.DESCRIPTOR.services_by_name.values()
            if name in service.methods_by_name
        )
        request, response = (
            GetMessageClass(each) for each in (method.input_type, method.output_type)
        )
        kind = "stream" if method.client_streaming else "unary"
        kind += "_stream" if method.server_streaming else "_unary"
        call = getattr(self.channel, kind)(
            f"/{method.containing_service.full_name}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        if method.client_streaming:
            return lambda requests: call(requests, timeout=60)
        return lambda **fields: call(request(**fields), timeout=60)


@pytest.fixture
def alice(gateway: RunningGateway) -> Iterator[Caller]:
    ca, certificate, key = gateway.files("alice")
    pems = []
    for path in (ca, key, certificate):
        with open(path, "rb") as file:
            pems.append(file.read())
    credentials = grpc.ssl_channel_credentials(*pems)
    with grpc.secure_channel(f"localhost:{gateway.grpc_port}", credentials) as channel:
        yield Caller(channel)


def test_output_is_live_from_the_first_byte_to_the_end(alice: Caller) -> None:
    script = "echo one; until [ -e /tmp/go ]; do sleep 0.05; done; printf two; exit 3"
    made = alice.Start(command="sh", args=["-c", script])
    stream = alice.Output(id=made.id)
    assert next(stream).data == b"one\n"
    status = alice.Status(id=made.id)
    assert (status.status, status.pid > 1) == (worker_pb2.STATUS_RUNNING, True)
    start = jobs_pb2.ExecStart(job=made.id, argv=["touch", "/tmp/go"])
    result = list(alice.Exec(iter([jobs_pb2.ExecRequest(start=start)])))[-1].result
    # The job may end, and everything in it, before touch(1) has.
    assert result.exit_status == 0 or result.detail == "it ended with its job"
    assert b"".join(message.data for message in stream) == b"two"
    status = alice.Status(id=made.id)
    assert (status.status, status.exit_code) == (worker_pb2.STATUS_FAILED, 3)


def test_a_job_is_stopped(alice: Caller) -> None:
    made = alice.Start(command="sleep", args=["600"])
    assert alice.Stop(id=made.id).status == worker_pb2.STATUS_STOPPED
    assert alice.Status(id=made.id).reason == "stopped"


def test_runs_have_their_names_durations_and_numbered_lines(alice: Caller) -> None:
    runs = [
        worker_pb2.RunRequest(
            name=f"run-{n}", command="sh", arguments=["-c", f"seq {n}; pwd; exit {n}"],
            directory="/tmp",
        )
        for n in range(4)
    ]  # fmt: skip
    lines: dict[int, list[str]] = {n: [] for n in range(4)}
    results = {}
    for event in alice.RunMany(runs=runs):
        if event.HasField("line"):
            lines[event.index].append(f"{event.line.number} {event.line.text}")
        elif event.HasField("result"):
            results[event.index] = event.result
    assert lines[2] == ["1 1", "2 2", "3 /tmp"]
    for n, result in results.items():
        assert (result.name, result.exit_code, result.lines) == (f"run-{n}", n, n + 1)
        assert result.duration_seconds > 0
    assert len(results) == 4


def test_much_output_comes_whole(alice: Caller) -> None:
    made = alice.Start(command="seq", args=["300000"])
    data = b"".join(message.data for message in alice.Output(id=made.id))
    assert data == b"".join(b"%d\n" % n for n in range(1, 300_001))


def test_a_follower_misses_nothing_when_runnerd_is_killed(
    gateway: RunningGateway, alice: Caller
) -> None:
    script = "for n in $(seq 40); do echo $n; sleep 0.05; done"
    submission = options_pb2.Submission(argv=["sh", "-c", script])
    job = alice.SubmitJob(submission=submission).job
    stream = alice.StreamLogs(job=job, follow=True)
    found = [next(stream)]
    gateway.daemon.kill()
    gateway.daemon.start()
    found += stream
    data = b"".join(chunk.data for message in found for chunk in message.chunks)
    assert data == b"".join(b"%d\n" % n for n in range(1, 41))
    assert found[-1].end.summary.result.reason == options_pb2.END_REASON_EXIT


def test_the_last_lines_and_a_cursor(alice: Caller) -> None:
    job = alice.Start(command="seq", args=["100"]).id
    alice.WaitJob(job=job)
    tail = list(alice.StreamLogs(job=job, tail_lines=3))
    assert b"".join(chunk.data for message in tail for chunk in message.chunks) == b"98\n99\n100\n"
    again = list(alice.StreamLogs(job=job, cursor=tail[-1].cursor))
    assert not any(message.chunks for message in again)


def test_limits_and_the_result_are_told_in_full(alice: Caller) -> None:
    limits = options_pb2.Limits(
        memory_max_bytes=64 * 2**20, pids_max=20, oom_policy=options_pb2.OOM_POLICY_KILL,
        rlimits={"nofile": options_pb2.Rlimit(soft=64, hard=64)}, timeout_seconds=30,
    )  # fmt: skip
    submission = options_pb2.Submission(argv=["sh", "-c", "ulimit -n; echo $WORD"], limits=limits)
    submission.env["WORD"] = "grüße"
    job = alice.SubmitJob(submission=submission).job
    status = alice.WaitJob(job=job).status
    assert status.limits.memory_max_bytes == 64 * 2**20
    assert status.limits.rlimits["nofile"].soft == 64
    assert status.summary.user == "alice"
    assert status.summary.result.memory_peak_bytes > 0
    data = b"".join(message.data for message in alice.Output(id=job))
    assert data.decode() == "64\ngrüße\n"


def test_a_command_in_a_job_takes_signals(alice: Caller) -> None:
    job = alice.Start(command="sleep", args=["600"]).id
    requests: queue.Queue[jobs_pb2.ExecRequest | None] = queue.Queue()
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done"
    start = jobs_pb2.ExecStart(job=job, argv=["sh", "-c", script])
    wait_until(lambda: alice.Status(id=job).status == worker_pb2.STATUS_RUNNING)
    requests.put(jobs_pb2.ExecRequest(start=start))
    call = alice.Exec(iter(requests.get, None))
    assert next(call).output.data == b"ready\n"
    requests.put(jobs_pb2.ExecRequest(signal=2))
    *outputs, last = call
    requests.put(None)
    assert b"".join(message.output.data for message in outputs) == b"caught\n"
    assert last.result.exit_status == 7
    alice.Stop(id=job)


def test_a_flow_is_submitted_waited_for_and_told(alice: Caller) -> None:
    steps = [
        groups_pb2.FlowStep(name="a", submission=options_pb2.Submission(argv=["true"])),
        groups_pb2.FlowStep(
            name="b",
            submission=options_pb2.Submission(argv=["false"]),
            needs=[groups_pb2.Need(step="a")],
        ),
        groups_pb2.FlowStep(
            name="c",
            submission=options_pb2.Submission(argv=["true"]),
            needs=[groups_pb2.Need(step="b")],
        ),
    ]
    made = alice.SubmitFlow(name="grpc-flow", steps=steps)
    ended = alice.WaitGroup(group=made.group)
    group = alice.GetGroup(group="grpc-flow", page_size=2)
    assert (ended.summary.ok, ended.failed.name) == (False, "grpc-flow.b")
    counts = group.summary.counts
    assert (counts.ok, counts.failed, counts.skipped) == (1, 1, 1)
    assert len(group.members) == 2
    rest = alice.GetGroup(group=made.group, page_token=group.next_page_token)
    assert [member.job.step for member in rest.members] == ["c"]


def test_events_are_followed(alice: Caller) -> None:
    stream = alice.StreamEvents(follow=True)
    assert next(stream).ready
    seen: queue.Queue[Any] = queue.Queue()

    def read() -> None:
        try:
            for message in stream:
                seen.put(message.event)
        except grpc.RpcError:
            seen.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    job = alice.Start(command="true").id
    kinds = []
    while not kinds or kinds[-1] != events_pb2.EVENT_KIND_FINISH:
        event = seen.get(timeout=20)
        if event.job == job:
            kinds.append(event.kind)
    stream.cancel()
    reader.join(20)
    assert kinds[0] == events_pb2.EVENT_KIND_SUBMIT
    assert event.data.reason == options_pb2.END_REASON_EXIT


def test_refusals_of_runnerd_name_the_field(alice: Caller) -> None:
    limits = options_pb2.Limits(memory_max_bytes=1)
    with pytest.raises(grpc.RpcError) as caught:
        alice.SubmitJob(submission=options_pb2.Submission(argv=["true"], limits=limits))
    error: Any = caught.value
    assert error.code() is CODE.INVALID_ARGUMENT
    assert "limits.memory_max_bytes" in error.details()
