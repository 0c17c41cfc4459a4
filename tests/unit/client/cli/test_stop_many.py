"""`runctl stop` of many: which are meant, the number that somebody has to say yes to."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.client.conftest import JOB_ID, OTHER_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

COMMAND = [sys.executable, "-m", "client.cli"]


def found(queued: int, running: int, *ids: str) -> dict[str, Any]:
    return {"jobs": queued + running, "queued": queued, "running": running, "ids": list(ids)}


def serve(daemon: FakeDaemon, make_job: Job, *counts: dict[str, Any]) -> None:
    """The first is what is counted first; then each is what there is by the next question."""
    there = iter(counts)
    now = [next(there)]

    def stop_many(session: Session, request: dict[str, Any]) -> None:
        answer = now[0]
        if request["args"]["dry_run"]:
            session.ok(request, answer)
            return
        answer = now[0] = next(there, answer)
        if answer["jobs"] != request["args"]["expect"]:
            given = str(request["args"]["expect"])
            session.refuse(request, "invalid-argument", field="expect", given=given)
        else:
            session.ok(request, answer)

    daemon.handlers["stop_many"] = stop_many
    daemon.handlers["wait"] = lambda s, r: s.ok(
        r, make_job(job=r["args"]["job"], result={"reason": "stopped"})
    )


@pytest.mark.parametrize(
    ("typed", "select"),
    [
        (["--all"], {}),
        (["--queue", "night"], {"queue": "night"}),
        (["--label", "a", "--label", "b=1"], {"labels": {"a": None, "b": "1"}}),
        (["--user", "bob"], {"user": "bob"}),
        (["--user", "1000"], {"user": 1000}),
        (["--name", "n-*", "--all"], {"name": "n-*"}),
        (["--queue", "q", "--user", "bob", "--label", "a=", "--name", "n"],
         {"queue": "q", "user": "bob", "labels": {"a": ""}, "name": "n"}),
    ],
)  # fmt: skip
def test_what_is_meant_is_what_was_typed(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, typed: list[str], select: dict[str, Any]
) -> None:
    serve(daemon, make_job, found(1, 1, JOB_ID, OTHER_ID))
    status, out, err = runctl("stop", *typed, "--yes", "--grace", "3")
    assert (status, out, err) == (0, "2 jobs (1 queued, 1 running) stopped\n", "")
    counted, stopped = daemon.args("stop_many")
    assert counted["select"] == stopped["select"] == select
    assert (counted["dry_run"], stopped["dry_run"]) == (True, False)
    assert (stopped["expect"], stopped["grace_seconds"]) == (2, 3.0)
    assert [args["job"] for args in daemon.args("wait")] == [JOB_ID, OTHER_ID]


def test_without_waiting_they_are_asked_to_stop(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job, found(0, 1, JOB_ID))
    assert runctl("stop", "--all", "--yes", "--no-wait", "--kill") == (
        0, "1 job (0 queued, 1 running) asked to stop\n", "",
    )  # fmt: skip
    assert daemon.args("stop_many")[1]["kill"] is True
    assert not daemon.args("wait")
    out = runctl("stop", "--all", "--yes", "--no-wait", "--json")[1]
    assert json.loads(out) == found(0, 1, JOB_ID)


def test_no_job_is_nothing_to_ask_about(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, make_job, found(0, 0))
    assert runctl("stop", "--all") == (0, "no job to stop\n", "")
    assert [args["dry_run"] for args in daemon.args("stop_many")] == [True]


def test_without_a_terminal_it_needs_yes(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull, encoding="ascii") as null:
        monkeypatch.setattr(sys, "stdin", null)
        serve(daemon, make_job, found(30, 7))
        assert runctl("stop", "--all") == (
            125, "",
            ("runctl: this would stop 37 jobs (30 queued, 7 running); there is no terminal to ask "
            "on: --yes does it without asking\n"),
        )  # fmt: skip
    assert [args["dry_run"] for args in daemon.args("stop_many")] == [True]


def test_with_yes_another_number_is_a_failure(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job, found(30, 7), found(30, 8))
    assert runctl("stop", "--all", "--yes") == (
        125, "",
        ("runctl: meanwhile it is 38 jobs (30 queued, 8 running), not 37; nothing was stopped; "
        "try again\n"),
    )  # fmt: skip


def test_a_job_that_is_removed_meanwhile_has_ended(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job, found(1, 0, JOB_ID))
    daemon.refuse("wait", "no-such-job")
    assert runctl("stop", "--all", "--yes")[0] == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "which jobs? JOB..., --all, --queue, --label, --user or --name"),
        (["--all", "build"], "exclude each other"),
        (["--queue", "q", "build"], "exclude each other"),
        (["--label", "=x"], "NAME or NAME=VALUE is allowed"),
        (["--label", "a=1", "--label", "a=2"], "given twice, with different values"),
    ],
)
def test_what_is_not_clear_is_wrong_usage(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], said: str
) -> None:
    status, out, err = runctl("stop", *typed)
    assert (status, out) == (125, "")
    assert said in err
    assert not daemon.seen


def test_a_refusal_speaks_of_the_option(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.refuse("stop_many", "not-permitted", field="select.user", detail="only admins")
    assert runctl("stop", "--user", "bob", "--yes")[::2] == (
        125, "runctl: --user: only admins\n",
    )  # fmt: skip


def on_a_terminal(daemon: FakeDaemon, answer: str) -> tuple[int, str]:
    """`runctl stop --all` on one: its exit status, and what the terminal shows at the end."""
    master, terminal = pty.openpty()
    command = [*COMMAND, "--socket", daemon.path, "stop", "--all"]
    try:
        process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        # It is there by the time that it is asked for.
        os.write(master, answer.encode())
        shown = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        return process.wait(30), shown.decode()
    finally:
        os.close(master)


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_the_terminal_is_asked_and_yes_does_it(
    daemon: FakeDaemon, make_job: Job, answer: str
) -> None:
    serve(daemon, make_job, found(30, 7))
    status, shown = on_a_terminal(daemon, answer)
    assert status == 0
    assert "stop 37 jobs (30 queued, 7 running)? [y/N] " in shown
    assert "37 jobs (30 queued, 7 running) asked to stop" in shown


@pytest.mark.parametrize("answer", ["\n", "n\n", "yolo\n", "\x04"])
def test_anything_else_stops_nothing(daemon: FakeDaemon, make_job: Job, answer: str) -> None:
    serve(daemon, make_job, found(30, 7))
    status, shown = on_a_terminal(daemon, answer)
    assert status == 125
    assert "runctl: nothing was stopped" in shown
    assert [args["dry_run"] for args in daemon.args("stop_many")] == [True]


def test_another_number_is_said_and_asked_for_again(daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, make_job, found(3, 0), found(2, 0), found(2, 0, JOB_ID, OTHER_ID))
    status, shown = on_a_terminal(daemon, "y\ny\n")
    assert status == 0
    assert "meanwhile it is 2 jobs (2 queued, 0 running), not 3; nothing was stopped" in shown
    assert shown.count("[y/N]") == 2
    assert "2 jobs (2 queued, 0 running) stopped" in shown
