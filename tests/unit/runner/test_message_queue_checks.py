"""Contradictions in what is asked of the queue: refused with the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from runner import message_queue, messages
from runner.message_queue_checks import USUAL_REASONS
from runner.parsing import parse
from runner.refusal import Refusal

JOB = {"argv": ["true"], "cwd": "/"}


def refused(kind: type[Any], args: dict[str, Any]) -> tuple[str, str, str]:
    """Field, given and allowed."""
    with pytest.raises(Refusal) as caught:
        parse(kind, args)
    assert caught.value.code == "invalid-argument"
    fields = caught.value.fields
    return fields["field"], fields["given"], fields["allowed"]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (
            {"not_before_ns": 1, "delay_seconds": 5},
            ("delay_seconds", "5.0", "nothing, with not_before_ns"),
        ),
        (
            {"not_before_ns": 1, "delay_seconds": 0},
            ("delay_seconds", "0.0", "nothing, with not_before_ns"),
        ),
        (
            {"deadline_ns": 0, "deadline_seconds": 5},
            ("deadline_seconds", "5.0", "nothing, with deadline_ns"),
        ),
        (
            {"after": [{"job": "a"}, {"job": "b"}, {"job": "a", "on": "any"}]},
            ("after[2].job", "'a'", "each job once"),
        ),
    ],
)
def test_a_job_that_contradicts_itself_is_refused(
    asked: dict[str, Any], answer: tuple[str, str, str]
) -> None:
    assert refused(messages.Submit, {**JOB, **asked}) == answer


def test_times_and_spans_of_different_things_go_together() -> None:
    parse(messages.Submit, {**JOB, "not_before_ns": 1, "deadline_seconds": 5})
    parse(messages.Submit, {**JOB, "delay_seconds": 1, "deadline_ns": 5})


RETRIES: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"backoff_seconds": 5, "backoff_max_seconds": 4.5},
        "backoff_max_seconds", "4.5", "at least backoff_seconds, 5",
    ),
    ({"on": ["oom", "exit", "oom"]}, "on[2]", "'oom'", "each reason once"),
    (
        {"rules": [{"reason": "oom", "limit": 1}, {"reason": "oom", "limit": 2}]},
        "rules[1].reason", "'oom'", "each reason once",
    ),
    (
        {"rules": [{"reason": "oom"}]},
        "rules[0]", "only a reason", "limit, memory_factor or timeout_factor with it",
    ),
    (
        {"rules": [{"reason": "exit", "limit": 1}, {"reason": "oom", "memory_max_bytes": 2**30}]},
        "rules[1].memory_max_bytes", str(2**30), "memory_factor with it",
    ),
    (
        {"rules": [{"reason": "timeout", "timeout_max_seconds": 9, "memory_factor": 2}]},
        "rules[0].timeout_max_seconds", "9.0", "timeout_factor with it",
    ),
    (
        {"rules": [{"reason": "cpu-time", "limit": 1}]},
        "rules[0].reason", "'cpu-time'",
        f"a reason that is in retry.on: {', '.join(USUAL_REASONS)}",
    ),
    (
        {"on": ["oom"], "rules": [{"reason": "exit", "limit": 1}]},
        "rules[0].reason", "'exit'", "a reason that is in retry.on: oom",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("retry", "field", "given", "allowed"), RETRIES)
def test_a_retry_that_contradicts_itself_is_refused(
    retry: dict[str, Any], field: str, given: str, allowed: str
) -> None:
    asked = {**JOB, "retry": {"limit": 3, **retry}}
    assert refused(messages.Submit, asked) == (f"retry.{field}", given, allowed)


def test_a_retry_that_fits_together_is_taken() -> None:
    rules = [
        {"reason": "cpu-time", "limit": 0},
        {"reason": "oom", "memory_factor": 1.5, "memory_max_bytes": 2**32},
    ]
    asked = {"limit": 1, "backoff_seconds": 5, "backoff_max_seconds": 5, "rules": rules}
    parse(messages.Submit, {**JOB, "retry": {**asked, "on": ["cpu-time", "oom"]}})


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({}, ("top", "nothing", "one of: top, before, queue")),
        ({"top": True, "before": "b"}, ("before", "'b'", "nothing, with top")),
        ({"queue": "q", "before": "b"}, ("before", "'b'", "nothing, with queue")),
        ({"top": True, "queue": "q", "before": "b"}, ("before", "'b'", "nothing, with top")),
    ],
)
def test_a_move_to_no_place_or_to_two_is_refused(
    asked: dict[str, Any], answer: tuple[str, str, str]
) -> None:
    assert refused(message_queue.Move, {"job": "a", **asked}) == answer


@pytest.mark.parametrize(
    "asked", [{"top": True}, {"before": "b"}, {"queue": "q"}, {"queue": "q", "top": True}]
)
def test_a_move_to_one_place_is_taken(asked: dict[str, Any]) -> None:
    parse(message_queue.Move, {"job": "a", **asked})


def test_a_change_of_a_queue_that_changes_nothing_is_refused() -> None:
    nothing = ("paused", "nothing", "paused or max_running to change")
    assert refused(message_queue.SetQueue, {"name": "q"}) == nothing
    lifted = parse(message_queue.SetQueue, {"name": "q", "max_running": None})
    assert (lifted.max_running, lifted.paused) == (None, UNSET)
    assert parse(message_queue.SetQueue, {"name": "q", "paused": False}).paused is False


def test_an_update_needs_a_limit_or_a_priority() -> None:
    field, _, allowed = refused(messages.Update, {"job": "a"})
    assert (field, allowed) == ("limits", "at least one limit to change, or a priority")
    assert parse(messages.Update, {"job": "a", "priority": -5}).priority == -5
    parse(messages.Update, {"job": "a", "limits": {"pids_max": None}})


def test_what_has_ended_cannot_be_stopped() -> None:
    ended = {"select": {"states": ["queued", "ended"]}}
    assert refused(message_queue.StopMany, ended)[0] == "select.states"
    parse(message_queue.StopMany, {"select": {"states": ["queued", "paused"]}})
    parse(message_queue.StopMany, {"select": {}})
