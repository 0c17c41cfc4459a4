"""The types of REST and those of runnerd say the same: fields, bounds, words."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

import msgspec
import pytest

from client import group_records, job_records, queue_records, records, schedule_records
from gateway.rest import (
    answers,
    answers_more,
    answers_output,
    limits,
    queries,
    submissions,
    surroundings,
)
from runner import (
    message_groups,
    message_hooks,
    message_limits,
    message_logs,
    message_queue,
    message_sandbox,
    message_schedules,
    messages,
)

# Ours, runnerd's, and what one of them lacks or has elsewhere.
REQUESTS: list[tuple[Any, Any, set[str]]] = [
    (submissions.Submission, messages.Submit, set()),
    (limits.Limits, message_limits.LimitsRequest, set()),
    (limits.Limits, message_limits.LimitsUpdate, set()),
    (limits.IoLimit, message_limits.IoRequest, set()),
    (surroundings.Sandbox, message_sandbox.SandboxRequest, set()),
    (surroundings.Bind, message_sandbox.BindRequest, set()),
    (surroundings.Tmpfs, message_sandbox.TmpfsRequest, set()),
    (surroundings.Secret, message_sandbox.SecretRequest, set()),
    (surroundings.Net, message_sandbox.NetRequest, set()),
    (surroundings.Publish, message_sandbox.PublishRequest, set()),
    (surroundings.Logs, message_logs.LogsRequest, set()),
    (submissions.After, message_queue.AfterRequest, set()),
    (submissions.Retry, message_queue.RetryRequest, set()),
    (submissions.RetryRule, message_queue.RetryRule, set()),
    (submissions.Reserve, message_queue.ReserveRequest, set()),
    (submissions.Hook, message_hooks.HookRequest, set()),
    (submissions.ArrayIndexes, message_groups.ArrayRequest, set()),
    (submissions.ArraySubmission, message_groups.SubmitArray, set()),
    (submissions.Need, message_groups.Need, set()),
    (submissions.Step, message_groups.Step, set()),
    (submissions.FlowSubmission, message_groups.SubmitFlow, set()),
    (submissions.NewSchedule, message_schedules.MakeSchedule, set()),
    (queries.JobChange, messages.Update, {"job"}),
    (queries.Move, message_queue.Move, {"job"}),
    (queries.GroupChange, message_groups.UpdateGroup, {"group"}),
    (queries.QueueChange, message_queue.SetQueue, {"name"}),
    (queries.Prune, messages.Prune, set()),
    (queries.Drain, messages.Drain, set()),
    (queries.LocateQuery, messages.Locate, {"job", "stream", "streams"}),
    (queries.StopQuery, messages.Stop, {"job"}),
]
# Bounded more tightly here: nobody waits longer for an answer.
_TIGHTER = {("Drain", "timeout_seconds"), ("JobChange", "limits"), ("Step", "needs")}
# Text of the system is bytes there, and its size is looked at after it was read.
_OTHERWISE = {"submit", "steps", "env", "limits", "sandbox", "net", "logs"}


@pytest.mark.parametrize(("ours", "theirs", "apart"), REQUESTS, ids=lambda each: str(each)[-40:])
def test_a_request_has_the_fields_and_bounds_of_runnerds(
    ours: Any, theirs: Any, apart: set[str]
) -> None:
    here, there = fields(ours), fields(theirs)
    assert set(here) - apart == set(there) - apart
    for name in set(here) & set(there) - _OTHERWISE:
        if (ours.__name__, name) not in _TIGHTER:
            assert bounds(here[name]) == bounds(there[name]), name


def fields(kind: Any) -> dict[str, Any]:
    info = msgspec.inspect.type_info(kind)
    return {field.encode_name: field.type for field in info.fields}  # type: ignore[union-attr]


def bounds(kind: Any) -> list[tuple[str, Any]]:
    """All bounds of a type and of what it is made of; Structs are looked at apart."""
    found: list[tuple[str, Any]] = []
    for name in ("ge", "le", "gt", "lt", "min_length", "max_length", "pattern", "values"):
        value = getattr(kind, name, None)
        if value is not None:
            # Python's ends of a string are not those of JSON Schema.
            value = re.sub(r"\\A|\\Z|[$^]", "", value) if name == "pattern" else value
            found.append((name, sorted(value) if name == "values" else value))
    for inner in ("item_type", "key_type", "value_type", "type"):
        if hasattr(kind, inner):
            found += bounds(getattr(kind, inner))
    for inner in ("types", "item_types"):
        for each in getattr(kind, inner, ()):
            found += bounds(each)
    return sorted(found, key=repr)


ANSWERS: list[tuple[Any, Any, set[str]]] = [
    (answers.JobSummary, job_records.JobSummary, set()),
    (answers.JobStatus, job_records.JobStatus, {"usage", "output"}),
    (answers.JobResult, job_records.JobResult, set()),
    (answers.Usage, job_records.Usage, set()),
    (answers.Attempt, job_records.Attempt, set()),
    (answers.HookRun, job_records.HookRun, set()),
    (answers.ShownHook, job_records.ShownHook, set()),
    (answers.Why, job_records.Why, set()),
    (answers_output.Location, job_records.Location, set()),
    (answers.Because, queue_records.Because, set()),
    (answers.GroupCap, queue_records.GroupCap, set()),
    (answers.Dependency, queue_records.Dependency, set()),
    (answers.Submitted, queue_records.Submitted, set()),
    (answers.Moved, queue_records.Moved, set()),
    (answers.Retried, queue_records.Retried, set()),
    (answers.StoppedMany, queue_records.StoppedMany, set()),
    (answers_output.Event, queue_records.Event, set()),
    (answers_output.EventGap, queue_records.EventGap, set()),
    (answers_more.Queue, queue_records.Queue, set()),
    (answers_more.Queues, queue_records.Queues, set()),
    (answers_more.Quota, queue_records.Quota, set()),
    (answers_more.OwnUse, queue_records.OwnUse, set()),
    (answers_more.Promised, queue_records.Promised, set()),
    (answers_more.Capacity, queue_records.Capacity, set()),
    (answers_more.QueueSetting, queue_records.QueueSetting, set()),
    (answers_more.GroupSummary, group_records.GroupSummary, set()),
    (answers_more.GroupStatus, group_records.GroupStatus, {"next", "next_page_token"}),
    (answers_more.GroupCounts, group_records.GroupCounts, set()),
    (answers_more.GroupEnd, group_records.GroupEnd, set()),
    (answers_more.Member, group_records.Member, set()),
    (answers_more.FailedMember, group_records.FailedMember, set()),
    (answers_more.StoppedGroup, group_records.StoppedGroup, set()),
    (answers_more.HeldGroup, group_records.HeldGroup, set()),
    (answers_more.UpdatedGroup, group_records.UpdatedGroup, set()),
    (answers_more.Schedule, schedule_records.Schedule, set()),
    (answers_more.ScheduleStatus, schedule_records.ScheduleStatus, set()),
    (answers_more.Scheduled, schedule_records.Scheduled, set()),
    (answers_more.ScheduleRun, schedule_records.ScheduleRun, set()),
    (answers_more.Pruned, records.Pruned, set()),
    (answers_more.Drained, records.Drained, set()),
    (answers_more.Doctor, records.Doctor, set()),
    (answers_more.Disk, records.Disk, set()),
    (answers_more.Feature, records.Feature, set()),
]


@pytest.mark.parametrize(("ours", "theirs", "apart"), ANSWERS, ids=lambda each: str(each)[-40:])
def test_an_answer_has_the_fields_of_the_clients_record(
    ours: Any, theirs: Any, apart: set[str]
) -> None:
    assert set(fields(ours)) - apart == set(get_type_hints(theirs)) - apart


def test_what_a_step_and_a_schedule_may_say_is_what_runnerd_takes_of_them() -> None:
    whole = set(fields(submissions.Submission))
    assert whole - set(fields(submissions.StepWork)) == {"name", "idempotency_key", "hooks"}
    assert whole - set(fields(submissions.ScheduledWork)) == {
        "after", "not_before_ns", "deadline_ns", "idempotency_key",
    }  # fmt: skip
