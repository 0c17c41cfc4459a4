"""`runctl logs` of a job with several attempts: which are shown, and where one begins."""

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
OUTPUTS = {1: b"one", 2: b"two\n", 3: b"three\n"}


def serve(daemon: FakeDaemon, make_job: Job, *, newest: int = 3) -> None:
    """A job of so many attempts, all over; who follows without naming one is given the rest."""
    jobs = {"build": make_job(result={}, attempt=newest)}
    jobs["web"] = make_job(job=OTHER_ID, name="web", result={}, attempt=newest)
    jobs |= {job["job"]: job for job in jobs.values()}

    def logs(session: Session, request: dict[str, Any]) -> None:
        asked = request["args"].get("attempt")
        first = asked or (1 if request["args"]["follow"] else newest)
        last = first if asked or not request["args"]["follow"] else newest
        seq, data = 0, b""
        for attempt in range(first, last + 1):
            offset = request["args"]["cursor"] if attempt == first else 0
            events: list[dict[str, Any]] = []
            if asked is None and attempt > 1:
                events.append({"attempt": attempt, "offset": offset})
            data = OUTPUTS[attempt][offset:]
            if data:
                events.append({"offset": offset, "runs": [[1, len(data), 5]], "data": data})
            for event in events:
                seq += 1
                session.event(request, seq, event)
        cursor = len(OUTPUTS[last])
        status = jobs[request["args"]["job"]]
        session.ok(request, {"cursor": cursor, "attempt": last, "status": status})

    daemon.handlers["logs"] = logs
    daemon.handlers["status"] = lambda s, r: s.ok(r, jobs[r["args"]["job"]])


def test_without_following_the_newest_attempt_is_shown(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    assert runctl("logs", "build", "--show-cursor") == (0, "three\n", "-- cursor: 3:6\n")
    assert "attempt" not in daemon.args("logs")[0]


def test_who_follows_is_given_all_and_nothing_between_them(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    assert runctl("logs", "-f", "build", "--show-cursor") == (
        0, "onetwo\nthree\n", "-- cursor: 3:6\n",
    )  # fmt: skip


def test_one_attempt_is_shown_alone(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, make_job)
    for follow in ([], ["-f"]):
        assert runctl("logs", *follow, "--attempt", "2", "build")[1] == "two\n"
    assert [args["attempt"] for args in daemon.args("logs")] == [2, 2]


def test_who_goes_on_from_a_cursor_is_given_the_rest_and_the_later_attempts(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    assert runctl("logs", "--cursor", "2:2", "build", "--show-cursor") == (
        0, "o\nthree\n", "-- cursor: 3:6\n",
    )  # fmt: skip
    assert [args["attempt"] for args in daemon.args("logs")] == [2, 3]
    assert runctl("logs", "--cursor", "1", "build")[1] == "netwo\nthree\n"
    assert runctl("logs", "--cursor", "3:6", "build")[1] == ""


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1:", ":1", "0:5", "1:2:3", str(2**70)])
def test_another_cursor_is_refused(runctl: Runctl, daemon: FakeDaemon, cursor: str) -> None:
    status, out, err = runctl("logs", f"--cursor={cursor}", "build")
    assert (status, out) == (125, "")
    assert "Invalid value for '--cursor'" in err
    assert not daemon.seen


def test_a_cursor_and_an_attempt_exclude_each_other(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, _, err = runctl("logs", "--cursor", "2:1", "--attempt", "2", "build")
    assert status == 125
    assert "--cursor and --attempt exclude each other" in err
    assert not daemon.seen


def test_the_last_lines_are_of_the_attempt_that_was_located(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    found = {"cursor": 2, "stdout": 2, "stderr": 0, "end": 4, "attempt": 2}
    daemon.answer("locate", found)
    assert runctl("logs", "-n", "1", "build")[1] == "o\n"
    assert daemon.args("logs")[0]["attempt"] == 2
    # What was located says nothing of the attempt after it.
    assert runctl("logs", "-f", "-n", "1", "build")[1] == "o\nthree\n"


def test_as_json_an_object_says_where_an_attempt_begins(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    lines = [json.loads(line) for line in runctl("logs", "-f", "--json", "build")[1].splitlines()]
    assert [line.get("attempt") for line in lines] == [None, 2, None, 3, None, 3]
    assert lines[1] == {"attempt": 2}
    assert lines[2]["offset"] == 0
    assert (lines[5]["cursor"], lines[5]["status"]["job"]) == (6, JOB_ID)


def test_a_line_without_an_end_does_not_go_on_in_another_attempt(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    assert runctl("logs", "-f", "--grep", "o", "build")[1] == "one\ntwo\n"
    out = runctl("logs", "-f", "build", "web")[1].splitlines()
    assert sorted(out) == sorted(
        f"{name:<5} | {text}" for name in ("build", "web") for text in ("one", "two", "three")
    )


def on_a_terminal(daemon: FakeDaemon, *arguments: str, **environment: str) -> bytes:
    """What it shows."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--socket", daemon.path, "logs", *arguments],
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:
        pass
    finally:
        os.close(master)
    assert process.wait(30) == 0
    return shown


def test_on_a_terminal_a_dim_line_says_where_an_attempt_begins(
    daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, make_job)
    assert on_a_terminal(daemon, "-f", "build") == (
        b"one\r\n"
        b"\x1b[2m==> attempt 2 <==\x1b[0m\r\ntwo\r\n"
        b"\x1b[2m==> attempt 3 <==\x1b[0m\r\nthree\r\n"
    )
    assert on_a_terminal(daemon, "build", NO_COLOR="1") == b"==> attempt 3 <==\r\nthree\r\n"


def test_of_several_jobs_it_says_whose(daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, make_job)
    shown = on_a_terminal(daemon, "-f", "build", "web", NO_COLOR="1")
    assert shown.count(b"==> attempt 2 of build <==\r\n") == 1
    assert shown.count(b"==> attempt 3 of web <==\r\n") == 1
