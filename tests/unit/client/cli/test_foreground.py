"""A job in the foreground, as a real process: bytes, signals, exit status, last words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Process = subprocess.Popen[bytes]
    Start = Callable[..., Process]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
COMMAND = [sys.executable, "-W", "error", "-m", "client.cli"]


class Script:
    """A job on the fake daemon: it prints, and ends when told to or when asked to stop."""

    def __init__(self, daemon: FakeDaemon, make_job: Job) -> None:
        self.make_job = make_job
        self.result: dict[str, Any] = {}
        self.stop_result: dict[str, Any] = {"reason": "stopped", "exit_status": 143,
                                            "stopped_by_uid": os.getuid()}  # fmt: skip
        self.position = 0
        self.stream: tuple[Session, dict[str, Any]] | None = None
        self.ends = True
        self.ends_on_stop = True
        self.printed: list[tuple[int, bytes]] = []
        self.seq = 0
        daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
        daemon.handlers["logs"] = self.logs
        daemon.handlers["stop"] = self.stop

    def logs(self, session: Session, request: dict[str, Any]) -> None:
        self.stream = session, request
        self.seq = 0
        for stream, data in self.printed:
            self.print(stream, data)
        if self.ends:
            self.end(self.result)

    def print(self, stream: int, data: bytes) -> None:
        assert self.stream
        session, request = self.stream
        # Counted first: whoever reads the output may have us print on, in another thread.
        self.seq += 1
        begin, self.position = self.position, self.position + len(data)
        runs = [[stream, len(data), 1]]
        session.event(request, self.seq, {"offset": begin, "runs": runs, "data": data})

    def end(self, result: dict[str, Any]) -> None:
        assert self.stream
        session, request = self.stream
        session.ok(request, {"cursor": self.position, "status": self.make_job(result=result)})

    def stop(self, session: Session, request: dict[str, Any]) -> None:
        session.ok(request, {"state": "running"})
        if self.ends_on_stop or request["args"]["kill"]:
            self.end(self.stop_result)


@pytest.fixture
def script(daemon: FakeDaemon, make_job: Job) -> Script:
    return Script(daemon, make_job)


@pytest.fixture
def start(daemon: FakeDaemon) -> Iterator[Start]:
    """Starts `runctl run make`; it is gone when the test is over."""
    processes: list[Process] = []

    def run(*, prefix: tuple[str, ...] = (), stdout: int = subprocess.PIPE) -> Process:
        process = subprocess.Popen(
            [*prefix, *COMMAND, "--socket", daemon.path, "run", "make"],
            bufsize=0,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate(timeout=30)


def finish(process: Process) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_both_streams_come_out_byte_for_byte_and_the_status_is_the_jobs(
    script: Script, start: Start
) -> None:
    script.printed = [(1, b"one\xff\0\r\n"), (2, b"err\x1b"), (1, bytes(range(256)) * 1000)]
    script.result = {"exit_code": 3, "exit_status": 3}
    assert finish(start()) == (3, b"one\xff\0\r\n" + bytes(range(256)) * 1000, b"err\x1b")


def test_output_comes_before_the_end(script: Script, start: Start, daemon: FakeDaemon) -> None:
    script.printed = [(1, b"no newline")]
    script.ends = False
    process = start()
    assert cast("IO[bytes]", process.stdout).read(10) == b"no newline"
    daemon.wait_for("logs")
    script.end({})
    assert finish(process) == (0, b"", b"")


def test_output_that_is_removed_again_and_again_is_said_as_a_sum(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    def logs(session: Session, request: dict[str, Any]) -> None:
        for seq in range(1, 101):
            event = {"gap_bytes": 1024, "offset": seq * 1024, "why": "removed"}
            session.event(request, seq, event)
        session.ok(request, {"cursor": 102400, "status": script.make_job(result={})})

    daemon.handlers["logs"] = logs
    status, out, err = finish(start())
    assert (status, out) == (0, b"")
    said = re.findall(rb"runctl: ([0-9.]+) KiB of older output was removed by retention\n", err)
    assert sum(map(float, said)) == 100
    assert len(said) < 20


@pytest.mark.parametrize(
    ("result", "status", "said"),
    [
        ({"reason": "oom", "exit_status": 137, "oom_kills": 3}, 137,
         b"was killed at its memory limit: 256 MiB allowed, peak 256 MiB, 3 processes killed"),
        ({"reason": "timeout", "exit_status": 124}, 124, b"ended at its time limit"),
        ({"reason": "signal", "signal": 11, "exit_status": 139}, 139,
         b"was killed by signal 11 (SIGSEGV)"),
        ({"reason": "launch-error", "detail": "no such command", "exit_status": 127}, 127,
         b"could not start: no such command"),
        ({"reason": "lost", "detail": "the machine went down", "exit_status": 125}, 125,
         b"was lost: the machine went down"),
    ],
)  # fmt: skip
def test_an_end_that_is_no_exit_is_one_line_on_stderr(
    script: Script, start: Start, result: dict[str, Any], status: int, said: bytes
) -> None:
    script.result = result
    assert finish(start()) == (status, b"", b"runctl: job 3f2a81c0 " + said + b"\n")


def test_the_first_ctrl_c_stops_and_the_second_kills(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = script.ends_on_stop = False
    script.printed = [(1, b"ready\n")]
    process = start()
    assert cast("IO[bytes]", process.stdout).readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert daemon.wait_for("stop", 1) == {"job": JOB_ID, "kill": False}
    script.print(1, b"cleaning up\n")
    assert cast("IO[bytes]", process.stdout).readline() == b"cleaning up\n"
    process.send_signal(signal.SIGINT)
    assert daemon.wait_for("stop", 2) == {"job": JOB_ID, "kill": True}
    status, out, err = finish(process)
    assert (status, out) == (143, b"")
    assert err == (
        b"runctl: stopping 3f2a81c0; press Ctrl-C again to kill it\n"
        b"runctl: killing 3f2a81c0\n"
        b"runctl: job 3f2a81c0 was stopped\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ends_of_a_foreground_command_stop_the_job(
    script: Script, start: Start, daemon: FakeDaemon, number: signal.Signals
) -> None:
    script.ends = False
    process = start()
    daemon.wait_for("logs")
    process.send_signal(number)
    assert daemon.wait_for("stop")["kill"] is False
    status, _, err = finish(process)
    assert status == 143
    assert err.startswith(b"runctl: stopping 3f2a81c0\n")


def test_signals_that_were_ignored_stay_ignored(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = False
    process = start(prefix=("/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
    daemon.wait_for("logs")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[2].startswith(b"runctl: stopping")
    assert len(daemon.args("stop")) == 1


def test_ctrl_c_before_the_job_has_an_id_stops_it_as_soon_as_it_has(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = script.ends_on_stop = False
    answers: list[Callable[[], None]] = []
    daemon.handlers["submit"] = lambda s, r: answers.append(
        lambda: s.ok(r, {"job": JOB_ID, "state": "queued"})
    )
    process = start()
    daemon.wait_for("submit")
    process.send_signal(signal.SIGINT)
    # The signal is pending or handled now: whichever, it comes before the answer.
    answers[0]()
    daemon.wait_for("stop")
    daemon.wait_for("logs")
    script.end(script.stop_result)
    assert finish(process)[0] == 143


def test_ctrl_c_while_a_reader_holds_the_output_back_stops_the_job(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = False
    script.printed = [(1, b"x" * 200_000)] * 2
    process = start()
    stdout = cast("IO[bytes]", process.stdout)
    assert stdout.read(1) == b"x"
    process.send_signal(signal.SIGINT)
    daemon.wait_for("stop")
    status, out, _ = finish(process)
    assert (status, len(out) + 1) == (143, 400_000)


def test_a_closed_stdout_stops_the_job(script: Script, start: Start, daemon: FakeDaemon) -> None:
    script.ends = False
    reader, writer = os.pipe()
    process = start(stdout=writer)
    os.close(writer)
    os.close(reader)
    daemon.wait_for("logs")
    script.print(1, b"nobody reads this")
    assert daemon.wait_for("stop")["kill"] is False
    assert finish(process)[0] == 143
    assert len(daemon.args("stop")) == 1


def test_a_full_disk_stops_the_job_and_says_so(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = False
    full = os.open("/dev/full", os.O_WRONLY)
    process = start(stdout=full)
    os.close(full)
    daemon.wait_for("logs")
    script.print(1, b"x")
    daemon.wait_for("stop")
    status, _, err = finish(process)
    assert status == 125
    assert b"cannot write to stdout (No space left on device); stopping the job" in err
    assert b"Ctrl-C" not in err


@pytest.mark.parametrize("exit_status", [0, 3])
def test_a_job_that_ends_well_is_no_success_when_its_output_was_lost(
    script: Script, start: Start, exit_status: int
) -> None:
    script.printed = [(1, b"x")]
    script.result = {"exit_code": exit_status, "exit_status": exit_status}
    full = os.open("/dev/full", os.O_WRONLY)
    process = start(stdout=full)
    os.close(full)
    assert finish(process)[0] == 125


@pytest.mark.parametrize(("exit_status", "ours"), [(0, 141), (3, 3)])
def test_a_job_that_ends_well_without_its_reader_is_as_if_sigpipe_had_ended_it(
    script: Script, start: Start, exit_status: int, ours: int
) -> None:
    script.printed = [(1, b"x")]
    script.result = {"exit_code": exit_status, "exit_status": exit_status}
    reader, writer = os.pipe()
    process = start(stdout=writer)
    os.close(writer)
    os.close(reader)
    assert finish(process)[0] == ours


@pytest.mark.parametrize(("closed", "stream"), [(">&-", 1), ("2>&-", 2), ("<&- >&- 2>&-", 1)])
def test_a_closed_descriptor_takes_no_output_and_never_becomes_the_socket(
    script: Script, start: Start, daemon: FakeDaemon, closed: str, stream: int
) -> None:
    script.printed = [(stream, b"into the socket?")]
    process = start(prefix=("/bin/sh", "-c", f'exec "$@" {closed}', "sh"))
    assert finish(process)[0] == 125
    known = {"hello", "submit", "logs", "stop", "credit", "cancel"}
    assert {request["op"] for request in daemon.seen} <= known


def test_a_closed_descriptor_that_nobody_needs_is_no_failure(script: Script, start: Start) -> None:
    script.printed = [(1, b"hi")]
    process = start(prefix=("/bin/sh", "-c", 'exec "$@" <&- 2>&-', "sh"))
    assert finish(process) == (0, b"hi", b"")


def test_sigquit_kills_as_a_second_ctrl_c_does(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = False
    process = start()
    daemon.wait_for("logs")
    process.send_signal(signal.SIGQUIT)
    assert daemon.wait_for("stop") == {"job": JOB_ID, "kill": True}
    status, _, err = finish(process)
    assert status == 143
    assert err.startswith(b"runctl: killing 3f2a81c0\n")


def test_a_stdout_that_somebody_made_non_blocking_loses_nothing(
    script: Script, start: Start
) -> None:
    script.printed = [(1, b"y" * 200_000)] * 3
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start(stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert len(file.read()) == 600_000
    assert finish(process)[0] == 0


def test_a_restart_of_the_daemon_is_said_and_survived(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.printed = [(1, b"before\n")]
    script.ends = False
    process = start()
    stderr = cast("IO[bytes]", process.stderr)
    assert cast("IO[bytes]", process.stdout).readline() == b"before\n"
    daemon.stop()
    assert b"runnerd is away" in stderr.readline()
    script.printed = [(1, b"after\n")]
    script.ends = True
    daemon.start()
    status, out, err = finish(process)
    assert (status, out) == (0, b"after\n")
    assert err == b"runctl: runnerd is back\n"
    assert daemon.args("logs")[1]["cursor"] == len(b"before\n")


def test_ctrl_c_while_the_daemon_is_away_is_kept_for_it(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = False
    process = start()
    daemon.wait_for("logs")
    daemon.stop()
    stderr = cast("IO[bytes]", process.stderr)
    assert b"runnerd is away" in stderr.readline()
    process.send_signal(signal.SIGINT)
    assert b"stopping 3f2a81c0" in stderr.readline()
    assert b"when it is back; press Ctrl-C again to leave" in stderr.readline()
    script.ends_on_stop = False
    daemon.start()
    assert daemon.wait_for("stop") == {"job": JOB_ID, "kill": False}
    daemon.wait_for("logs", 2)
    script.end(script.stop_result)
    assert finish(process)[0] == 143


def test_a_second_ctrl_c_while_the_daemon_is_away_leaves(
    script: Script, start: Start, daemon: FakeDaemon
) -> None:
    script.ends = False
    process = start()
    daemon.wait_for("logs")
    daemon.stop()
    stderr = cast("IO[bytes]", process.stderr)
    assert b"runnerd is away" in stderr.readline()
    process.send_signal(signal.SIGINT)
    assert b"stopping" in stderr.readline()
    assert b"press Ctrl-C again to leave" in stderr.readline()
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 125
    said = b"runctl: job 3f2a81c0 was not stopped: `runctl logs -f 3f2a81c0` follows it\n"
    assert err.endswith(said)


def test_a_lost_answer_to_the_submission_says_where_to_look(
    start: Start, daemon: FakeDaemon
) -> None:
    daemon.handlers["submit"] = lambda session, _request: session.close()
    status, _, err = finish(start())
    assert status == 125
    assert b"runctl ps" in err
    assert err.count(b"\n") == 1
