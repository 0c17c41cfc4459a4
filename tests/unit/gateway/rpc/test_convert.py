"""Messages and the protocol's maps: one rule, a field for everything, nothing lost."""

from __future__ import annotations

import typing
from typing import Any, get_args, get_origin, get_type_hints

import msgpack
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from client import options, queue_records, records
from client.errors import RequestRefused
from gateway.proto.runnerd.v1 import (
    events_pb2,
    groups_pb2,
    jobs_pb2,
    options_pb2,
    queues_pb2,
    records_pb2,
    schedules_pb2,
    system_pb2,
)
from gateway.rpc import calls, convert

if typing.TYPE_CHECKING:
    from google.protobuf.message import Message

# What runnerd answers, and asks to be told, as types; and where a message flattens them.
TWINS: dict[type[Any], Any] = {
    options.Limits: options_pb2.Limits,
    options.IoLimit: options_pb2.IoLimit,
    options.Logs: options_pb2.LogOptions,
    options.Sandbox: options_pb2.Sandbox,
    options.Bind: options_pb2.Bind,
    options.Tmpfs: options_pb2.Tmpfs,
    options.Secret: options_pb2.Secret,
    options.Publish: options_pb2.Publish,
    options.After: options_pb2.After,
    options.Retry: options_pb2.Retry,
    options.RetryRule: options_pb2.RetryRule,
    options.Reserve: options_pb2.Reserve,
    options.Hook: options_pb2.Hook,
    options.Options: options_pb2.Submission,
    records.AppliedNet: options_pb2.Net,
    records.JobSummary: records_pb2.JobSummary,
    records.JobResult: records_pb2.JobResult,
    records.Usage: records_pb2.Usage,
    records.Attempt: records_pb2.Attempt,
    records.HookRun: records_pb2.HookRun,
    records.ShownHook: records_pb2.HookStatus,
    records.Dependency: records_pb2.Dependency,
    records.Denied: records_pb2.DeniedCall,
    records.Selection: records_pb2.Selection,
    records.ExecResult: jobs_pb2.ExecResult,
    records.Why: jobs_pb2.ExplainJobResponse,
    records.Because: jobs_pb2.Because,
    records.GroupCap: jobs_pb2.GroupCap,
    records.Location: jobs_pb2.LocateLogsResponse,
    records.Submitted: jobs_pb2.SubmitJobResponse,
    records.Moved: jobs_pb2.MoveJobResponse,
    records.Retried: jobs_pb2.RetryJobResponse,
    records.StoppedMany: jobs_pb2.StopJobsResponse,
    records.Pruned: jobs_pb2.PruneJobsResponse,
    records.GroupSummary: groups_pb2.GroupSummary,
    records.GroupCounts: groups_pb2.GroupCounts,
    records.Need: groups_pb2.Need,
    records.FailedMember: groups_pb2.FailedMember,
    records.StoppedGroup: groups_pb2.StopGroupResponse,
    records.ChangedGroup: groups_pb2.RetryGroupResponse,
    records.HeldGroup: groups_pb2.HoldGroupResponse,
    records.UpdatedGroup: groups_pb2.UpdateGroupResponse,
    records.Schedule: schedules_pb2.ScheduleSummary,
    records.Scheduled: schedules_pb2.CreateScheduleResponse,
    records.ScheduleRun: schedules_pb2.RunScheduleResponse,
    records.Queues: queues_pb2.ListQueuesResponse,
    records.Queue: queues_pb2.Queue,
    records.Capacity: queues_pb2.Capacity,
    records.Promised: queues_pb2.Promised,
    records.OwnUse: queues_pb2.OwnUse,
    records.Quota: queues_pb2.Quota,
    records.QueueSetting: queues_pb2.UpdateQueueResponse,
    records.Event: events_pb2.Event,
    records.Doctor: system_pb2.DoctorResponse,
    records.Disk: system_pb2.Disk,
    records.DiskUse: system_pb2.DiskUse,
    records.Feature: system_pb2.Feature,
    records.Problem: system_pb2.Problem,
    records.Drained: system_pb2.DrainResponse,
}
FLATTENED = {
    records.JobStatus: (records_pb2.JobStatus, records_pb2.JobSummary),
    records.GroupStatus: (groups_pb2.GetGroupResponse, groups_pb2.GroupSummary),
    records.GroupEnd: (groups_pb2.WaitGroupResponse, groups_pb2.GroupSummary),
    records.ScheduleStatus: (schedules_pb2.GetScheduleResponse, schedules_pb2.ScheduleSummary),
    records.Member: (groups_pb2.GroupMember, records_pb2.JobSummary),
}
# Under another name: the page's token, the submission's place.
ELSEWHERE = {"next", "submit"}
ENUMS = {
    options.State: options_pb2.JobState,
    options.Reason: options_pb2.EndReason,
    options.Network: options_pb2.NetworkMode,
    options.On: options_pb2.Condition,
    options.HookEvent: options_pb2.HookEvent,
    records.Fate: records_pb2.Fate,
    queue_records.Cause: records_pb2.WaitCause,
    records.GroupKind: groups_pb2.GroupKind,
    records.GroupState: groups_pb2.GroupState,
    records.Missed: schedules_pb2.MissedPolicy,
    records.Overlap: schedules_pb2.OverlapPolicy,
}


def names(*messages: Any) -> set[str]:
    return {field.name for message in messages for field in message.DESCRIPTOR.fields}


@pytest.mark.parametrize("record", TWINS, ids=lambda record: record.__name__)
def test_each_field_of_a_record_has_one_in_its_message(record: Any) -> None:
    assert set(get_type_hints(record)) - {"type"} <= names(TWINS[record])


@pytest.mark.parametrize("record", FLATTENED, ids=lambda record: record.__name__)
def test_each_field_of_a_larger_record_has_one_in_its_messages(record: Any) -> None:
    assert set(get_type_hints(record)) - ELSEWHERE <= names(*FLATTENED[record])


@pytest.mark.parametrize("literal", ENUMS, ids=lambda literal: str(get_args(literal)[0]))
def test_each_value_of_a_word_has_one_in_its_enum(literal: Any) -> None:
    assert set(get_args(literal)) == set(convert._names(ENUMS[literal].DESCRIPTOR).numbers)


@pytest.mark.parametrize("record", TWINS, ids=lambda record: record.__name__)
def test_words_of_a_record_are_those_of_its_messages_enums(record: Any) -> None:
    fields = TWINS[record].DESCRIPTOR.fields_by_name
    for name, hint in get_type_hints(record).items():
        words = literals(hint)
        if words and fields[name].enum_type is not None:
            assert words == set(convert._names(fields[name].enum_type).numbers), name


def literals(hint: Any) -> set[str]:
    if get_origin(hint) is typing.Literal:
        return set(get_args(hint))
    return set().union(*(literals(each) for each in get_args(hint)))


def test_a_submission_is_told_in_the_words_of_the_protocol() -> None:
    limits = options_pb2.Limits(
        memory_max_bytes=2**29,
        oom_policy=options_pb2.OOM_POLICY_KILL,
        rlimits={"nofile": options_pb2.Rlimit(soft=10), "core": options_pb2.Rlimit(hard=0)},
        io=[options_pb2.IoLimit(path="/", read_bytes_per_second=4096)],
    )
    submission = options_pb2.Submission(
        argv=["make"], limits=limits, user="1000", group="staff", umask=0, priority=0,
        env={"A": "b"}, env_bytes={"C": b"\xff"}, cwd_bytes=b"/\xff",
        net=options_pb2.Net(allow_egress=options_pb2.Egress()),
        after=[options_pb2.After(job="3f2a", on=options_pb2.CONDITION_ANY)],
        retry=options_pb2.Retry(limit=1, on=[options_pb2.END_REASON_CPU_TIME]),
    )  # fmt: skip
    assert convert.to_args(submission) == {
        "argv": ["make"],
        "cwd": b"/\xff",
        "env": {"A": "b", "C": b"\xff"},
        "user": 1000,
        "group": "staff",
        "umask": 0,
        "priority": 0,
        "limits": {
            "memory_max_bytes": 2**29,
            "oom_policy": "kill",
            "rlimits": {"nofile": [10, None], "core": [None, 0]},
            "io": [{"path": "/", "read_bytes_per_second": 4096}],
        },
        "net": {"allow_egress": []},
        "after": [{"job": "3f2a", "on": "any"}],
        "retry": {"limit": 1, "on": ["cpu-time"]},
    }


def test_arguments_that_are_not_text_take_the_place_of_the_others() -> None:
    submission = options_pb2.Submission(argv=["a"], argv_bytes=[b"\xff", b"b"])
    assert convert.to_args(submission) == {"argv": [b"\xff", b"b"]}


def test_what_is_not_given_is_not_sent() -> None:
    assert convert.to_args(options_pb2.Submission()) == {}
    assert convert.to_args(options_pb2.Limits(cpu_idle=False)) == {"cpu_idle": False}


def test_a_number_that_no_name_stands_for_is_refused() -> None:
    limits = options_pb2.Limits()
    limits.oom_policy = 77  # type: ignore[assignment]  # any number comes over the wire
    with pytest.raises(RequestRefused) as caught:
        convert.to_args(limits)
    assert (caught.value.field, caught.value.allowed) == ("oom_policy", "kill, continue")


def test_what_is_not_specified_in_a_list_is_refused() -> None:
    with pytest.raises(RequestRefused):
        convert.to_args(records_pb2.Selection(states=[options_pb2.JOB_STATE_UNSPECIFIED]))


def test_labels_with_any_value_are_asked_for_by_name() -> None:
    selection = records_pb2.Selection(label_names=["a", "b"], labels={"b": "x"}, user="7")
    assert convert.to_args(selection) == {"labels": {"a": None, "b": "x"}, "user": 7}


def test_text_that_is_not_utf_8_is_shown_and_kept() -> None:
    message = records_pb2.JobSummary()
    convert.fill(message, {"argv": ["a", b"\xffb"], "cwd": b"/\xfe", "name": None})
    assert list(message.argv) == ["a", "\\xffb"]
    assert list(message.argv_bytes) == [b"a", b"\xffb"]
    assert (message.cwd, message.cwd_bytes) == ("/\\xfe", b"/\xfe")
    assert not message.HasField("name")


def test_what_a_newer_runnerd_says_does_no_harm() -> None:
    message = records_pb2.JobResult()
    convert.fill(message, {"reason": "tired", "exit_status": 1, "mood": [1, {"a": 2}]})
    assert (message.reason, message.exit_status) == (0, 1)


def test_nothing_and_zero_are_told_apart() -> None:
    message = records_pb2.JobResult()
    convert.fill(message, {"exit_code": 0, "signal": None, "exit_status": 0})
    assert message.HasField("exit_code")
    assert not message.HasField("signal")


WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = {
    1: st.floats(allow_nan=False),
    3: st.integers(-(2**63), 2**63 - 1),
    5: st.integers(-(2**31), 2**31 - 1),
    8: st.booleans(),
    9: WORDS,
    12: st.binary(max_size=8),
    13: st.integers(0, 2**32 - 1),
}


@st.composite
def messages(draw: st.DrawFn, kind: Any) -> Message:
    message: Message = GetMessageClass(kind)()
    for field in kind.fields:
        if not draw(st.booleans()):
            continue
        if field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            for _ in range(draw(st.integers(1, 2))):
                if field.message_type is not None:
                    getattr(message, field.name).add().CopyFrom(draw(messages(field.message_type)))
                else:
                    getattr(message, field.name).append(draw(scalar(field)))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(draw(messages(field.message_type)))
        else:
            setattr(message, field.name, draw(scalar(field)))
    return message


def scalar(field: Any) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([n for n in field.enum_type.values_by_number if n])
    return VALUES[field.type]


@given(messages(options_pb2.Limits.DESCRIPTOR))
def test_limits_there_and_back_are_the_same(message: Message) -> None:
    again = options_pb2.Limits()
    convert.fill(again, convert.to_args(message))
    assert again == message


@given(messages(options_pb2.Sandbox.DESCRIPTOR))
def test_a_sandbox_there_and_back_is_the_same(message: Message) -> None:
    again = options_pb2.Sandbox()
    convert.fill(again, convert.to_args(message))
    assert again == message


REQUESTS = [method for method in calls.methods() if method.path != "SystemService.Doctor"]


def test_digits_are_the_number_of_a_user_or_group() -> None:
    assert convert.id_or_name("1000") == 1000
    assert [convert.id_or_name(text) for text in ("a1", "", "٣", "9" * 30)] == [
        "a1", "", "٣", "9" * 30,
    ]  # fmt: skip


@given(st.data())
def test_any_request_is_arguments_that_can_be_sent_or_a_refusal(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(REQUESTS))
    request = data.draw(messages(method.descriptor.input_type))
    try:
        args = calls.arguments(method.call, request)
    except RequestRefused as refused:
        assert refused.code == "invalid-argument"
        return
    assert msgpack.packb(args, use_bin_type=True)


def test_a_page_begins_where_the_last_one_ended() -> None:
    call = calls.CALLS["JobService.ListJobs"]
    assert calls.arguments(call, jobs_pb2.ListJobsRequest()) == {"limit": 100}
    asked = jobs_pb2.ListJobsRequest(page_size=7, page_token="42", ended=True)  # noqa: S106  no password
    args = calls.arguments(call, asked)
    assert args == {"limit": 7, "before": 42, "ended": True}
    for token in ("x", "-1", "1" * 30, "٣"):
        with pytest.raises(RequestRefused):
            calls.arguments(call, jobs_pb2.ListJobsRequest(page_token=token))
    answer = jobs_pb2.ListJobsResponse()
    calls.fill(call, answer, {"jobs": [{"job": "a"}, {"group_summary": {"group": "g"}}], "next": 9})
    assert [entry.WhichOneof("entry") for entry in answer.entries] == ["job", "group"]
    assert answer.next_page_token == "9"  # noqa: S105  no password
    calls.fill(call, last := jobs_pb2.ListJobsResponse(), {"jobs": [], "next": None})
    assert not last.next_page_token


@pytest.mark.parametrize(
    ("name", "request_", "args"),
    [
        (
            "JobService.UpdateJob",
            jobs_pb2.UpdateJobRequest(
                job="a", limits=options_pb2.Limits(pids_max=5), lift=["io"], priority=0
            ),
            {"job": "a", "limits": {"pids_max": 5, "io": None}, "priority": 0},
        ),
        (
            "GroupService.UpdateGroup",
            groups_pb2.UpdateGroupRequest(group="g", unbounded=True),
            {"group": "g", "max_running": None},
        ),
        (
            "GroupService.HoldGroup",
            groups_pb2.HoldGroupRequest(group="g", release=True),
            {"group": "g", "held": False},
        ),
        (
            "QueueService.UpdateQueue",
            queues_pb2.UpdateQueueRequest(name="q", paused=False, max_running=0),
            {"name": "q", "paused": False, "max_running": 0},
        ),
        ("SystemService.Drain", system_pb2.DrainRequest(only_wait=True), {"begin": False}),
        (
            "JobService.LocateLogs",
            jobs_pb2.LocateLogsRequest(job="a", streams=[records_pb2.OUTPUT_STREAM_STDERR]),
            {"job": "a", "streams": [2]},
        ),
        ("JobService.StopJobs", jobs_pb2.StopJobsRequest(dry_run=True),
         {"select": {}, "dry_run": True}),
    ],
)  # fmt: skip
def test_what_the_protocol_says_otherwise(name: str, request_: Message, args: Any) -> None:
    assert calls.arguments(calls.CALLS[name], request_) == args


def test_an_array_and_a_flow_are_put_together() -> None:
    array = groups_pb2.SubmitArrayRequest(
        submission=options_pb2.Submission(argv=["a"], cwd="/"),
        ranges=[groups_pb2.IndexRange(last=9, stride=3), groups_pb2.IndexRange(first=20, last=21)],
        max_running=2,
    )
    args = calls.arguments(calls.CALLS["GroupService.SubmitArray"], array)
    assert args["array"] == {"ranges": [[0, 9, 3], [20, 21, 1]], "max_running": 2}
    assert args["submit"]["argv"] == ["a"]
    flow = groups_pb2.SubmitFlowRequest(
        name="f",
        steps=[
            groups_pb2.FlowStep(name="a", submission=options_pb2.Submission(argv=["a"], cwd="/x")),
            groups_pb2.FlowStep(
                name="b",
                submission=options_pb2.Submission(argv=["b"]),
                needs=[groups_pb2.Need(step="a", on=options_pb2.CONDITION_ANY)],
            ),
        ],
    )
    args = calls.arguments(calls.CALLS["GroupService.SubmitFlow"], flow)
    steps = [msgpack.unpackb(step) for step in args["steps"]]
    assert steps == [
        {"name": "a", "submit": {"argv": ["a"], "cwd": "/x"}},
        {"name": "b", "submit": {"argv": ["b"]}, "needs": [{"step": "a", "on": "any"}]},
    ]


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        (
            "GroupService.SubmitFlow",
            groups_pb2.SubmitFlowRequest(steps=[groups_pb2.FlowStep()] * 50_000),
        ),
        (
            "GroupService.SubmitArray",
            groups_pb2.SubmitArrayRequest(ranges=[groups_pb2.IndexRange()] * 50_000),
        ),
        (
            "JobService.LocateLogs",
            jobs_pb2.LocateLogsRequest(streams=[records_pb2.OUTPUT_STREAM_STDERR] * 200_000),
        ),
    ],
)
def test_what_costs_more_than_it_is_long_is_refused(name: str, request_: Message) -> None:
    with pytest.raises(RequestRefused) as caught:
        calls.arguments(calls.CALLS[name], request_)
    assert caught.value.code == "invalid-argument"
