"""`runctl logs` of an array or a flow: whose lines, under which names, how many at most."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from client.cli.log_members import Chosen, labels
from tests.unit.client.cli.test_group_verbs import ID, member, serve, summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]


def serve_logs(daemon: FakeDaemon, make_job: Job, group: dict[str, Any], *members: Any) -> None:
    """Each job has written its number."""
    serve(daemon, group, *members)
    refuse = daemon.handlers["logs"]
    found = {each["job"]: each for each in members}

    def logs(session: Session, request: dict[str, Any]) -> None:
        job = request["args"]["job"]
        if job not in found:
            refuse(session, request)
            return
        number = found[job]["member"]
        data = b"%d\n" % number
        session.event(request, 1, {"offset": 0, "runs": [[1, len(data), number]], "data": data})
        result = found[job]["result"]
        session.ok(request, {"cursor": len(data), "attempt": 1,
                             "status": make_job(job=job, result=result)})  # fmt: skip

    daemon.handlers["logs"] = logs


def test_the_jobs_are_shown_together_each_under_its_name(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    members = [member(0, 0), member(1, 3), member(10, 0, name=None)]
    serve_logs(daemon, make_job, summary(ok=2, failed=1), *members)
    said = "sweep.0     | 0\nsweep.1     | 1\n9b1d81c0.10 | 10\n"
    assert runctl("logs", "sweep") == (0, said, "")
    status, out, err = runctl("logs", "-f", "--exit-code", "sweep")
    assert (status, sorted(out.splitlines()), err) == (3, sorted(said.splitlines()), "")


def test_an_unnamed_step_is_called_by_its_step(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    flow = summary(ok=1) | {"kind": "flow"}
    serve_logs(daemon, make_job, flow, member(0, 0, name=None, step="build"))
    assert runctl("logs", "release")[1] == "9b1d81c0.build | 0\n"


def test_as_json_each_object_has_its_job(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    serve_logs(daemon, make_job, summary(ok=2), member(0, 0), member(1, 0))
    objects = [json.loads(line) for line in runctl("logs", "--json", "sweep")[1].splitlines()]
    written = {each["job"]: each["text"] for each in objects if "text" in each}
    assert written == {member(0)["job"]: "0\n", member(1)["job"]: "1\n"}


def test_only_what_failed_is_shown_when_that_is_asked_for(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    members = [member(0, 0), member(1, 0), member(2, 1), member(3), member(4, 1)]
    serve_logs(daemon, make_job, summary(ok=2, failed=2, queued=96), *members)
    assert runctl("logs", "--failed", "sweep") == (0, "sweep.2 | 2\nsweep.4 | 4\n", "")


def test_where_nothing_failed_nothing_is_shown(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve_logs(daemon, make_job, summary(ok=1), member(0, 0))
    assert runctl("logs", "--failed", "sweep") == (0, "", "")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "and it has 100; --failed shows those that failed; name some of them, sweep.INDEX"),
        (["--failed"], "and more have failed; name some of them, sweep.INDEX"),
    ],
)
def test_more_than_can_be_shown_together_are_refused_with_the_way_out(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, typed: list[str], said: str
) -> None:
    serve_logs(daemon, make_job, summary(failed=100), *(member(n, 1) for n in range(100)))
    whole = f"runctl: sweep: the output of at most 64 jobs is shown together, {said}\n"
    assert runctl("logs", *typed, "sweep") == (125, "", whole)
    assert {args["job"] for args in daemon.args("logs")} <= {"sweep"}


def test_what_fails_is_of_a_group_alone(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("status", make_job())
    said = "runctl: build is a job; --failed goes with an array or a flow\n"
    assert runctl("logs", "--failed", "build") == (125, "", said)


@pytest.mark.parametrize("option", ["--raw", "--cursor=0"])
def test_what_is_for_one_job_is_not_for_a_group(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, option: str
) -> None:
    serve_logs(daemon, make_job, summary(ok=2), member(0, 0), member(1, 0))
    status, out, err = runctl("logs", option, "sweep")
    assert (status, out) == (125, "")
    assert "and several jobs exclude each other" in err


def test_a_group_beside_a_job_of_it_shows_no_job_twice(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve_logs(daemon, make_job, summary(ok=2), member(0, 0), member(1, 0))
    refuse, first = daemon.handlers["status"], make_job(job=member(0)["job"], name="sweep.0")
    daemon.handlers["status"] = lambda s, r: (
        s.ok(r, first) if r["args"]["job"] == "sweep.0" else refuse(s, r)
    )
    assert runctl("logs", "sweep.0", "sweep")[1] == "sweep.0 | 0\nsweep.1 | 1\n"


def test_names_that_several_have_are_no_labels() -> None:
    jobs = [Chosen(ID, "a", "x"), Chosen("77aa81c0", "b", "x"), Chosen("3f2a81c0", "c", "y\x1b")]
    assert labels(jobs) == {ID: "9b1d81c0", "77aa81c0": "77aa81c0", "3f2a81c0": "y\\x1b"}
