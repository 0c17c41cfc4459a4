"""What is said of a job that somebody waits for in the foreground: why it waits, its attempts."""

from __future__ import annotations

import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, cast

import pytest

from tests.unit.client.conftest import JOB_ID, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Process = subprocess.Popen[bytes]
    Start = Callable[..., Process]

COMMAND = [sys.executable, "-W", "error", "-m", "client.cli"]
GIB = 2**30


@pytest.fixture
def start(daemon: FakeDaemon) -> Iterator[Start]:
    """Starts `runctl run make`; it is gone when the test is over."""
    processes: list[Process] = []

    def run(*options: str) -> Process:
        process = subprocess.Popen(
            [*COMMAND, "--socket", daemon.path, "run", *options, "make"],
            bufsize=0,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate(timeout=30)


def why(*causes: dict[str, Any], **more: object) -> dict[str, Any]:
    blank: dict[str, Any] = {"needs": None, "free": None, "on": [], "kinds": [], "until_ns": None}
    return {"job": JOB_ID, "state": "queued", "because": [{**blank, **item} for item in causes],
            "ahead": 0, "start_ns": None, "result": None, **more}  # fmt: skip


class Log:
    """A log that stays open until it is told to end."""

    def __init__(self, daemon: FakeDaemon, make_job: Job) -> None:
        self.make_job = make_job
        self.stream: tuple[Session, dict[str, Any]] | None = None
        daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
        daemon.handlers["logs"] = self.logs

    def logs(self, session: Session, request: dict[str, Any]) -> None:
        self.stream = session, request

    def end(self, **changes: Any) -> None:
        assert self.stream
        session, request = self.stream
        status = self.make_job(result=changes.pop("result", {}), **changes)
        session.ok(request, {"cursor": 0, "attempt": 1, "status": status})


@pytest.fixture
def log(daemon: FakeDaemon, make_job: Job) -> Log:
    return Log(daemon, make_job)


def finish(process: Process) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_what_a_job_waits_for_is_said_once(daemon: FakeDaemon, start: Start, log: Log) -> None:
    memory = {"cause": "memory", "needs": 4 * GIB, "free": GIB}
    daemon.answer("why", why(memory, {"cause": "behind"}, ahead=3, start_ns=5))
    process = start()
    line = cast("IO[bytes]", process.stderr).readline()
    assert line == b"runctl: job 3f2a81c0 waits for memory: needs 4 GiB, 1 GiB free\n"
    log.end()
    assert finish(process) == (0, b"", b"")
    assert len(daemon.args("why")) == 1


def test_a_job_that_is_only_behind_others_is_said_to_be(
    daemon: FakeDaemon, start: Start, log: Log
) -> None:
    daemon.answer("why", why({"cause": "behind"}, ahead=3))
    process = start()
    line = cast("IO[bytes]", process.stderr).readline()
    assert line == b"runctl: job 3f2a81c0 waits behind 3 jobs\n"
    log.end()
    finish(process)


def test_a_job_that_runs_by_then_is_not_spoken_of(
    daemon: FakeDaemon, start: Start, log: Log
) -> None:
    daemon.answer("why", why(state="running"))
    process = start()
    daemon.wait_for("why")
    log.end()
    assert finish(process) == (0, b"", b"")


def test_a_daemon_that_cannot_say_why_is_no_failure(
    daemon: FakeDaemon, start: Start, log: Log
) -> None:
    daemon.refuse("why", "unknown-op")
    process = start()
    daemon.wait_for("why")
    log.end(result={"exit_status": 3})
    assert finish(process) == (3, b"", b"")


def test_a_job_that_ends_at_once_is_not_asked_about(
    daemon: FakeDaemon, start: Start, make_job: Job
) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
    daemon.handlers["logs"] = lambda s, r: s.ok(r, {"cursor": 0, "status": make_job(result={})})
    assert finish(start()) == (0, b"", b"")
    assert not daemon.args("why")


def test_each_attempt_that_failed_is_a_line_between_the_outputs(
    daemon: FakeDaemon, start: Start, make_job: Job
) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
    earlier = {"attempt": 1, "started_ns": 10**9, "ended_ns": 3 * 10**9,
               "result": RESULT | {"exit_code": 3}}  # fmt: skip
    retried = make_job(state="queued", attempt=2, attempts=[earlier], not_before_ns=None)
    daemon.answer("status", retried)

    def logs(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, {"attempt": 1, "offset": 0})
        session.event(request, 2, {"offset": 0, "runs": [[2, 4, 1]], "data": b"one\n"})
        session.event(request, 3, {"attempt": 2, "offset": 0})
        session.event(request, 4, {"offset": 0, "runs": [[2, 4, 1]], "data": b"two\n"})
        ended = make_job(result={}, attempt=2, attempts=[earlier])
        session.ok(request, {"cursor": 4, "attempt": 2, "status": ended})

    daemon.handlers["logs"] = logs
    assert finish(start("--retry", "3")) == (
        0, b"",
        (b"one\n"
        b"runctl: job 3f2a81c0: attempt 1 ended with exit code 3, after 2 s; attempt 2 is queued\n"
        b"two\n"),
    )  # fmt: skip


def test_a_key_that_is_known_gives_the_job_that_there_is(
    daemon: FakeDaemon, start: Start, log: Log
) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "running", "existing": True})
    process = start("--key", "k")
    line = cast("IO[bytes]", process.stderr).readline()
    assert line == b"runctl: job 3f2a81c0 has this key already; it is running\n"
    daemon.wait_for("logs")
    log.end(result={"exit_status": 4})
    assert finish(process)[0] == 4


def test_a_detached_one_says_so_and_prints_its_id(
    daemon: FakeDaemon, runctl: Callable[..., tuple[int, str, str]]
) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "ended", "existing": True})
    assert runctl("run", "-d", "--key", "k", "make") == (
        0, f"{JOB_ID}\n", "runctl: job 3f2a81c0 has this key already; it has ended\n",
    )  # fmt: skip
    out = runctl("run", "-d", "--json", "--key", "k", "make")
    assert out == (0, f'{{\n  "job": "{JOB_ID}",\n  "existing": true\n}}\n', "")
