"""Another version of the package takes over: jobs, followers and waiters notice nothing.

The version of tomorrow is a copy of this one with another name and one more step of the
schema; the one of today runs from a copy too, which is removed in between, as an installer
does. Stores of earlier versions are made by their own steps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from runner import messages, parsing, spec
from runner.config import Config
from runner.migrations import APPLICATION_ID, SCRIPTS
from runner.users import Account
from tests.kernel.harness import PROJECT, Daemon, wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_damage import (
    gate,  # noqa: F401 - a fixture
    gated,
)
from tests.kernel.test_survival import has_ended, has_written, log_of, numbers, result_of
from tests.kernel.test_users import output_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOMORROW = "99.1.2"
# What it adds to the schema.
STEP = "\nSCRIPTS = (*SCRIPTS, 'CREATE TABLE of_tomorrow (seq INTEGER PRIMARY KEY);')\n"

WAITER = """
import sys
from client.api import Client
with Client(sys.argv[1]) as client:
    client.doctor()
    print("reached", flush=True)
    sys.exit(client.wait(sys.argv[2])["result"]["exit_status"])
"""


@contextlib.contextmanager
def copy_of_the_packages(name: str, version: str | None = None) -> Iterator[str]:
    """A directory with all that runs, readable to everybody."""
    place = f"/opt/{name}-{os.getpid()}"
    for package in ("client", "isolation", "runner"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(f"{PROJECT}/{package}", f"{place}/{package}", ignore=ignored)
    subprocess.run(["chmod", "-R", "a+rX", place], check=True)
    if version is not None:
        _append(f"{place}/client/__init__.py", f"\n__version__ = {version!r}\n")
        _append(f"{place}/runner/migrations.py", STEP)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


class Versioned(Daemon):
    """A daemon and its clients, each from a directory of its own."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.packages = PROJECT
        self.clients = PROJECT

    def command(self, *options: str) -> list[str]:
        # The harness runs it in this project's directory, which would come first.
        program = (
            f"import sys; sys.path[0] = {self.packages!r}; from runner.main import main; main()"
        )
        interpreter, _m, _module, *arguments = super().command(*options)
        return [interpreter, "-c", program, *arguments]

    def spawn_waiter(self, job: str) -> subprocess.Popen[bytes]:
        """A program of alice's that waits for a job and ends as it does; it has begun to."""
        command = [sys.executable, "-c", WAITER, self.socket, job]
        process = subprocess.Popen(
            command, **self._as_user("alice", "/", None),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        # Who never reached a runnerd does not wait for one.
        assert process.stdout.readline() == b"reached\n"
        return process

    def _as_user(self, user: str, cwd: str, env: dict[str, str] | None) -> dict[str, Any]:
        return super()._as_user(user, cwd, {"PYTHONPATH": self.clients, **(env or {})})


@pytest.fixture
def versioned(own_daemon: Daemon, tmp_path: Path) -> Iterator[Versioned]:
    """Asked for after `own_daemon`, so that what that one looks for is looked for here too."""
    assert not own_daemon.running
    base = tmp_path / "versioned"
    base.mkdir()
    with Versioned(base) as daemon:
        daemon.log = own_daemon.log
        yield daemon
        if daemon.running:
            daemon.forget_all_jobs()
            daemon.stop()


def server_of(daemon: Daemon) -> str:
    with Wire(daemon, "root") as root:
        server: str = root.ok("doctor")["server"]
        return server


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_upgrade_costs_no_job_no_follower_and_no_waiter(
    versioned: Versioned,
    gate: str,  # noqa: F811 - pytest's way
    end: str,
) -> None:
    versioned.config.write_text("[jobs]\nmax_running = 3\n")
    with (
        copy_of_the_packages("today") as today,
        copy_of_the_packages("clients") as clients,
        copy_of_the_packages("tomorrow", TOMORROW) as tomorrow,
    ):
        versioned.packages, versioned.clients = today, clients
        versioned.start()
        assert TOMORROW not in server_of(versioned)
        with Wire(versioned) as alice:
            ended = alice.ok("submit", submission("sh", "-c", "echo over; exit 2"))["job"]
            shown = alice.ok("wait", job=ended)
            running = alice.ok("submit", gated(gate, 3000))["job"]
            paused = alice.ok("submit", gated(gate, 30))["job"]
            brief = alice.ok("submit", submission("sh", "-c", "echo b; sleep 4; exit 3"))["job"]
            for job in (running, paused, brief):
                wait_until(partial(has_written, versioned, job))
            alice.ok("pause", job=paused)
            queued = alice.ok("submit", submission("sh", "-c", "echo queued; exit 9"))["job"]
        follower = versioned.spawn_runctl("logs", "-f", running, user="alice")
        waiters = {job: versioned.spawn_waiter(job) for job in (running, paused, queued)}
        assert follower.stdout is not None
        assert follower.stdout.read(2) == b"1\n"
        _end(versioned, end)
        shutil.rmtree(today)
        wait_until(lambda: has_ended(versioned, brief))
        versioned.packages = tomorrow
        versioned.start()
        assert TOMORROW in server_of(versioned)
        with Wire(versioned) as alice:
            assert alice.ok("status", job=ended) == shown
            assert result_of(versioned, brief)["exit_code"] == 3
            assert output_of(alice, queued) == b"queued\n"
            assert alice.ok("status", job=paused)["state"] == "paused"
            assert alice.ok("status", job=running)["state"] == "running"
            alice.ok("resume", job=paused)
            with open(gate, "wb"):
                pass
        stdout, stderr = follower.communicate(timeout=60)
        assert b"1\n" + stdout == numbers(3000)
        assert follower.returncode == 0, stderr
        for job, code in ((running, 7), (paused, 7), (queued, 9)):
            _stdout, stderr = waiters[job].communicate(timeout=60)
            assert waiters[job].returncode == code, stderr
            assert result_of(versioned, job)["exit_code"] == code
        assert log_of(versioned, paused) == numbers(30)
        _refused_downgrade(versioned)
        versioned.packages = tomorrow
        versioned.start()
        assert len(log_of(versioned, running)) == len(numbers(3000))
        versioned.forget_all_jobs()
        versioned.stop()


def _end(daemon: Daemon, how: str) -> None:
    if how == "kill":
        daemon.kill()
    else:
        daemon.stop()


def _refused_downgrade(daemon: Versioned) -> None:
    """The version of today does not touch what the one of tomorrow wrote."""
    daemon.stop()
    path = f"{daemon.state_dir}/runnerd.sqlite3"
    with open(path, "rb") as file:
        before = file.read()
    daemon.packages = PROJECT
    done = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "it was used by a newer runnerd, so start that one" in done.stderr
    with open(path, "rb") as file:
        assert file.read() == before


@pytest.mark.parametrize("version", range(1, len(SCRIPTS)))
def test_a_store_of_an_earlier_version_keeps_its_jobs_and_starts_the_queued_ones(
    own_daemon: Daemon, version: int
) -> None:
    queued, ended = (str(uuid.uuid4()) for _ in range(2))
    os.makedirs(own_daemon.state_dir, 0o700)
    with contextlib.closing(sqlite3.connect(f"{own_daemon.state_dir}/runnerd.sqlite3")) as store:
        store.isolation_level = None
        store.execute("PRAGMA journal_mode = WAL")
        for script in SCRIPTS[:version]:
            store.executescript(script)
        store.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        store.execute(f"PRAGMA user_version = {version}")
        for seq, job in ((1, ended), (2, queued)):
            store.execute(
                "INSERT INTO jobs (id, submitted_by_uid, uid, gid, state, submitted_ns)"
                " VALUES (?, 4001, 4001, 4001, 'queued', 5)", (job,))  # fmt: skip
            store.execute("INSERT INTO specs VALUES (?, ?)", (seq, _spec(job)))
        store.execute(
            "UPDATE jobs SET state = 'ended', ended_ns = 9, reason = 'exit', result = ?"
            " WHERE seq = 1", (b"\x81\xa7version\x01",))  # fmt: skip
    own_daemon.start()
    assert result_of(own_daemon, queued)["exit_code"] == 6
    assert log_of(own_daemon, queued) == b"4001\n"
    with Wire(own_daemon) as alice:
        listed = [(job["job"], job["state"]) for job in alice.ok("list", ended=True)["jobs"]]
        assert listed == [(queued, "ended"), (ended, "ended")]
        assert alice.ok("doctor")["problems"] == []


def _spec(job: str) -> bytes:
    args = {"argv": ["sh", "-c", "id -u; exit 6"], "cwd": "/", "env": {"PATH": "/usr/bin:/bin"}}
    request = parsing.parse(messages.Submit, args)
    return spec.pack(spec.build(job, request, Account(4001, 4001, (), "alice"), Config()))
