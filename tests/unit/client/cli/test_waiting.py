"""What a job waits for, in words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, get_args

import pytest

from client import records
from client.cli.waiting import Known, needed, waits_lines, waits_word
from tests.unit.client.conftest import JOB_ID, OTHER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Job = Callable[..., Any]

SECOND = 10**9
# 2026-11-22 13:30:15 UTC.
NOW = 1_795_354_215 * SECOND
GIB = 2**30
QUEUES: dict[str, Any] = {
    "queues": [],
    "capacity": {"slots": 8, "millicpus": 4000, "memory_bytes": 8 * GIB},
    "promised": {"jobs": 4, "millicpus": 4000, "memory_bytes": 8 * GIB},
    "own": {"queued": 1, "running": 4, "millicpus": 4000, "memory_bytes": 8 * GIB},
    "quota": {
        "max_queued": None,
        "max_running": 4,
        "max_millicpus": None,
        "max_memory_bytes": None,
        "max_log_bytes": None,
    },
}


@pytest.fixture(autouse=True)
def in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def because(cause: str, **more: object) -> Any:
    blank: dict[str, Any] = {"needs": None, "free": None, "on": [], "kinds": [], "until_ns": None}
    return {"cause": cause, **blank, **more}


def lines(*causes: Any, known: Known | None = None, **more: object) -> list[str]:
    why: Any = {"job": JOB_ID, "state": "queued", "because": list(causes), "ahead": 0,
                "start_ns": None, "result": None, **more}  # fmt: skip
    return waits_lines(why, known or Known(), NOW)


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (because("memory", needs=4 * GIB, free=5 * GIB // 4, on=[OTHER_ID],
                 until_ns=NOW + 7200 * SECOND),
         ("waits for memory: needs 4 GiB, 1.2 GiB free until job 77aa81c0 ends "
         "(at the latest 15:30)")),
        (because("memory", needs=GIB, free=-1), "waits for memory: needs 1 GiB, 0 B free"),
        (because("cpus", needs=2000, free=500, on=[OTHER_ID, JOB_ID]),
         "waits for CPUs: needs 2, 0.5 free until job 77aa81c0 and 1 more end"),
        (because("slots", needs=1, free=0, until_ns=NOW + 60 * SECOND),
         "waits for a slot: as many jobs run as may at once until 13:31:15 at the latest"),
        (because("reserved", on=[OTHER_ID]), "waits for what is kept for job 77aa81c0"),
        (because("reserved", on=[OTHER_ID], kept={"millicpus": 500, "memory_bytes": 0}),
         "waits for what is kept for job 77aa81c0, which needs 0.5 CPUs"),
        (because("reserved", until_ns=NOW + 7200 * SECOND,
                 kept={"millicpus": 2000, "memory_bytes": GIB}),
         ("waits for what is kept for another user's job, which needs 2 CPUs and 1 GiB of memory "
          "(at the latest 15:30)")),
        (because("reserved", kept={"millicpus": 0, "memory_bytes": 0}),
         "waits for what is kept for another user's job, which needs a slot"),
        (because("reserved"), "waits for what is kept for another job"),
        (because("held"), "is held"),
        (because("time", until_ns=NOW + 3 * 3600 * SECOND),
         "waits for its time: 16:30 (in 3h)"),
        (because("time"), "waits for its time"),
        (because("queue-paused"), "waits in a queue that is paused"),
        (because("no-queue"), "waits in a queue that is not configured any more"),
        (because("queue-cap"), "waits for its queue, in which as many jobs run as may"),
        (because("quota-running"), "waits for the quota of its user: as many jobs run as may"),
        (because("quota-memory", needs=GIB, free=0),
         "waits for the quota of its user of memory: needs 1 GiB, 0 B free"),
        (because("draining"),
         "waits because runnerd starts no jobs now (`runctl doctor` says why)"),
        (because("the\x1b moon"), "waits for the\\x1b moon"),
    ],
)  # fmt: skip
def test_each_cause_is_a_line(cause: Any, line: str) -> None:
    assert lines(cause) == [line]


def test_every_cause_of_the_protocol_has_words_of_its_own() -> None:
    for cause in get_args(records.Cause):
        found = lines(because(cause, on=[OTHER_ID], kinds=["ok"]))
        assert f"waits for {cause}" not in found or cause in ("memory", "cpus")


def test_who_holds_it_is_said_where_it_is_known() -> None:
    assert lines(because("held"), known=Known("root")) == ["is held by root"]


def test_each_job_that_is_waited_for_is_a_line_with_what_it_is() -> None:
    cause = because("dependency", on=[OTHER_ID, JOB_ID], kinds=["ok", "started"])
    assert lines(cause, known=Known(states={OTHER_ID: "running"})) == [
        "waits for job 77aa81c0 (ok), which is running",
        "waits for job 3f2a81c0 (started)",
    ]


def test_of_many_jobs_that_are_waited_for_the_first_are_named() -> None:
    cause = because("dependency", on=[OTHER_ID] * 20, kinds=["any"] * 20)
    assert lines(cause)[-2:] == ["waits for job 77aa81c0 (any)", "waits for 12 more jobs"]


def test_ones_own_quota_has_its_figures() -> None:
    queues: Any = QUEUES
    assert lines(because("quota-running"), known=Known(queues=queues)) == [
        "waits for your quota: 4 of your jobs run, 4 may"
    ]
    assert lines(because("quota-cpus", needs=2000, free=0), known=Known(queues=queues)) == [
        "waits for your quota of CPUs: needs 2, 0 free"
    ]


def test_who_is_ahead_and_when_it_starts_are_said_last() -> None:
    found = lines(because("slots"), because("behind"), ahead=12, start_ns=NOW + 60 * SECOND)
    assert found == [
        "waits for a slot: as many jobs run as may at once",
        "waits behind 12 jobs",
        "is expected to start by 13:31:15 (in 1m)",
    ]
    assert lines(because("behind"), ahead=1) == ["waits behind 1 job"]


def test_a_job_that_nothing_holds_back_is_about_to_start() -> None:
    assert lines() == ["is about to start"]
    assert lines(ahead=None) == ["is about to start"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, ""),
        ({"waits_for": None}, ""),
        ({"waits_for": "memory"}, "memory"),
        ({"waits_for": "behind"}, ""),
        ({"waits_for": "dependency"}, "after"),
        ({"waits_for": "held"}, "held"),
        ({"waits_for": "quota-memory"}, "quota: memory"),
        ({"waits_for": "time", "not_before_ns": NOW + 3 * 3600 * SECOND}, "until 16:30"),
        ({"waits_for": "time", "not_before_ns": None}, "time"),
        ({"waits_for": "mo\x1bon"}, "mo\\x1bon"),
    ],
)
def test_in_a_table_it_is_a_word(make_job: Job, changes: dict[str, Any], word: str) -> None:
    assert waits_word(make_job(state="queued", **changes), NOW) == word


def test_only_what_a_cause_needs_is_asked_for() -> None:
    assert needed([]) == set()
    assert needed([because("memory"), because("held")]) == {"held"}
    assert needed([because("quota-cpus"), because("dependency")]) == {"queues", "states"}
