"""Maintenance and the end of runnerd: nothing new begins, and what runs is treated as promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from client.errors import RequestRefused
from tests.kernel.harness import PROJECT, Daemon, wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_survival import has_ended, result_of, written
from tests.kernel.test_users import output_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GATE = "/home/alice/drain-gate"
STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"


@contextmanager
def gate() -> Iterator[Callable[[], None]]:
    """What is called opens the gate that jobs of `gated` wait for."""

    def open_it() -> None:
        with open(GATE, "wb"):
            pass

    try:
        yield open_it
    finally:
        with suppress(FileNotFoundError):
            os.unlink(GATE)


def gated(status: int = 7) -> dict[str, Any]:
    """A job that prints, waits for the gate, prints again and exits with the status."""
    script = f"echo begun; until [ -e {GATE} ]; do sleep 0.02; done; echo done; exit {status}"
    return submission("sh", "-c", script)


def runnerd(daemon: Daemon, *args: str, user: str = "root") -> subprocess.Popen[str]:
    """A verb of runnerd, as a user."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner.main", *args, "--socket", daemon.socket],
        **daemon._as_user(user, "/", None), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def waits(process: subprocess.Popen[str]) -> None:
    """Return when it has said that it waits: it was answered by then."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "no more jobs are taken or started" in line, line


def take_again(daemon: Daemon) -> None:
    with daemon.client() as client:
        assert not client.drain(cancel=True)["draining"]


def asks(wire: Wire, op: str, **args: Any) -> None:
    """Send a request that is answered later; then it was taken."""
    wire.send({"id": 99, "op": op, "args": args})
    wire.ok("list")


def done(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its status and what it said."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert out == ""
    return process.returncode, err


def begun(daemon: Daemon, wire: Wire, request: dict[str, Any]) -> str:
    """A job that has printed something."""
    job: str = wire.ok("submit", request)["job"]
    wait_until(lambda: written(daemon, job) > 0)
    return job


def state_of(wire: Wire, job: str) -> str:
    state: str = wire.ok("status", job=job)["state"]
    return state


def is_draining(daemon: Daemon) -> bool:
    with daemon.client() as client:
        return client.hello()["draining"]


def mark(daemon: Daemon) -> str:
    return f"{daemon.state_dir}/draining"


def configure(daemon: Daemon, text: str) -> None:
    daemon.config.write_text(f"[network]\nlinger_seconds = 0\n{text}")


# --- drain ---


def test_a_drain_takes_and_starts_nothing_and_waits_for_what_runs(own_daemon: Daemon) -> None:
    configure(own_daemon, "[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with gate() as open_it, Wire(own_daemon) as alice:
        running = begun(own_daemon, alice, gated())
        queued = alice.ok("submit", submission("echo", "later"))["job"]
        draining = runnerd(own_daemon, "drain")
        waits(draining)
        assert alice.error("submit", submission("true"))["code"] == "draining"
        refused = own_daemon.runctl("run", "--", "true", user="alice")
        assert refused.returncode == 125
        assert "runnerd drain --cancel" in refused.stderr
        assert draining.poll() is None
        open_it()
        status, said = done(draining)
        assert (status, "1 queued job is kept" in said) == (0, True), said
        assert alice.ok("wait", job=running)["result"]["exit_code"] == 7
        # The room that it left is nobody's.
        assert state_of(alice, queued) == "queued"
        assert done(runnerd(own_daemon, "drain", "--cancel"))[0] == 0
        assert output_of(alice, queued) == b"later\n"
        assert not os.path.exists(mark(own_daemon))
        assert alice.ok("wait", job=alice.ok("submit", submission("true"))["job"])


def test_at_the_deadline_what_runs_goes_on_and_is_counted(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gate() as open_it, Wire(own_daemon) as alice:
        job = begun(own_daemon, alice, gated())
        paused = begun(own_daemon, alice, gated())
        alice.ok("pause", job=paused)
        status, said = done(runnerd(own_daemon, "drain", "--timeout", "500ms"))
        assert (status, "2 jobs still run" in said) == (1, True), said
        assert is_draining(own_daemon)
        assert (state_of(alice, job), state_of(alice, paused)) == ("running", "paused")
        alice.ok("resume", job=paused)
        open_it()
        with own_daemon.client() as client:
            assert client.drain()["running"] == 0
        assert result_of(own_daemon, job)["exit_code"] == 7
        assert result_of(own_daemon, paused)["exit_code"] == 7
        take_again(own_daemon)


def test_with_stop_those_that_run_at_the_deadline_are_stopped_with_their_grace(
    own_daemon: Daemon,
) -> None:
    configure(own_daemon, "[jobs]\nmax_running = 3\nstop_grace_seconds = 1\n")
    own_daemon.start()
    with gate(), Wire(own_daemon) as alice:
        polite = begun(own_daemon, alice, gated())
        paused = begun(own_daemon, alice, gated())
        alice.ok("pause", job=paused)
        deaf = begun(own_daemon, alice, submission("sh", "-c", STUBBORN))
        queued = alice.ok("submit", submission("true"))["job"]
        status, said = done(runnerd(own_daemon, "drain", "--timeout", "300ms", "--stop"))
        assert (status, "no job runs" in said) == (0, True), said
        for job, number in ((polite, 15), (paused, 15), (deaf, 9)):
            result = result_of(own_daemon, job)
            assert (result["reason"], result["signal"]) == ("stopped", number), result
            assert result["stopped_by_uid"] == 0
        assert state_of(alice, queued) == "queued"


def test_a_client_that_leaves_takes_its_deadline_along(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gate() as open_it, Wire(own_daemon) as alice:
        job = begun(own_daemon, alice, gated())
        draining = runnerd(own_daemon, "drain", "--timeout", "1s", "--stop")
        waits(draining)
        draining.send_signal(signal.SIGINT)
        status, said = done(draining)
        assert (status, "goes on draining" in said) == (130, True), said
        assert is_draining(own_daemon)
        # Longer than its deadline.
        assert alice.ok("wait", job=job, timeout_seconds=1.5)["state"] == "running"
        open_it()
        assert result_of(own_daemon, job)["exit_code"] == 7


def test_who_waits_hears_that_somebody_cancelled(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gate() as open_it, Wire(own_daemon) as alice:
        job = begun(own_daemon, alice, gated())
        draining = runnerd(own_daemon, "drain", "--timeout", "1h", "--stop")
        waits(draining)
        take_again(own_daemon)
        status, said = done(draining)
        assert (status, "somebody cancelled" in said) == (1, True), said
        open_it()
        assert result_of(own_daemon, job)["exit_code"] == 7


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restart_in_the_middle_starts_nothing_and_who_waits_goes_on(
    own_daemon: Daemon, how: str
) -> None:
    configure(own_daemon, "[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with gate() as open_it:
        with Wire(own_daemon) as alice:
            job = begun(own_daemon, alice, gated())
            queued = alice.ok("submit", submission("true"))["job"]
        draining = runnerd(own_daemon, "drain")
        waits(draining)
        assert os.path.exists(mark(own_daemon))
        getattr(own_daemon, how)()
        open_it()
        wait_until(lambda: has_ended(own_daemon, job))
        own_daemon.start()
        assert "draining: no job is taken or started until" in own_daemon.log_text()
        status, said = done(draining)
        assert (status, "runnerd is back" in said) == (0, True), said
        with Wire(own_daemon) as alice:
            assert state_of(alice, queued) == "queued"
            assert alice.error("submit", submission("true"))["code"] == "draining"
            assert alice.ok("doctor")["draining"] is True
        assert result_of(own_daemon, job)["exit_code"] == 7
        take_again(own_daemon)
        assert result_of(own_daemon, queued)["exit_code"] == 0


def test_a_member_may_not_drain(own_daemon: Daemon) -> None:
    own_daemon.start()
    status, said = done(runnerd(own_daemon, "drain", user="alice"))
    assert (status, "only root and admins" in said) == (125, True), said
    with Wire(own_daemon) as alice:
        for args in ({}, {"cancel": True}, {"stop": True}):
            assert alice.error("drain", args)["code"] == "not-permitted"
        assert alice.ok("wait", job=alice.ok("submit", submission("true"))["job"])
    assert not os.path.exists(mark(own_daemon))


def test_a_mark_that_cannot_be_written_is_refused_and_jobs_are_taken(own_daemon: Daemon) -> None:
    own_daemon.start()
    os.mkdir(mark(own_daemon))
    # Not looked at while it runs; what cannot be taken away again is the daemon's to say.
    with own_daemon.client() as client:
        assert client.drain()["draining"]
        with pytest.raises(RequestRefused, match="nothing was changed"):
            client.drain(cancel=True)
        os.rmdir(mark(own_daemon))
        assert not client.drain(cancel=True)["draining"]


# --- the end of runnerd ---


def told_to_end(daemon: Daemon) -> None:
    """SIGTERM, and it waits."""
    waits = daemon.log_text().count(": waiting for ")
    assert daemon._process is not None
    daemon._process.send_signal(signal.SIGTERM)
    wait_until(lambda: daemon.log_text().count(": waiting for ") > waits)
    with Wire(daemon) as alice:
        assert alice.error("submit", submission("true"))["code"] == "shutting-down"


def ended(daemon: Daemon) -> None:
    assert daemon._process is not None
    assert daemon._process.wait(30) == 0, daemon.log_text()
    daemon._process = None


def test_wait_serves_until_the_last_job_has_ended_and_leaves_the_queue(
    own_daemon: Daemon,
) -> None:
    configure(own_daemon, '[jobs]\nmax_running = 1\n[shutdown]\npolicy = "wait"\n')
    own_daemon.start()
    with gate() as open_it:
        with Wire(own_daemon) as alice:
            job = begun(own_daemon, alice, gated())
        queued = own_daemon.spawn_runctl("run", "--", "echo", "later", user="alice")
        follower = own_daemon.spawn_runctl("logs", "-f", job, user="alice")
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        wait_until(lambda: _count(own_daemon, "queued") == 1)
        with Wire(own_daemon) as waiter:
            asks(waiter, "wait", job=job)
            told_to_end(own_daemon)
            open_it()
            answer = waiter.receive()
            assert answer is not None
            assert answer["ok"]["result"]["exit_code"] == 7
        # It did not even hear that the daemon went.
        assert follower.communicate(timeout=60) == (b"done\n", b"")
        ended(own_daemon)
        own_daemon.start()
        assert queued.communicate(timeout=30)[0] == b"later\n"
        assert queued.returncode == 0
        assert result_of(own_daemon, job)["exit_code"] == 7


def _count(daemon: Daemon, state: str) -> int:
    with daemon.client() as client:
        return client.doctor()["jobs"][state]


def test_when_the_time_has_passed_what_runs_is_left_for_the_next(own_daemon: Daemon) -> None:
    configure(own_daemon, '[shutdown]\npolicy = "wait"\ntimeout_seconds = 1\n')
    own_daemon.start()
    with gate() as open_it:
        with Wire(own_daemon) as alice:
            job = begun(own_daemon, alice, gated())
        follower = own_daemon.spawn_runctl("logs", "-f", job, user="alice")
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        own_daemon.stop()
        assert "1 job goes on without me" in own_daemon.log_text()
        own_daemon.start()
        open_it()
        assert follower.communicate(timeout=60)[0] == b"done\n"
        assert follower.returncode == 0
        assert result_of(own_daemon, job)["exit_code"] == 7


def test_stop_stops_every_job_waits_for_it_and_who_waited_has_the_answer(
    own_daemon: Daemon,
) -> None:
    configure(
        own_daemon,
        '[jobs]\nmax_running = 3\nstop_grace_seconds = 1\n[shutdown]\npolicy = "stop"\n',
    )
    own_daemon.start()
    with gate():
        with Wire(own_daemon) as alice:
            polite = begun(own_daemon, alice, gated())
            paused = begun(own_daemon, alice, gated())
            alice.ok("pause", job=paused)
            deaf = begun(own_daemon, alice, submission("sh", "-c", STUBBORN))
            queued = alice.ok("submit", submission("true"))["job"]
        with Wire(own_daemon) as waiter:
            asks(waiter, "wait", job=deaf)
            own_daemon.stop()
            (answer,) = waiter.last_words()
            assert answer["ok"]["result"]["exit_status"] == 137
        assert "stopping; no job runs" in own_daemon.log_text()
        for job in (polite, paused, deaf):
            assert has_ended(own_daemon, job)
        own_daemon.start()
        for job, number in ((polite, 15), (paused, 15), (deaf, 9)):
            result = result_of(own_daemon, job)
            assert (result["reason"], result["signal"]) == ("stopped", number), result
        assert result_of(own_daemon, queued)["exit_code"] == 0


def test_jobs_that_were_stopped_and_still_run_at_the_end_are_left_and_end_all_the_same(
    own_daemon: Daemon,
) -> None:
    configure(
        own_daemon,
        '[jobs]\nstop_grace_seconds = 2\n[shutdown]\npolicy = "stop"\ntimeout_seconds = 0.3\n',
    )
    own_daemon.start()
    with Wire(own_daemon) as alice:
        deaf = begun(own_daemon, alice, submission("sh", "-c", STUBBORN))
    own_daemon.stop()
    assert "1 job goes on without me" in own_daemon.log_text()
    assert not has_ended(own_daemon, deaf)
    wait_until(lambda: has_ended(own_daemon, deaf))
    own_daemon.start()
    result = result_of(own_daemon, deaf)
    assert (result["reason"], result["signal"]) == ("stopped", signal.SIGKILL)


@pytest.mark.parametrize("policy", ["wait", "stop"])
def test_a_second_signal_leaves_at_once(own_daemon: Daemon, policy: str) -> None:
    configure(
        own_daemon,
        f'[jobs]\nstop_grace_seconds = 3600\n[shutdown]\npolicy = "{policy}"\n',
    )
    own_daemon.start()
    with Wire(own_daemon) as alice:
        deaf = begun(own_daemon, alice, submission("sh", "-c", STUBBORN))
    told_to_end(own_daemon)
    own_daemon.stop()
    assert "1 job goes on without me" in own_daemon.log_text()
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert state_of(alice, deaf) == "running"
        alice.ok("stop", job=deaf, kill=True)
        assert alice.ok("wait", job=deaf)["result"]["reason"] == "stopped"


def test_a_daemon_that_is_killed_while_it_waits_loses_nothing(own_daemon: Daemon) -> None:
    configure(own_daemon, '[shutdown]\npolicy = "wait"\n')
    own_daemon.start()
    with gate() as open_it:
        with Wire(own_daemon) as alice:
            job = begun(own_daemon, alice, gated())
        follower = own_daemon.spawn_runctl("logs", "-f", job, user="alice")
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        told_to_end(own_daemon)
        own_daemon.kill()
        open_it()
        own_daemon.start()
        # It was told to end, not to be drained.
        assert not is_draining(own_daemon)
        assert follower.communicate(timeout=60)[0] == b"done\n"
        assert follower.returncode == 0
        assert result_of(own_daemon, job)["exit_code"] == 7


def test_with_nothing_that_runs_it_ends_at_once_by_every_policy(own_daemon: Daemon) -> None:
    for policy in ("leave", "stop", "wait"):
        configure(own_daemon, f'[shutdown]\npolicy = "{policy}"\ntimeout_seconds = 3600\n')
        own_daemon.start()
        own_daemon.stop()


# --- who else is there ---


def test_a_second_one_is_refused_without_a_wait(own_daemon: Daemon) -> None:
    own_daemon.start()
    program = (
        "import sys; from runner import statedir; statedir._PATIENCE_SECONDS = 600\n"
        "try: statedir.lock_file(sys.argv[1])\n"
        "except statedir.InUseError: print('refused')"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, f"{own_daemon.state_dir}/lock"], cwd=PROJECT,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert found.stdout == "refused\n"


def test_the_next_one_may_be_started_while_the_last_still_ends(own_daemon: Daemon) -> None:
    own_daemon.start()
    for number in (signal.SIGTERM, signal.SIGKILL):
        last = own_daemon._process
        assert last is not None
        last.send_signal(number)
        own_daemon.start()
        last.wait(20)


def test_a_service_manager_hears_of_start_and_end_and_no_job_does(own_daemon: Daemon) -> None:
    configure(own_daemon, '[shutdown]\npolicy = "wait"\n')
    heard = subprocess.Popen(
        [sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert heard.stdin is not None
    assert heard.stdout is not None
    assert heard.stdout.readline() == "listening\n"
    os.environ["NOTIFY_SOCKET"] = "@runnerd-test"
    try:
        own_daemon.start()
    finally:
        del os.environ["NOTIFY_SOCKET"]
    try:
        assert heard.stdout.readline() == "READY=1|STATUS=started with 0 running, 0 queued\n"
        with Wire(own_daemon) as alice:
            job = alice.ok("submit", submission("env"))["job"]
            assert b"NOTIFY" not in output_of(alice, job)
            begun(own_daemon, alice, submission("sh", "-c", "echo; exec sleep 0.5"))
        own_daemon.stop()
        assert heard.stdout.readline() == (
            "STOPPING=1|STATUS=ending by policy wait; running: 1 job|EXTEND_TIMEOUT_USEC=60000000\n"
        )
        assert heard.stdout.readline() == "EXTEND_TIMEOUT_USEC=60000000\n"
    finally:
        heard.kill()
        heard.communicate()


LISTEN = """
import socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(chr(0) + "runnerd-test")
print("listening", flush=True)
while True:
    print(listener.recv(4096).decode().replace(chr(10), "|"), flush=True)
"""
