"""The queue's verbs: hold, release, move, retry, why, queues, queue, events."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.client.conftest import JOB_ID, OTHER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

SECOND = 10**9
GIB = 2**30


@pytest.fixture(autouse=True)
def in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


# hold, release, retry


@pytest.mark.parametrize(("verb", "said"), [("hold", "held"), ("release", "released")])
def test_jobs_are_held_and_released(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, verb: str, said: str
) -> None:
    ids = {"one": JOB_ID, "two": OTHER_ID}
    daemon.handlers["status"] = lambda s, r: s.ok(r, make_job(job=ids[r["args"]["job"]]))
    daemon.answer(verb, {"state": "queued", "job": JOB_ID})
    assert runctl(verb, "one", "two") == (0, f"3f2a81c0 is {said}\n77aa81c0 is {said}\n", "")
    assert daemon.args(verb) == [{"job": JOB_ID}, {"job": OTHER_ID}]
    assert json.loads(runctl(verb, "--json", "one")[1]) == {"job": JOB_ID, "state": "queued"}


@pytest.mark.parametrize("verb", ["hold", "release"])
def test_a_job_that_cannot_be_held_is_named_with_the_reason(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, verb: str
) -> None:
    daemon.answer("status", make_job())
    daemon.refuse(verb, "job-state", field="job", given="running", detail="it runs already")
    assert runctl(verb, "build") == (125, "", "runctl: build: it runs already\n")


def test_what_an_admin_holds_is_named_as_it_was_asked_for(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("status", make_job())
    why = "uid 0, an admin, holds it"
    daemon.refuse("release", "not-permitted", field="job", given="3f2a81c0", detail=why)
    assert runctl("release", "build") == (125, "", f"runctl: build: {why}\n")


def test_a_job_that_has_ended_is_queued_once_more(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("retry", {"job": JOB_ID, "state": "queued", "attempt": 3})
    assert runctl("retry", "build") == (0, "3f2a81c0 is queued, attempt 3\n", "")
    assert json.loads(runctl("retry", "--json", "build")[1])["attempt"] == 3
    daemon.refuse("retry", "job-state", field="job", given="running")
    assert runctl("retry", "build")[::2] == (
        125, "runctl: build: the job is not in a state for that; it is running\n",
    )  # fmt: skip


# move


@pytest.mark.parametrize(
    ("typed", "asked", "said"),
    [
        (["--top"], {"top": True, "before": None, "queue": None},
         "3f2a81c0 is at the top of night, priority 5\n"),
        (["--before", "x\x1b"], {"top": False, "before": "x\x1b", "queue": None},
         "3f2a81c0 is before x\\x1b in night, priority 5\n"),
        (["--queue", "night"], {"top": False, "before": None, "queue": "night"},
         "3f2a81c0 is in night, priority 5\n"),
        (["--queue", "night", "--top"], {"top": True, "before": None, "queue": "night"},
         "3f2a81c0 is at the top of night, priority 5\n"),
    ],
)  # fmt: skip
def test_a_job_is_moved_and_where_to_is_said(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], asked: dict[str, Any], said: str
) -> None:
    daemon.answer("move", {"job": JOB_ID, "queue": "night", "priority": 5})
    assert runctl("move", *typed, "build") == (0, said, "")
    assert daemon.args("move") == [{"job": "build", **asked}]
    assert json.loads(runctl("move", *typed, "--json", "build")[1])["queue"] == "night"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "where to? --top, --before JOB or --queue NAME is needed"),
        (["--top", "--before", "x"], "--before excludes --top and --queue"),
        (["--queue", "q", "--before", "x"], "--before excludes --top and --queue"),
    ],
)
def test_a_move_to_nowhere_or_to_two_places_is_refused(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], said: str
) -> None:
    status, out, err = runctl("move", *typed, "build")
    assert (status, out) == (125, "")
    assert said in err
    assert not daemon.seen


def test_a_refused_move_speaks_of_the_job_or_the_option(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.refuse("move", "no-such-job", field="before", given="nope")
    err = runctl("move", "--before", "nope", "build")[2]
    assert err.startswith("runctl: --before: ")
    assert "nope" in err
    daemon.refuse("move", "no-such-queue", field="queue", given="x", allowed="default, night")
    err = runctl("move", "--queue", "x", "build")[2]
    assert err.startswith("runctl: --queue: x given")
    assert "default, night" in err
    daemon.refuse("move", "job-state", field="job", given="running")
    assert runctl("move", "--top", "build")[2].startswith("runctl: build: ")


# why


def because(cause: str, **more: object) -> dict[str, Any]:
    blank: dict[str, Any] = {"needs": None, "free": None, "on": [], "kinds": [], "until_ns": None}
    return {"cause": cause, **blank, **more}


def answer_why(daemon: FakeDaemon, *causes: dict[str, Any], **more: object) -> None:
    answer = {"job": JOB_ID, "state": "queued", "because": list(causes), "ahead": 0,
              "start_ns": None, "result": None}  # fmt: skip
    daemon.answer("why", {**answer, **more})


def test_why_is_a_line_a_cause(runctl: Runctl, daemon: FakeDaemon) -> None:
    memory = because("memory", needs=4 * GIB, free=GIB, on=[OTHER_ID])
    answer_why(daemon, memory, because("behind"), ahead=12)
    assert runctl("why", "build") == (
        0,
        (
            "3f2a81c0 waits for memory: needs 4 GiB, 1 GiB free until job 77aa81c0 ends\n"
            "3f2a81c0 waits behind 12 jobs\n"
        ),
        "",
    )
    # Nothing else had to be asked.
    assert [request["op"] for request in daemon.seen] == ["hello", "why"]
    assert json.loads(runctl("why", "--json", "build")[1])["ahead"] == 12


def test_why_says_who_holds_it_and_what_the_jobs_are_that_it_waits_for(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    answer_why(
        daemon, because("held"), because("dependency", on=[OTHER_ID, "x" * 36], kinds=["ok", "any"])
    )

    def status(session: Session, request: dict[str, Any]) -> None:
        jobs = {JOB_ID: make_job(held_by_uid=0), OTHER_ID: make_job(job=OTHER_ID)}
        if (job := jobs.get(request["args"]["job"])) is None:
            session.refuse(request, "no-such-job")
        else:
            session.ok(request, job)

    daemon.handlers["status"] = status
    assert runctl("why", "build")[1].splitlines() == [
        "3f2a81c0 is held by root",
        "3f2a81c0 waits for job 77aa81c0 (ok), which is running",
        "3f2a81c0 waits for job xxxxxxxx (any)",
    ]


@pytest.mark.parametrize(("submitter", "said"), [(1000, "your quota: 2 of your jobs run, 2 may"),
                                                 (7, ("the quota of its user: as many jobs run as "
                                                     "may"))])  # fmt: skip
def test_why_tells_the_figures_of_a_quota_to_whose_it_is(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, submitter: int, said: str
) -> None:
    answer_why(daemon, because("quota-running"))
    daemon.answer("status", make_job(submitted_by_uid=submitter))
    daemon.answer("queues", QUEUES)
    assert runctl("why", "build")[1] == f"3f2a81c0 waits for {said}\n"


def test_why_of_a_job_that_does_not_wait_says_what_it_is(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    answer_why(daemon, state="running", ahead=None)
    assert runctl("why", "build")[1] == "3f2a81c0 does not wait: it is running\n"
    ended = make_job(result={"reason": "deadline", "detail": "it had not started"})
    answer_why(daemon, state="ended", ahead=None, result=ended["result"])
    daemon.answer("status", ended)
    said = "3f2a81c0 ended at its deadline: it had not started\n"
    assert runctl("why", "build")[1] == said


def test_why_goes_on_after_a_job_that_is_refused(runctl: Runctl, daemon: FakeDaemon) -> None:
    answer_why(daemon)
    right = daemon.handlers["why"]

    def why(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == "nope":
            session.refuse(request, "no-such-job")
        else:
            right(session, request)

    daemon.handlers["why"] = why
    status, out, err = runctl("why", "nope", "build")
    assert (status, out) == (125, "3f2a81c0 is about to start\n")
    assert "nope: no job of yours" in err


# queues, queue

QUEUES: dict[str, Any] = {
    "queues": [
        {"name": "default", "priority": 0, "max_running": None, "paused": False,
         "allowed": True, "max_priority": 0, "queued": 3, "running": 2},
        {"name": "night", "priority": -10, "max_running": 4, "paused": True,
         "allowed": False, "max_priority": 100, "queued": 0, "running": 1},
    ],
    "capacity": {"slots": 8, "millicpus": 4000, "memory_bytes": 8 * GIB},
    "promised": {"jobs": 3, "millicpus": 1500, "memory_bytes": GIB},
    "own": {"queued": 3, "running": 2, "millicpus": 1000, "memory_bytes": GIB},
    "quota": {"max_queued": 100, "max_running": 2, "max_millicpus": None,
              "max_memory_bytes": 4 * GIB, "max_log_bytes": 10 * GIB},
}  # fmt: skip


def test_queues_are_a_table_with_what_is_promised_and_ones_own_part(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    daemon.answer("queues", QUEUES)
    status, out, err = runctl("queues")
    assert (status, err) == (0, "")
    assert out == (
        "NAME     PRIORITY  RUNNING  QUEUED  UP TO  STATE\n"
        "default  0         2        3       0      open\n"
        "night    -10       1/4      0       no     paused\n"
        "promised: 3 of 8 slots, 1.5 of 4 CPUs, 1 GiB of 8 GiB memory\n"
        "yours: 3 of 100 queued, 2 of 2 running, 1 CPUs, 1 GiB of 4 GiB memory, "
        "logs of at most 10 GiB\n"
    )
    assert json.loads(runctl("queues", "--json")[1]) == QUEUES


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (["--pause"], {"paused": True}),
        (["--resume"], {"paused": False}),
        (["--max-running", "3"], {"max_running": 3}),
        (["--max-running", "none", "--resume"], {"max_running": None, "paused": False}),
    ],
)
def test_a_queue_is_changed_in_what_was_typed_alone(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], asked: dict[str, Any]
) -> None:
    daemon.answer("queue", {"name": "night", "paused": True, "max_running": 3})
    said = "night is paused; at most 3 of its jobs run\n"
    assert runctl("queue", "night", *typed) == (0, said, "")
    assert daemon.args("queue") == [{"name": "night", **asked}]
    assert json.loads(runctl("queue", "night", *typed, "--json")[1])["paused"] is True


def test_a_queue_without_a_cap_is_said(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("queue", {"name": "night", "paused": False, "max_running": None})
    said = "night is open; as many of its jobs run as may\n"
    assert runctl("queue", "night", "--resume") == (0, said, "")


def test_a_queue_with_nothing_to_change_is_wrong_usage(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, _, err = runctl("queue", "night")
    assert status == 125
    assert "--pause, --resume or --max-running is needed" in err
    assert not daemon.seen


def test_a_refused_change_of_a_queue_says_why(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.refuse("queue", "not-permitted", detail="only admins change queues")
    assert runctl("queue", "night", "--pause")[::2] == (
        125, "runctl: only admins change queues\n",
    )  # fmt: skip


# events


def event(seq: int, kind: str, **data: object) -> dict[str, Any]:
    return {"seq": seq, "time_ns": 1_795_354_215 * SECOND, "job": JOB_ID, "kind": kind,
            "data": data}  # fmt: skip


def serve_events(daemon: FakeDaemon, *items: dict[str, Any], following: int = 9) -> None:
    def events(session: Session, request: dict[str, Any]) -> None:
        for number, item in enumerate(items, 1):
            session.event(request, number, item)
        session.ok(request, {"next": following})

    daemon.handlers["events"] = events


def test_events_are_a_line_each_from_the_oldest_on(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve_events(daemon, event(7, "submitted", uid=1000), event(9, "ended", reason="a b", x="\x1b"))
    assert runctl("events") == (
        0,
        (
            "7 2026-11-22T13:30:15.000+00:00 3f2a81c0 submitted uid=1000\n"
            "9 2026-11-22T13:30:15.000+00:00 3f2a81c0 ended reason='a b' x=\\x1b\n"
        ),
        "",
    )
    (asked,) = daemon.args("events")
    assert (asked["since"], asked["follow"], asked["job"]) == (0, False, None)


def test_that_a_group_went_well_is_a_truth_beside_a_number(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    ends = [event(seq, "group-ended", failed=1 - ok, ok=ok) for seq, ok in ((1, 0), (2, 1))]
    serve_events(daemon, *ends, event(3, "x", ok="maybe", other=1))
    lines = [line.split(" ", 3)[3] for line in runctl("events")[1].splitlines()]
    assert lines == [
        "group-ended failed=1 ok=no",
        "group-ended failed=0 ok=yes",
        "x ok=maybe other=1",
    ]


def test_events_go_on_after_a_number_and_say_what_is_gone(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    daemon.refuse("status", "no-such-job")
    serve_events(daemon, {"gap": True, "since": 3, "oldest": 7}, event(7, "started"))
    status, out, err = runctl("events", "--since", "3", "--job", JOB_ID)
    assert status == 0
    assert out.startswith("7 ")
    assert err == "runctl: events 4 to 6 are not kept any more\n"
    serve_events(daemon, {"gap": True, "since": 3, "oldest": 5})
    assert runctl("events", "--since", "3")[2] == "runctl: event 4 is not kept any more\n"
    assert daemon.args("events")[0]["job"] == JOB_ID


def test_events_as_json_are_what_the_daemon_says(runctl: Runctl, daemon: FakeDaemon) -> None:
    items = [{"gap": True, "since": 0, "oldest": 7}, event(7, "started")]
    serve_events(daemon, *items)
    out = runctl("events", "--json")[1]
    assert [json.loads(line) for line in out.splitlines()] == items


def test_who_follows_events_begins_now(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve_events(daemon, following=41)
    assert runctl("events", "-f") == (0, "", "")
    asked = [(args["since"], args["follow"]) for args in daemon.args("events")]
    assert asked == [(None, False), (41, True)]
    runctl("events", "-f", "--since", "40")
    assert daemon.args("events")[-1]["since"] == 40


def test_events_of_an_unknown_job_are_refused_by_its_name(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    daemon.refuse("status", "no-such-job", field="job")
    daemon.refuse("events", "no-such-job", field="job")
    status, _, err = runctl("events", "--job", "nope")
    assert status == 125
    assert err.startswith("runctl: nope: no job of yours")


def test_a_queue_is_not_paused_and_opened_at_once(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, _, said = runctl("queue", "night", "--resume", "--pause")
    assert (status, "--pause and --resume are opposites" in said) == (125, True)
    assert not daemon.seen
