"""`runctl ps`: which jobs, in which order, with which columns."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli import output
from client.cli.ps_order import FIELDS, ordered, parse_order
from client.text import width

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Job = Callable[..., Any]
    Runctl = Callable[..., tuple[int, str, str]]

SECOND = 10**9
NOW = 1_763_810_100 * SECOND


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (["--queue", "night"], {"queue": "night"}),
        (["--label", "a", "--label", "b=x"], {"labels": {"a": None, "b": "x"}}),
        (["--user", "bob"], {"user": "bob"}),
        (["--name", "n-*"], {"name": "n-*"}),
        (["--state", "queued", "--state", "running,queued"], {"states": ["queued", "running"]}),
    ],
)
def test_what_is_typed_is_asked_for(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], asked: dict[str, Any]
) -> None:
    daemon.answer("list", {"jobs": [], "next": None})
    assert runctl("ps", *typed)[0] == 0
    assert daemon.args("list")[0]["select"] == asked


def test_where_nothing_is_typed_nothing_is_asked_for(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("list", {"jobs": [], "next": None})
    runctl("ps", "--sort", "name")
    assert daemon.args("list") == [{"ended": False, "limit": 500, "before": None}]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (["--group", "sweep"], {"ended": True}),
        (["--group", "sweep", "--state", "running"], {"ended": False}),
        (["--group", "sweep", "--state", "running", "-a"], {"ended": True}),
        (["--name", "x"], {"ended": False}),
    ],
)
def test_who_names_a_group_wants_all_of_it(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], asked: dict[str, bool]
) -> None:
    daemon.answer("list", {"jobs": [], "next": None})
    runctl("ps", *typed)
    assert daemon.args("list")[0].items() >= asked.items()


TELLS = ["/usr/bin/python3", "-I", "-S", "-c",
         'import os; exec(os.environ.pop("RUNNERD_HOOK_PROGRAM"))']  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["-a"], ["running", "failed", "own"]),
        (["-a", "-n", "2"], ["running", "failed"]),
        (["-a", "--user", "0"], ["running", "failed", "own"]),
        (["-a", "--queue", "hooks"], ["running", "done", "failed", "own"]),
        (["-a", "--label", "hook"], ["running", "done", "failed", "own"]),
        (["-a", "--name", "*"], ["running", "done", "failed", "own"]),
        (["--state", "ended"], ["running", "done", "failed", "own"]),
    ],
)
def test_hooks_that_went_well_are_no_history(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, typed: list[str], shown: list[str]
) -> None:
    hook = {"queue": "hooks", "labels": {"hook": "77aa81c0"}, "argv": TELLS}
    jobs = [
        make_job(name="running", **hook), make_job(name="done", result={}, **hook),
        make_job(name="failed", result={"exit_code": 1, "exit_status": 1}, **hook),
        make_job(name="own", result={}, labels={"hook": "x"}),
    ]  # fmt: skip
    daemon.answer("list", {"jobs": jobs, "next": None})
    assert [job["name"] for job in json.loads(runctl("ps", "--json", *typed)[1])] == shown


def test_a_hook_that_tells_an_address_is_not_shown_as_its_program(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    hook = {"queue": "hooks", "labels": {"hook": "77aa81c0"}}
    jobs = [make_job(argv=TELLS, **hook), make_job(argv=["mail", "me"], **hook),
            make_job(argv=TELLS), make_job(argv=[b"\xff"], **hook)]  # fmt: skip
    daemon.answer("list", {"jobs": jobs, "next": None})
    rows = runctl("ps")[1].splitlines()[1:]
    assert rows[0].endswith("  (tells a web address)")
    assert rows[1].endswith("  mail me")
    assert "RUNNERD_HOOK_PROGRAM" in rows[2]
    assert "xff" in rows[3]
    daemon.answer("status", jobs[0])
    assert "command    (tells a web address)\n" in runctl("status", "x")[1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--state", "dead"], "'dead' given; a state is allowed: queued, starting"),
        (["--state", "queued,"], "'' given; a state is allowed"),
        (["--sort", "size"], "'size' given; fields are allowed, with - before one"),
        (["--sort", ""], "'' given; fields are allowed"),
        (["--sort", "--name"], "'-name' given; fields are allowed"),
        (["--label", ""], "NAME or NAME=VALUE is allowed"),
    ],
)
def test_what_cannot_be_read_is_refused(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], said: str
) -> None:
    status, out, err = runctl("ps", *typed)
    assert (status, out) == (125, "")
    assert said in err
    assert not daemon.seen


def test_a_refusal_speaks_of_the_option(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.refuse("list", "not-permitted", field="select.user", detail="only admins may")
    assert runctl("ps", "--user", "bob")[::2] == (125, "runctl: --user: only admins may\n")


def test_jobs_are_sorted_also_as_json(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    jobs = [make_job(name=name, priority=p) for name, p in (("b", 1), ("a", 1), ("c", 2))]
    daemon.answer("list", {"jobs": jobs, "next": None})

    def names(*typed: str) -> list[str]:
        return [job["name"] for job in json.loads(runctl("ps", "--json", *typed)[1])]

    assert names() == ["b", "a", "c"]
    assert names("--sort", "name") == ["a", "b", "c"]
    assert names("--sort", "-priority,name") == ["c", "a", "b"]
    assert names("--sort=-priority") == ["c", "b", "a"]


def test_what_is_not_known_comes_last_either_way(make_job: Job) -> None:
    jobs = [
        make_job(job="none"),
        make_job(job="less", result={"cpu_usec": 5}),
        make_job(job="more", result={"cpu_usec": 7}),
        make_job(job="unmeasured", result={"cpu_usec": None}),
    ]

    def order(text: str) -> list[str]:
        return [job["job"] for job in ordered(jobs, parse_order(text), NOW)]

    assert order("cpu") == ["less", "more", "none", "unmeasured"]
    assert order("-cpu") == ["more", "less", "none", "unmeasured"]


def test_time_is_that_of_the_table(make_job: Job) -> None:
    running = make_job(job="running", started_ns=NOW - 20 * SECOND)
    waiting = make_job(job="waiting", state="queued", started_ns=None,
                       submitted_ns=NOW - 30 * SECOND)  # fmt: skip
    ended = make_job(job="ended", result={"wall_ns": 25 * SECOND})
    found = ordered([running, waiting, ended], parse_order("-time"), NOW)
    assert [job["job"] for job in found] == ["waiting", "ended", "running"]
    assert [output.age(job, NOW) for job in found] == ["30s", "25s", "20s"]


@given(
    st.lists(st.sampled_from(list(FIELDS)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from("abc"))),
)
def test_sorting_loses_no_job_and_can_be_repeated(
    fields: list[str], values: list[tuple[int, int, str]]
) -> None:
    jobs: list[Any] = [
        {"job": str(n), "submitted_ns": a, "started_ns": b or None, "ended_ns": None,
         "name": None if a == b else c, "state": c, "priority": b, "queue": c, "user": c,
         "result": None if a else {"memory_peak_bytes": b}}
        for n, (a, b, c) in enumerate(values)
    ]  # fmt: skip
    order = parse_order(",".join(fields))
    once = ordered(jobs, order, NOW)
    assert sorted(job["job"] for job in once) == sorted(job["job"] for job in jobs)
    assert ordered(once, order, NOW) == once


# The table


def heading(jobs: list[Any]) -> list[str]:
    return output.job_table(jobs, NOW, None).splitlines()[0].split()


def test_queue_and_priority_are_shown_where_they_say_something(make_job: Job) -> None:
    plain = ["JOB", "NAME", "USER", "STATE", "TIME", "COMMAND"]
    assert heading([]) == plain
    assert heading([make_job(), make_job(queue="default", priority=0)]) == plain
    assert heading([make_job(), make_job(queue="night", priority=0)]) == [
        *plain[:3], "QUEUE", *plain[3:],
    ]  # fmt: skip
    assert heading([make_job(priority=-3)]) == [*plain[:3], "PRIO", *plain[3:]]
    text = output.job_table([make_job(), make_job(queue="night", priority=7)], NOW, None)
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][3:5] == ["QUEUE", "PRIO"]
    assert rows[1][3:5] == ["default", "0"]
    assert rows[2][3:5] == ["night", "7"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"state": "queued", "waits_for": "memory"}, "queued (memory)"),
        ({"state": "queued", "waits_for": "behind"}, "queued"),
        ({"state": "queued", "waits_for": None, "attempt": 2}, "queued (attempt 2)"),
        ({"state": "running", "waits_for": None, "attempt": 1}, "running"),
        ({"state": "running", "attempt": 3}, "running (attempt 3)"),
        ({"result": {"reason": "dependency"}}, "dependency"),
        ({"result": {"reason": "deadline"}, "attempt": 2}, "deadline"),
    ],
)
def test_the_state_says_what_a_job_waits_for(
    make_job: Job, changes: dict[str, Any], word: str
) -> None:
    assert output.state_word(make_job(**changes), NOW) == word


def test_a_table_with_every_column_fits_the_terminal(make_job: Job) -> None:
    jobs = [
        make_job(name="n" * 64, user="u" * 32, queue="q" * 64, priority=-1000, argv=["x" * 300],
                 state="queued", waits_for="quota-memory"),
    ]  # fmt: skip
    lines = output.job_table(jobs, NOW, 110).splitlines()
    assert all(width(line) <= 110 for line in lines)
    assert "queued (quota: memory)" in lines[1]


def test_ps_can_be_asked_of_a_daemon_that_knows_no_queue(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("list", {"jobs": [make_job(state="queued")], "next": None})
    out = runctl("ps", "--sort", "queue,priority")[1]
    assert "queued" in out.splitlines()[1]
    assert time.time_ns() > NOW
