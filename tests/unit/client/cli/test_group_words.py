"""Words about groups, and groups among the jobs of `ps`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from client.cli import group_words, output
from client.cli.ps_order import ordered, parse_order
from client.text import width
from tests.unit.client.cli.test_group_verbs import ID, member, summary
from tests.unit.client.conftest import HELLO, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Job = Callable[..., Any]
    Runctl = Callable[..., tuple[int, str, str]]

SECOND = 10**9
NOW = 1_763_810_100 * SECOND


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"running": 3, "queued": 40, "ok": 57}, "3 running, 40 queued, 57 ok"),
        ({"ok": 2, "failed": 1, "skipped": 4}, "1 failed, 4 skipped, 2 ok"),
        ({"paused": 1, "starting": 2}, "2 starting, 1 paused"),
        ({}, "no jobs"),
    ],
)
def test_counts_are_said_without_the_zeros(counts: dict[str, int], said: str) -> None:
    assert group_words.counted(summary(**counts)["counts"]) == said


@pytest.mark.parametrize(
    ("kind", "jobs", "said"),
    [("array", 100, "array of 100 jobs"), ("array", 1, "array of 1 job"),
     ("flow", 7, "flow of 7 steps"), ("flow", 1, "flow of 1 step"),
     ("x\x1b", 2, "x\\x1b of 2 jobs")],
)  # fmt: skip
def test_a_group_is_called_by_its_kind_and_size(kind: str, jobs: int, said: str) -> None:
    assert group_words.kind_and_size(kind, jobs) == said


def ended(reason: str, code: int | None, **changes: object) -> dict[str, Any]:
    return member(0, **changes) | {"result": RESULT | {"reason": reason, "exit_code": code}}


@pytest.mark.parametrize(
    ("job", "failed"),
    [
        (member(0), False),
        (ended("exit", 0), False),
        (ended("exit", 1), True),
        (ended("signal", None), True),
        (ended("log-error", 0), True),
        (ended("dependency", None), True),
        (ended("dependency", None, needs=[{"step": "a", "on": "ok"}]), False),
    ],
)
def test_what_failed_is_told_from_what_was_skipped(job: dict[str, Any], failed: bool) -> None:  # noqa: FBT001
    assert group_words.has_failed(job) is failed


# In the table of `ps`


def entries(make_job: Job) -> list[Any]:
    flow = summary(running=1, queued=6) | {"kind": "flow", "name": None, "argv": []}
    return [
        {"group_summary": summary(running=3, queued=40, ok=57)},
        make_job(priority=4),
        {"group_summary": flow},
    ]


def test_a_group_is_a_line_among_jobs(make_job: Job) -> None:
    lines = output.job_table(entries(make_job), NOW, None).splitlines()
    assert lines == [
        "JOB       NAME   USER   PRIO  STATE                        TIME   COMMAND",
        "9b1d81c0  sweep  root   -     3 running, 40 queued, 57 ok  1m40s  make 'a b'",
        "3f2a81c0  build  alice  4     running                      1m39s  make -j2 'a b'",
        "9b1d81c0  -      root   -     1 running, 6 queued          1m40s  flow of 7 steps",
    ]


def test_groups_alone_need_no_column_for_a_priority() -> None:
    found: list[Any] = [{"group_summary": summary(ok=1)}]
    assert output.job_table(found, NOW, None).split()[:5] == [
        "JOB", "NAME", "USER", "STATE", "TIME",
    ]  # fmt: skip
    night: list[Any] = [{"group_summary": summary(ok=1) | {"queue": "night"}}]
    assert "QUEUE" in output.job_table(night, NOW, None)


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_state_is_cut_before_a_line_is_too_long(make_job: Job, columns: int) -> None:
    many = summary(running=256, starting=10, queued=9000, failed=300, skipped=7, ok=427)
    found = [*entries(make_job), {"group_summary": many}]
    lines = output.job_table(found, NOW, columns).splitlines()
    assert all(width(line) <= columns for line in lines)
    assert "256 running, " in lines[4]


def test_groups_are_sorted_among_jobs(make_job: Job) -> None:
    found = ordered(entries(make_job), parse_order("state,-member"), NOW)
    assert "group_summary" in found[0]
    by_time = ordered(entries(make_job), parse_order("-time,name"), NOW)
    assert len(by_time) == 3
    jobs: list[Any] = [make_job(job=str(n), member=n) for n in (2, 0, 1)]
    assert [job.get("job") for job in ordered(jobs, parse_order("member"), NOW)] == ["0", "1", "2"]


# What `ps` asks for


@pytest.fixture
def knows_groups(daemon: FakeDaemon) -> FakeDaemon:
    daemon.answer("hello", {**HELLO, "features": ["arrays"]})
    daemon.answer("list", {"jobs": [{"group_summary": summary(ok=1)}], "next": None})
    return daemon


def test_ps_asks_for_one_line_a_group(runctl: Runctl, knows_groups: FakeDaemon) -> None:
    assert "1 ok" in runctl("ps", "-n", "3")[1]
    asked = {"ended": False, "collapse": True, "limit": 3, "before": None}
    assert knows_groups.args("list") == [asked]
    (entry,) = json.loads(runctl("ps", "--json")[1])
    assert entry == {"group_summary": summary(ok=1)}


@pytest.mark.parametrize(
    ("typed", "select"),
    [(["--expand"], None), (["--group", "sweep"], {"group": "sweep"}),
     (["--expand", "--queue", "q"], {"queue": "q"})],
)  # fmt: skip
def test_ps_asks_for_every_job_when_that_is_meant(
    runctl: Runctl, knows_groups: FakeDaemon, make_job: Job, typed: list[str], select: Any
) -> None:
    knows_groups.answer("list", {"jobs": [make_job()], "next": None})
    assert runctl("ps", *typed)[0] == 0
    (asked,) = knows_groups.args("list")
    assert "collapse" not in asked
    assert asked.get("select") == select


def test_an_older_daemon_is_not_asked_for_groups(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("list", {"jobs": [make_job()], "next": None})
    runctl("ps")
    assert "collapse" not in daemon.args("list")[0]


def test_a_group_that_there_is_not_is_named(runctl: Runctl, knows_groups: FakeDaemon) -> None:
    detail = "no array or flow of yours matches"
    knows_groups.refuse("list", "no-such-job", field="select.group", given="'x'", detail=detail)
    assert runctl("ps", "--group", "x") == (125, "", f"runctl: --group: 'x' given; {detail}\n")


def test_a_group_is_known_by_its_key_alone() -> None:
    group: Any = {"group_summary": summary(ok=1)}
    assert group_words.group_of(group) == summary(ok=1)
    job: Any = {"job": ID, "group": ID}
    assert group_words.group_of(job) is None
