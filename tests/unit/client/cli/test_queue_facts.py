"""What `status` shows of the queue: place, dependencies, attempts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from client.cli.output import job_record
from client.cli.queue_facts import attempt_end, attempt_stage, attempts, place
from tests.unit.client.conftest import OTHER_ID, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Job = Callable[..., Any]

SECOND = 10**9
# 2026-11-22 13:30:15 UTC.
NOW = 1_795_354_215 * SECOND
GIB = 2**30
RETRY = {"limit": 3, "backoff_seconds": 5.0, "backoff_max_seconds": 300.0,
         "on": ["exit", "oom"], "rules": []}  # fmt: skip


@pytest.fixture(autouse=True)
def in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def attempt(number: int, *, started: bool = True, **result: object) -> dict[str, Any]:
    return {"attempt": number, "started_ns": NOW - 12 * SECOND if started else None,
            "ended_ns": NOW - 10 * SECOND, "result": RESULT | result}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({}, []),
        ({"queue": "night", "priority": 5}, [("queue", "night, priority 5")]),
        ({"held_by_uid": 0}, [("held", "by root")]),
        ({"held_by_uid": 2**31 - 5}, [("held", "by uid 2147483643")]),
        ({"labels": {"b": "2", "a": "x\x1b"}}, [("label", "a=x\\x1b"), ("label", "b=2")]),
        (
            {"after": [{"job": OTHER_ID, "on": "ok", "met": True},
                       {"job": OTHER_ID, "on": "started", "met": False}]},
            [("after", "77aa81c0 (ok), met"), ("after", "77aa81c0 (started), not met yet")],
        ),
        ({"state": "queued", "not_before_ns": NOW + 3600 * SECOND},
         [("not before", "14:30 (in 1h)")]),
        ({"state": "running", "not_before_ns": NOW - SECOND}, []),
        ({"deadline_ns": NOW + 7200 * SECOND}, [("deadline", "15:30 (in 2h)")]),
        ({"deadline_ns": NOW, "result": {}}, [("deadline", "2026-11-22 13:30:15 +0000")]),
        ({"reserve": {"millicpus": 1500, "memory_bytes": GIB}},
         [("reserve", "CPUs 1.5, memory 1 GiB")]),
        ({"reserve": {"millicpus": 0, "memory_bytes": 0}}, []),
        ({"idempotency_key": "k"}, [("key", "k")]),
        ({"idempotency_key": None, "held_by_uid": None, "not_before_ns": None}, []),
    ],
)  # fmt: skip
def test_the_place_is_a_line_a_fact(
    make_job: Job, changes: dict[str, Any], facts: list[tuple[str, str]]
) -> None:
    assert place(make_job(**changes), NOW) == facts


def test_a_job_without_retries_says_nothing_of_attempts(make_job: Job) -> None:
    assert attempts(make_job(), NOW) == []
    assert attempts(make_job(retry=None, attempt=1, attempts=[]), NOW) == []


@pytest.mark.parametrize(
    ("retry", "lines"),
    [
        (RETRY, ["at most 3 times, after 5 s and then longer, at most 5 min, on exit, oom"]),
        ({"limit": 1, "backoff_seconds": 0.0, "on": None}, ["at most once"]),
        (
            {"limit": 2, "backoff_seconds": 1.0, "backoff_max_seconds": None, "rules": [
                {"reason": "oom", "memory_factor": 1.5, "memory_max_bytes": 4 * GIB, "limit": 1},
                {"reason": "timeout", "timeout_factor": 2.0, "timeout_max_seconds": None},
                {"reason": "lost", "limit": 0}, {"reason": "exit"},
            ]},
            ["at most 2 times, after 1 s and then longer",
             "after oom: memory \u00d71.5 up to 4 GiB, at most once",
             "after timeout: time limit \u00d72", "after lost: at most 0 times",
             "after exit: as before"],
        ),
    ],
)  # fmt: skip
def test_what_is_retried_is_said(make_job: Job, retry: dict[str, Any], lines: list[str]) -> None:
    assert attempts(make_job(retry=retry, attempt=1), NOW) == [("retry", line) for line in lines]


def test_each_earlier_attempt_is_a_line_and_so_is_the_newest(make_job: Job) -> None:
    earlier = [
        attempt(1, exit_code=3),
        attempt(2, reason="oom", oom_kills=1, memory_peak_bytes=GIB),
        attempt(3, started=False, reason="launch-error", detail="no such file"),
    ]
    job = make_job(attempts=earlier, attempt=4)
    assert attempts(job, NOW) == [
        ("attempt", "1 ended with exit code 3, after 2 s"),
        ("attempt",
         "2 was killed at its memory limit: peak 1 GiB, 1 process killed, after 2 s"),
        ("attempt", "3 could not start: no such file"),
        ("attempt", "4 is running"),
    ]  # fmt: skip
    # The limit of now may be another than that of then.
    assert "allowed" not in attempt_end(job, job["attempts"][1])


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"state": "queued", "not_before_ns": NOW + 5 * SECOND},
         " begins at 13:30:20 (in 5s)"),
        ({"state": "queued", "not_before_ns": NOW - SECOND}, " is queued"),
        ({"state": "queued", "not_before_ns": None}, " is queued"),
        ({"result": {}}, " has ended"),
    ],
)  # fmt: skip
def test_what_the_newest_attempt_does_is_said(
    make_job: Job, changes: dict[str, Any], stage: str
) -> None:
    assert attempt_stage(make_job(attempt=2, **changes), NOW) == stage


def test_the_record_has_it_all(make_job: Job) -> None:
    text = job_record(
        make_job(queue="night", priority=0, labels={"a": "1"}, retry=RETRY, attempt=2,
                 attempts=[attempt(1, exit_code=3)])
    ).splitlines()  # fmt: skip
    at = text.index("queue      night, priority 0")
    assert text[at + 1] == "label      a=1"
    assert text[at + 2].startswith("retry      at most 3 times")
    assert text[at + 3 : at + 5] == [
        "attempt    1 ended with exit code 3, after 2 s",
        "           2 is running",
    ]
