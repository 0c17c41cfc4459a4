"""The verbs besides run: ps, status, logs, stop, pause, resume, wait, rm, doctor, version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from client.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
OTHER_ID = "77aa81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"


def test_ps_shows_a_table(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("list", {"jobs": [make_job(), make_job(result={})], "next": None})
    status, out, err = runctl("ps", "-a")
    assert (status, err) == (0, "")
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["JOB", "NAME", "USER", "STATE"],
        ["3f2a81c0", "build", "alice", "running"],
        ["3f2a81c0", "build", "alice", "exit"],
    ]
    assert daemon.args("list")[0]["ended"] is True


def test_ps_n_asks_for_no_more(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("list", {"jobs": [make_job()] * 2, "next": 5})
    status, out, _ = runctl("ps", "-n", "2", "--json")
    assert status == 0
    assert len(json.loads(out)) == 2
    assert daemon.args("list") == [{"ended": False, "limit": 2, "before": None}]


def test_ps_json_is_an_array_with_whole_ids(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("list", {"jobs": [make_job(argv=[b"\xff"], cwd="/\x9b")], "next": None})
    status, out, _ = runctl("ps", "--json")
    assert status == 0
    assert out.isascii()
    (job,) = json.loads(out)
    assert job["job"] == JOB_ID
    assert job["argv"] == [{"base64": "/w=="}]
    daemon.answer("list", {"jobs": [], "next": None})
    assert json.loads(runctl("ps", "--json")[1]) == []


def test_status_shows_a_record_or_json(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("status", make_job(env={b"K\xff": "v"}))
    status, out, _ = runctl("status", "3f2a")
    assert status == 0
    assert out.startswith(f"job        {JOB_ID}\n")
    status, out, _ = runctl("status", "3f2a", "--json")
    assert json.loads(out)["env"] == {"K\\xff": "v"}


def serve_log(daemon: FakeDaemon, job: dict[str, Any]) -> None:
    def logs(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, {"gap_bytes": 1024 * 1024, "offset": 1024 * 1024})
        data = b"out\xff\x00err!\n"
        runs = [[1, 2, 5], [1, 3, 6], [2, 3, 7], [1, 2, 8]]
        session.event(request, 2, {"offset": 1024 * 1024, "runs": runs, "data": data})
        session.ok(request, {"cursor": 1024 * 1024 + len(data), "status": job})

    daemon.answer("status", job)
    daemon.handlers["logs"] = logs


def test_logs_writes_each_stream_to_its_own_and_says_what_is_missing(
    daemon: FakeDaemon, make_job: Job, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    serve_log(daemon, make_job(result={"exit_status": 9}))
    with pytest.raises(SystemExit) as exit_:
        main(["--socket", daemon.path, "logs", "3f2a", "-f", "--cursor", "0"])
    out, err = capfdbinary.readouterr()
    assert exit_.value.code == 0
    assert out == b"out\xff\0!\n"
    assert err == b"runctl: 1 MiB of older output was removed by retention\nerr"


def test_logs_json_is_a_line_an_item_and_a_last_one_with_the_cursor(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve_log(daemon, make_job())
    status, out, err = runctl("logs", "3f2a", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert lines[:5] == [
        {"offset": 1048576, "gap_bytes": 1048576, "why": "removed"},
        {"offset": 1048576, "stream": "stdout", "time_ns": 5, "text": "ou"},
        {"offset": 1048578, "stream": "stdout", "time_ns": 6, "base64": "dP8A"},
        {"offset": 1048581, "stream": "stderr", "time_ns": 7, "text": "err"},
        {"offset": 1048584, "stream": "stdout", "time_ns": 8, "text": "!\n"},
    ]
    assert lines[5]["cursor"] == 1048586
    assert lines[5]["status"]["job"] == JOB_ID


def test_stop_asks_all_then_waits_and_says_how_each_ended(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    ids = {"one": JOB_ID, "two": OTHER_ID}
    daemon.handlers["status"] = lambda s, r: s.ok(r, make_job(job=ids[r["args"]["job"]]))
    daemon.answer("stop", {"state": "running"})
    daemon.handlers["wait"] = lambda s, r: s.ok(
        r,
        make_job(job=r["args"]["job"], result={"reason": "stopped", "stopped_by_uid": 2147483643}),
    )
    status, out, _ = runctl("stop", "--grace", "0", "one", "two")
    assert status == 0
    assert out == "3f2a81c0 was stopped by uid 2147483643\n77aa81c0 was stopped by uid 2147483643\n"
    assert [args["job"] for args in daemon.args("stop")] == [JOB_ID, OTHER_ID]
    assert daemon.args("stop")[0] == {"job": JOB_ID, "grace_seconds": 0.0, "kill": False}


def test_stop_goes_on_after_a_refusal_and_fails(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    def status(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == "nope":
            session.refuse(request, "no-such-job")
        else:
            session.ok(request, make_job())

    daemon.handlers["status"] = status
    daemon.answer("stop", {"state": "running"})
    daemon.answer("wait", make_job(result={"reason": "stopped"}))
    code, out, err = runctl("stop", "--kill", "nope", "build", "--json")
    assert code == 125
    assert "nope: no job of yours" in err
    assert json.loads(out)["result"]["reason"] == "stopped"
    assert daemon.args("stop")[0]["kill"] is True


def test_stop_no_wait_returns_at_once(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("status", make_job())
    daemon.answer("stop", {"state": "running"})
    assert runctl("stop", "--no-wait", "build")[:2] == (0, "3f2a81c0 is asked to stop\n")
    daemon.answer("stop", {"state": "ended"})
    assert runctl("stop", "--no-wait", "build")[:2] == (0, "3f2a81c0 has ended\n")
    assert json.loads(runctl("stop", "--no-wait", "--json", "build")[1]) == {
        "job": JOB_ID,
        "state": "ended",
    }


def test_wait_exits_with_the_first_status_that_is_not_0(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    statuses = {JOB_ID: 0, OTHER_ID: 7, "x" * 36: 9}
    daemon.handlers["wait"] = lambda s, r: s.ok(
        r,
        make_job(
            job=r["args"]["job"],
            result={"exit_code": statuses[r["args"]["job"]],
                    "exit_status": statuses[r["args"]["job"]]},
        ),
    )  # fmt: skip
    status, out, _ = runctl("wait", *statuses)
    assert status == 7
    assert out.splitlines()[:2] == [
        "3f2a81c0 ended with exit code 0",
        "77aa81c0 ended with exit code 7",
    ]
    assert runctl("wait", JOB_ID)[0] == 0
    assert json.loads(runctl("wait", "--json", JOB_ID)[1])["result"]["exit_status"] == 0


def test_wait_says_in_the_same_line_that_output_was_dropped(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("wait", make_job(result={"log_dropped_bytes": 7}))
    assert runctl("wait", JOB_ID)[:2] == (
        0,
        (
            "3f2a81c0 ended with exit code 0; "
            "7 B of its output was dropped for want of room on the disk\n"
        ),
    )
    ended = {"reason": "log-error", "exit_status": 125, "detail": "why", "log_dropped_bytes": 7}
    daemon.answer("wait", make_job(result=ended))
    assert runctl("wait", JOB_ID)[:2] == (125, "3f2a81c0 ended: why\n")


def test_wait_that_runs_out_of_time_is_125(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("wait", make_job())
    status, out, err = runctl("wait", "--timeout", "0", JOB_ID)
    assert (status, out) == (125, "")
    assert err == "runctl: job 3f2a81c0 has not ended in time; it is running\n"


def test_wait_fails_for_an_unknown_job_when_all_others_succeed(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.refuse("status", "no-such-job")
    daemon.answer("wait", make_job(result={}))
    assert runctl("wait", "nope", JOB_ID)[0] == 125


def test_rm_says_what_was_removed_and_what_is_active(runctl: Runctl, daemon: FakeDaemon) -> None:
    def remove(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == "live":
            session.refuse(request, "job-active")
        else:
            session.ok(request, {"job": JOB_ID})

    daemon.handlers["remove"] = remove
    assert runctl("rm", "build") == (0, "3f2a81c0 removed\n", "")
    status, out, err = runctl("rm", "live", "build", "--json")
    assert status == 125
    assert json.loads(out) == {"job": JOB_ID}
    assert err == "runctl: live: the job has not ended; stop it first\n"


DOCTOR: dict[str, Any] = {
    "server": "runnerd 9.9.9",
    "kernel": "6.18.44",
    "cgroup_root": "/sys/fs/cgroup/runnerd",
    "state_dir": "/var/lib/runnerd",
    "jobs": {"queued": 0, "running": 2},
    "features": [{"name": "memory.max", "status": "enforced", "why": None, "remedy": None}],
}


def test_doctor_exits_by_whether_all_is_enforced(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("doctor", DOCTOR)
    status, out, _ = runctl("doctor")
    assert status == 0
    assert out.endswith("\nenforced\n  memory.max\n")
    assert "0 queued, 2 running" in out
    broken = {"name": "io.max", "status": "unavailable", "why": "no io", "remedy": "do X"}
    daemon.answer("doctor", DOCTOR | {"features": [*DOCTOR["features"], broken]})
    status, out, _ = runctl("doctor")
    assert status == 1
    assert out.endswith(
        "\nenforced\n  memory.max\n"
        "\nio.max  unavailable\n        why: no io\n        remedy: do X\n"
    )
    status, out, _ = runctl("doctor", "--json")
    assert status == 1
    assert json.loads(out)["features"][1] == broken


def test_many_features_are_a_paragraph_and_one_with_something_to_say_its_own_lines(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    names = [f"feature number-{n}" for n in range(40)]
    features = [{"name": name, "status": "enforced", "why": None, "remedy": None} for name in names]
    features[7]["why"] = "only for root"
    daemon.answer("doctor", DOCTOR | {"features": features})
    status, out, _ = runctl("doctor")
    assert status == 0
    listed, _, told = out.partition("\nenforced\n")[2].partition("\n\n")
    assert all(len(line) < 80 for line in listed.splitlines())
    found = listed.replace(",\n  ", ", ").strip().split(", ")
    assert found == [name for name in names if name != names[7]]
    assert told == "feature number-7  enforced\n                  why: only for root\n"


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("resume", "running")])
def test_pause_and_resume_say_what_each_job_is_now(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, verb: str, state: str
) -> None:
    ids = {"one": JOB_ID, "two": OTHER_ID}
    daemon.handlers["status"] = lambda s, r: s.ok(r, make_job(job=ids[r["args"]["job"]]))
    daemon.answer(verb, {"state": state})
    status, out, err = runctl(verb, "one", "two")
    assert (status, err) == (0, "")
    assert out == f"3f2a81c0 is {state}\n77aa81c0 is {state}\n"
    assert daemon.args(verb) == [{"job": JOB_ID}, {"job": OTHER_ID}]
    assert json.loads(runctl(verb, "--json", "one")[1]) == {"job": JOB_ID, "state": state}


def test_a_job_that_cannot_be_paused_is_named_and_the_others_are_paused(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    ids = {"late": OTHER_ID, "build": JOB_ID}
    daemon.handlers["status"] = lambda s, r: s.ok(r, make_job(job=ids[r["args"]["job"]]))

    def pause(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == OTHER_ID:
            session.refuse(request, "job-state", given="queued", detail="it has not started")
        else:
            session.ok(request, {"state": "paused"})

    daemon.handlers["pause"] = pause
    assert runctl("pause", "late", "build") == (
        125, "3f2a81c0 is paused\n", "runctl: late: it has not started\n",
    )  # fmt: skip


def test_a_job_that_cannot_be_changed_is_named_and_a_wrong_limit_by_its_option(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    why = "it has ended; only a queued, running or paused job can be changed"
    daemon.refuse("update", "job-state", field="job", given="ended", detail=why)
    assert runctl("update", "build", "--pids", "5") == (125, "", f"runctl: build: {why}\n")
    daemon.refuse(
        "update", "limit-below-use", field="limits.pids_max", given="5", detail="it uses 9 now"
    )
    assert runctl("update", "build", "--pids", "5")[2] == (
        "runctl: --pids: 5 given; it uses 9 now\n"
    )


def test_a_paused_job_is_one_in_tables_and_records(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("list", {"jobs": [make_job(state="paused")], "next": None})
    daemon.answer("status", make_job(state="paused"))
    assert runctl("ps")[1].splitlines()[1].split()[3] == "paused"
    assert "state      paused, monitor's pid 4242\n" in runctl("status", "3f2a")[1]


def test_version_shows_both_or_says_why_not(runctl: Runctl, daemon: FakeDaemon) -> None:
    from client import __version__

    assert runctl("version")[:2] == (0, f"runctl {__version__}\nrunnerd 9.9.9\n")
    assert runctl("--version")[:2] == (0, f"runctl {__version__}\n")
    assert json.loads(runctl("version", "--json")[1])["server"] == "runnerd 9.9.9"
    daemon.stop()
    status, out, err = runctl("version")
    assert (status, out) == (0, f"runctl {__version__}\n")
    assert "not running" in err
    answer = json.loads(runctl("version", "--json")[1])
    assert answer["server"] is None
    assert "not running" in answer["problem"]
