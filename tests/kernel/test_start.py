"""How runnerd starts, and how it refuses to: one clear line, status 1, nothing touched."""

from __future__ import annotations

import grp
import os
import re
import socket
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.kernel import harness
from tests.kernel.harness import PROJECT, Daemon, wait_until
from tests.kernel.hostile import (
    Wire,
    connected,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def refused(daemon: Daemon, *options: str, uid: int = 0) -> str:
    """Start it, which must fail: its one line, without what the log says before."""
    done = subprocess.run(
        daemon.command(*options), cwd=PROJECT, user=uid, capture_output=True, text=True,
        timeout=20, check=False, env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    # Before it may stand what the log said while it was still well.
    *log, line = done.stderr.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d ", entry) for entry in log), done.stderr
    assert line.startswith("runnerd: cannot start: "), line
    return line.removeprefix("runnerd: cannot start: ")


@pytest.fixture
def other(own_daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A second daemon with places of its own; the first runs."""
    own_daemon.start()
    (tmp_path / "other").mkdir()
    with Daemon(tmp_path / "other") as daemon:
        yield daemon
        if daemon.running:
            daemon.stop()
    with own_daemon.client() as client:
        assert client.doctor()["state_dir"] == own_daemon.state_dir


# --- refusals ---


def test_it_must_be_root(own_daemon: Daemon, users: dict[str, int]) -> None:
    line = refused(own_daemon, "--config", os.devnull, uid=users["alice"])
    assert "root" in line
    assert "sudo runnerd" in line
    assert not os.path.exists(own_daemon.state_dir)


def test_a_second_one_on_the_same_state_directory_is_refused_and_harms_nothing(
    own_daemon: Daemon, other: Daemon
) -> None:
    line = refused(other, "--state-dir", own_daemon.state_dir)
    assert f"{own_daemon.state_dir}/lock is held by another runnerd" in line
    assert "stop it" in line


def test_a_second_one_on_the_same_cgroup_root_is_refused(own_daemon: Daemon, other: Daemon) -> None:
    line = refused(other, "--cgroup-root", own_daemon.cgroup_root)
    assert own_daemon.cgroup_root in line
    assert "held by another runnerd" in line


def test_a_second_one_on_the_same_socket_is_refused_and_the_first_still_serves(
    own_daemon: Daemon, other: Daemon
) -> None:
    line = refused(other, "--socket", own_daemon.socket)
    assert own_daemon.socket in line


def test_a_second_one_elsewhere_is_welcome(own_daemon: Daemon, other: Daemon) -> None:
    other.start()
    with other.client() as client:
        assert client.doctor()["cgroup_root"] == other.cgroup_root
    assert other.socket != own_daemon.socket


WRONG = {
    "unknown key": ("\n[jobs]\nmax_runing = 5\n", 3, "jobs.max_runing", "jobs.max_running"),
    "unknown table": ("[job]\nmax_running = 5\n", 1, "job", "jobs"),
    "wrong type": ('[jobs]\n\nmax_running = "five"\n', 3, "jobs.max_running", '"five"'),
    "out of bounds": ("[logs]\nsegment_bytes = 1\n", 2, "logs.segment_bytes", "4096"),
    "bad size": ('[jobs]\ndefault_memory_max = "12Q"\n', 2, "jobs.default_memory_max", "12Q"),
    "relative path": ('state_dir = "var"\n', 1, "state_dir", "absolute path"),
    "bad group": ('group = "a b"\n', 1, "group", "name of a group"),
    "unknown controller": ('required_controllers = ["cpus"]\n', 1, "required_controllers", "cpu"),
    "no TOML": ("group = runnerd\n", 1, "", "TOML"),
    "twice": ('group = "a"\ngroup = "b"\n', 2, "", "overwrite"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "number", "key", "hint"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration_is_refused_by_file_line_and_key(
    own_daemon: Daemon, text: str, number: int, key: str, hint: str
) -> None:
    own_daemon.config.write_text(text)
    line = refused(own_daemon)
    assert line.startswith(f"{own_daemon.config}:{number}: {key}"), line
    assert hint in line
    assert not os.path.exists(own_daemon.state_dir)


def test_a_configuration_that_is_named_and_not_there_is_refused(own_daemon: Daemon) -> None:
    os.unlink(own_daemon.config)
    line = refused(own_daemon)
    assert line == f"{own_daemon.config}: cannot be read: No such file or directory"


@pytest.mark.parametrize("root", ["/tmp/x", "/", "/sys/fs", "/sys/fs/cgroup/../../../tmp/x"])
def test_a_cgroup_root_that_is_not_on_cgroup2_is_refused_and_not_made(
    own_daemon: Daemon, root: str
) -> None:
    line = refused(own_daemon, "--cgroup-root", root)
    assert "cgroup" in line
    assert "x" not in os.listdir("/tmp")


def test_a_cgroup_root_with_processes_of_others_is_refused(own_daemon: Daemon) -> None:
    group = own_daemon.cgroup_root
    os.mkdir(group)
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        try:
            with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(sleeper.pid))
            line = refused(own_daemon)
            assert group in line
            assert "processes" in line
        finally:
            sleeper.kill()


def test_a_file_in_the_place_of_the_socket_is_refused_and_kept(own_daemon: Daemon) -> None:
    os.makedirs(os.path.dirname(own_daemon.socket))
    with open(own_daemon.socket, "w", encoding="ascii") as file:
        file.write("precious")
    line = refused(own_daemon)
    assert f"{own_daemon.socket} is there and is no socket" in line
    with open(own_daemon.socket, encoding="ascii") as file:
        assert file.read() == "precious"


def test_a_link_in_the_place_of_the_socket_is_refused_and_kept(own_daemon: Daemon) -> None:
    os.makedirs(os.path.dirname(own_daemon.socket))
    os.symlink("/run/elsewhere", own_daemon.socket)
    assert own_daemon.socket in refused(own_daemon)
    assert os.readlink(own_daemon.socket) == "/run/elsewhere"


def test_a_state_directory_of_another_user_is_refused(
    own_daemon: Daemon, users: dict[str, int]
) -> None:
    os.makedirs(own_daemon.state_dir)
    os.chown(own_daemon.state_dir, users["alice"], -1)
    line = refused(own_daemon)
    assert own_daemon.state_dir in line
    assert "must belong to root" in line
    assert os.listdir(own_daemon.state_dir) == []


def test_a_file_in_the_place_of_the_state_directory_is_refused(own_daemon: Daemon) -> None:
    os.makedirs(os.path.dirname(own_daemon.state_dir), exist_ok=True)
    with open(own_daemon.state_dir, "wb"):
        pass
    try:
        assert own_daemon.state_dir in refused(own_daemon)
    finally:
        os.unlink(own_daemon.state_dir)


def test_a_sound_database_of_another_program_is_refused_and_kept(own_daemon: Daemon) -> None:
    os.makedirs(own_daemon.state_dir)
    path = f"{own_daemon.state_dir}/runnerd.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE accounts (name TEXT)")
    line = refused(own_daemon)
    assert path in line
    assert "another program" in line
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("accounts",)]


def test_wrong_options_are_refused_by_name(own_daemon: Daemon) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runner.main", "--no-such-option"], cwd=PROJECT,
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr
    assert "--socket" in refused(own_daemon, "--socket", "/run/" + "x" * 120)


# --- a good start ---


def test_the_socket_is_for_the_group_and_the_state_for_root_alone(own_daemon: Daemon) -> None:
    own_daemon.start()
    found = os.stat(own_daemon.socket)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, grp.getgrgid(found.st_gid).gr_name) == (0, "runnerd")
    for path, dirs, files in os.walk(own_daemon.state_dir):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, path
        for name in (*dirs, *files):
            status = os.lstat(f"{path}/{name}")
            assert (status.st_uid, status.st_mode & 0o077) == (0, 0), name
    assert not os.stat(os.path.dirname(own_daemon.socket)).st_mode & 0o022


def test_a_state_directory_that_was_open_to_others_is_closed(own_daemon: Daemon) -> None:
    os.makedirs(own_daemon.state_dir, 0o755)
    os.chmod(own_daemon.state_dir, 0o777)  # noqa: S103 - somebody did
    own_daemon.start()
    assert stat.S_IMODE(os.stat(own_daemon.state_dir).st_mode) == 0o700


def test_the_umask_that_it_is_started_with_opens_nothing(own_daemon: Daemon) -> None:
    before = os.umask(0)
    try:
        own_daemon.start()
    finally:
        os.umask(before)
    with Wire(own_daemon, "alice") as alice:
        job = alice.ok("submit", {"argv": ["true"], "cwd": "/", "env": {}})["job"]
        alice.ok("wait", job=job)
    for path in (own_daemon.state_dir, f"{own_daemon.state_dir}/jobs/{job}"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    for name in ("lock", "runnerd.sqlite3", f"jobs/{job}/spec", f"jobs/{job}/exit"):
        assert not os.stat(f"{own_daemon.state_dir}/{name}").st_mode & 0o077, name
    assert not os.stat(os.path.dirname(own_daemon.socket)).st_mode & 0o022


def test_a_missing_group_is_a_warning_and_root_alone_may_connect(own_daemon: Daemon) -> None:
    own_daemon.config.write_text('group = "no-such-group"\n')
    own_daemon.start()
    text = own_daemon.log_text()
    assert "WARNING" in text
    assert "no-such-group" in text
    assert "groupadd" in text
    assert stat.S_IMODE(os.stat(own_daemon.socket).st_mode) & 0o077 == 0
    with Wire(own_daemon, "root") as root:
        assert "ok" in root.request("list")
    with pytest.raises(PermissionError):
        connected(own_daemon, "alice")
    done = own_daemon.runctl("ps", user="alice")
    assert done.returncode == 125
    assert "permission denied" in done.stderr


def test_the_socket_that_a_killed_one_left_is_replaced(own_daemon: Daemon) -> None:
    own_daemon.start()
    inode = os.stat(own_daemon.socket).st_ino
    own_daemon.kill()
    assert stat.S_ISSOCK(os.stat(own_daemon.socket).st_mode)
    with pytest.raises(ConnectionRefusedError):
        connected(own_daemon, "root")
    own_daemon.start()
    assert os.stat(own_daemon.socket).st_ino != inode or own_daemon.running


def test_a_socket_in_an_abandoned_place_is_replaced_on_the_first_start(own_daemon: Daemon) -> None:
    os.makedirs(os.path.dirname(own_daemon.socket))
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(own_daemon.socket)
    own_daemon.start()


def test_sigterm_and_sigint_end_it_cleanly_and_take_its_socket_away(own_daemon: Daemon) -> None:
    for _ in range(2):
        own_daemon.start()
        own_daemon.stop()
        assert not os.path.exists(own_daemon.socket)
        assert "stopping" in own_daemon.log_text()


def test_a_client_that_does_not_read_does_not_hold_up_the_end(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon, "alice") as deaf, Wire(own_daemon, "alice", greet=False):
        args = {"argv": ["head", "-c", "5000000", "/dev/zero"], "cwd": "/", "env": {}}
        job = deaf.ok("submit", args)["job"]
        deaf.ok("wait", job=job)
        deaf.send({"id": 9, "op": "logs", "args": {"job": job, "credit": 1024}})
        assert deaf.is_readable(5)
        own_daemon.stop()


def test_the_launchers_end_with_it(own_daemon: Daemon) -> None:
    own_daemon.start()
    kinds = {"python", harness.launcher}
    wait_until(lambda: set(own_daemon.launchers()) == kinds)
    launchers = own_daemon.launchers()
    own_daemon.kill()
    for pid in launchers.values():
        wait_until(lambda gone=pid: not os.path.exists(f"/proc/{gone}"))
