"""Ended jobs go when they are too many, too old or too large, or somebody asks; others never."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import uuid
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from runner.migrations import APPLICATION_ID, SCRIPTS
from tests.kernel.disks import fill_up, small_disk
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_users import output_of

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon

# What a job that says nothing takes: directories, spec, exit record.
LEAST_BYTES = 4096


def configure(daemon: Daemon, *lines: str) -> None:
    text = "[network]\nlinger_seconds = 0\n"
    daemon.config.write_text("\n".join([text, *lines, ""]))


def run_some(wire: Wire, count: int, *argv: str) -> list[str]:
    """Jobs that have ended, in the order of their ends."""
    ids = []
    for _ in range(count):
        ids.append(wire.ok("submit", submission(*argv))["job"])
        assert wire.ok("wait", job=ids[-1], timeout_seconds=60)["state"] == "ended"
    return ids


def copy_ended(daemon: Daemon, job: str, count: int) -> set[str]:
    """More jobs like an ended one, made while no daemon runs: much faster than to run them."""
    columns = (
        "submitted_by_uid, uid, gid, state, submitted_ns, started_ns, ended_ns, boot_id, reason, "
        "result, disk_bytes"
    )
    ids = {str(uuid.uuid4()) for _ in range(count)}
    with sqlite3.connect(f"{daemon.state_dir}/runnerd.sqlite3") as db:
        for copy in ids:
            made = db.execute(
                f"INSERT INTO jobs (id, {columns}) SELECT ?, {columns} FROM jobs WHERE id = ?",
                (copy, job),
            )
            db.execute(
                "INSERT INTO specs SELECT ?, spec FROM specs JOIN jobs USING (seq) WHERE id = ?",
                (made.lastrowid, job),
            )
            path = f"{daemon.state_dir}/jobs"
            shutil.copytree(f"{path}/{job}/log", f"{path}/{copy}/log")
            shutil.copyfile(f"{path}/{job}/spec", f"{path}/{copy}/spec")
    return ids


def jobs_of(wire: Wire) -> set[str]:
    found: set[str] = set()
    before = None
    while True:
        page = wire.ok("list", ended=True, limit=1000, before=before)
        found |= {job["job"] for job in page["jobs"]}
        before = page["next"]
        if before is None:
            return found


def directories(daemon: Daemon) -> set[str]:
    return set(os.listdir(f"{daemon.state_dir}/jobs"))


def disk_of(wire: Wire) -> Any:
    return wire.ok("doctor")["disk"]


class Going:
    """A job that runs, one that is paused and one that waits, which nothing may remove."""

    def __init__(self, wire: Wire) -> None:
        self.running, self.paused, self.queued = (
            wire.ok("submit", submission("sh", "-c", "echo begun; exec sleep 1000"))["job"]
            for _ in range(3)
        )
        for job in (self.running, self.paused):
            wait_until(lambda job=job: wire.ok("status", job=job)["state"] == "running")  # type: ignore[misc]
        wire.ok("pause", job=self.paused)
        self.all = {self.running, self.paused, self.queued}

    def check(self, wire: Wire, daemon: Daemon) -> None:
        states = [wire.ok("status", job=job)["state"]
                  for job in (self.running, self.paused, self.queued)]  # fmt: skip
        assert states == ["running", "paused", "queued"]
        assert {self.running, self.paused} <= directories(daemon)


# --- by the configuration ---


@pytest.mark.parametrize(
    ("lines", "stay"),
    [
        (["max_jobs = 3"], 3),
        (["max_jobs = 0"], 0),
        (["max_age_seconds = 1"], 0),
        (["max_bytes_per_user = '1M'"], 2),
    ],
)
def test_what_is_beyond_a_bound_goes_oldest_first_and_what_has_not_ended_stays(
    own_daemon: Daemon, lines: list[str], stay: int
) -> None:
    configure(own_daemon, "[jobs]", "max_running = 2", "[retention]", *lines)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        ids = run_some(alice, 6, "head", "-c", "400000", "/dev/zero")
        going = Going(alice)
        ended = set(ids[len(ids) - stay :])
        wait_until(lambda: jobs_of(alice) == ended | going.all, explain=lambda: jobs_of(alice))
        wait_until(lambda: directories(own_daemon) == ended | going.all - {going.queued})
        for job in ended:
            assert output_of(alice, job) == bytes(400_000)
        assert alice.error("status", job=ids[0])["code"] == "no-such-job"
        going.check(alice, own_daemon)


def test_a_bound_for_each_user_leaves_the_others_alone(own_daemon: Daemon) -> None:
    configure(own_daemon, "[retention]", "max_jobs_per_user = 2")
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        of_bob = run_some(bob, 2)
        of_alice = run_some(alice, 5)
        wait_until(lambda: jobs_of(alice) == set(of_alice[-2:]))
        assert jobs_of(bob) == set(of_bob)


def test_bounds_hold_for_what_ended_before_the_daemon_was_started(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        ids = run_some(alice, 6)
        taken = disk_of(alice)["jobs_bytes"]
        assert taken >= 6 * LEAST_BYTES
    own_daemon.stop()
    configure(own_daemon, "[retention]", f"max_bytes = {taken // 2}")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        wait_until(lambda: disk_of(alice)["jobs_bytes"] <= taken // 2)
        left = jobs_of(alice)
        assert left == set(ids[-len(left) :]) != set()


def test_who_waits_for_the_end_of_a_job_that_may_not_stay_hears_of_it(own_daemon: Daemon) -> None:
    configure(own_daemon, "[retention]", "max_jobs = 0")
    own_daemon.start()
    for status in (0, 7):
        done = own_daemon.runctl("run", "--", "sh", "-c", f"echo said; exit {status}", user="alice")
        assert (done.returncode, done.stdout) == (status, "said\n"), done.stderr


def test_events_are_trimmed(own_daemon: Daemon) -> None:
    configure(own_daemon, "[retention]", "max_events = 1000")
    own_daemon.start()
    own_daemon.kill()
    path = f"{own_daemon.state_dir}/runnerd.sqlite3"
    with sqlite3.connect(path) as db:
        db.executemany("INSERT INTO events (job_id, time_ns, kind) VALUES ('x', 1, 'submit')",
                       [()] * 5000)  # fmt: skip
    own_daemon.start()

    def events() -> tuple[int, int]:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
            found: tuple[int, int] = reader.execute(
                "SELECT count(*), max(seq) FROM events"
            ).fetchone()
        return found

    wait_until(lambda: events() == (1000, 5000), explain=events)


def make_older(path: str, version: int) -> None:
    """Put what a database holds into one of an earlier version, in its place."""
    older = f"{path}.older"
    with closing(sqlite3.connect(older, isolation_level=None)) as db:
        for script in SCRIPTS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("ATTACH ? AS newer", (path,))
        for table in ("jobs", "specs", "events"):
            names = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
    for end in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + end)
    os.rename(older, path)


def test_jobs_of_an_older_database_are_measured(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        run_some(alice, 2, "head", "-c", "400000", "/dev/zero")
        taken = disk_of(alice)["jobs_bytes"]
        assert taken > 800_000
    own_daemon.stop()
    make_older(f"{own_daemon.state_dir}/runnerd.sqlite3", 2)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        wait_until(lambda: disk_of(alice)["jobs_bytes"] == taken, explain=lambda: disk_of(alice))


# --- when somebody asks ---


def test_prune_removes_ones_own_ended_jobs_and_nothing_that_has_not_ended(
    own_daemon: Daemon,
) -> None:
    configure(own_daemon, "[jobs]", "max_running = 2")
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        ids, of_bob = run_some(alice, 5), run_some(bob, 1)
        going = Going(alice)
        taken = sum(user["bytes"] for user in disk_of(bob)["users"])
        assert bob.error("prune", everybody=True)["code"] == "not-permitted"
        assert bob.error("prune", user="alice")["code"] == "not-permitted"
        assert alice.ok("prune", older_than_seconds=3600) == {"jobs": 0, "bytes": 0, "removed": []}
        assert alice.ok("prune", keep=2, dry_run=True)["removed"] == ids[:3]
        assert alice.ok("prune", keep=2)["removed"] == ids[:3]
        assert alice.ok("prune")["removed"] == ids[3:]
        assert jobs_of(alice) == going.all
        going.check(alice, own_daemon)
        assert directories(own_daemon) == {going.running, going.paused, *of_bob}
        with Wire(own_daemon, "root") as root:
            pruned = root.ok("prune", everybody=True)
        assert pruned == {"jobs": 1, "bytes": taken, "removed": of_bob}
        going.check(alice, own_daemon)
        assert jobs_of(bob) == set()
    assert re.search(r"3 ended jobs \(\d+ bytes\) of uid 4001 removed, asked by uid 4001",
                     own_daemon.log_text())  # fmt: skip


def test_runctl_prunes_removes_by_force_and_shows_what_the_disk_holds(daemon: Daemon) -> None:
    with Wire(daemon) as alice:
        run_some(alice, 3)
        job = alice.ok("submit", submission("sleep", "1000", name="long"))["job"]
        wait_until(lambda: alice.ok("status", job=job)["state"] == "running")
    shown = daemon.runctl("doctor", user="alice")
    assert re.search(r"alice: [\d.]+ KiB in 4 jobs", shown.stdout), shown.stdout
    assert "bob" not in shown.stdout
    assert "database" in daemon.runctl("doctor").stdout
    done = daemon.runctl("rm", "long", user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    done = daemon.runctl("rm", "-f", "long", user="alice")
    assert (done.returncode, done.stdout) == (0, f"{job[:8]} removed\n"), done.stderr
    done = daemon.runctl("prune", "--keep", "1", "--dry-run", user="alice")
    assert re.fullmatch(r"would remove 2 jobs, [\d.]+ KiB\n", done.stdout), done.stderr
    done = daemon.runctl("prune", "--all-users", user="bob")
    assert done.returncode == 125
    assert "only root and the admin group" in done.stderr
    done = daemon.runctl("prune", "--user", "alice")
    assert re.fullmatch(r"removed 3 jobs, [\d.]+ KiB\n", done.stdout), done.stderr


def test_a_kill_in_the_middle_of_a_prune_leaves_no_half_of_a_job(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        (job,) = run_some(alice, 1)
    own_daemon.stop()
    ids = {job} | copy_ended(own_daemon, job, 1000)
    for _ in range(3):
        own_daemon.start()
        with Wire(own_daemon) as alice:
            left = jobs_of(alice)
            # What was begun is finished before anybody can ask.
            assert directories(own_daemon) == left <= ids
            alice.send({"id": 900, "op": "prune", "args": {}})
            wait_until(lambda left=left: len(directories(own_daemon)) < len(left) - 20)  # type: ignore[misc]
            own_daemon.kill()
        assert directories(own_daemon), "it was over before the kill"
    own_daemon.start()
    with Wire(own_daemon) as alice:
        left = jobs_of(alice)
        assert directories(own_daemon) == left
        assert 0 < len(left) < len(ids) - 40
        assert alice.ok("prune")["jobs"] == len(left)
        assert jobs_of(alice) == directories(own_daemon) == set()


def test_on_a_full_disk_prune_makes_room(own_daemon: Daemon) -> None:
    with small_disk(own_daemon, "24m"):
        own_daemon.start()
        with Wire(own_daemon) as alice:
            run_some(alice, 3, "head", "-c", "3000000", "/dev/zero")
            fill_up(own_daemon)
            assert disk_of(alice)["free_bytes"] == 0
            pruned = alice.ok("prune")
            assert pruned["jobs"] == 3
            assert pruned["bytes"] > 9_000_000
            assert disk_of(alice)["free_bytes"] > 9_000_000
            run_some(alice, 1, "head", "-c", "3000000", "/dev/zero")


def test_a_reader_of_a_job_that_is_removed_ends_well(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon) as reader, Wire(own_daemon) as waiter:
        (job,) = run_some(alice, 1, "head", "-c", "3000000", "/dev/zero")
        # It has had one piece, and asks for the next once there is none any more.
        args = {"job": job, "follow": True, "credit": 1}
        reader.send({"id": 900, "op": "logs", "args": args})
        first = reader.receive()
        assert first is not None
        assert first["seq"] == 1
        assert alice.ok("prune")["jobs"] == 1
        assert directories(own_daemon) == set()
        reader.send({"id": 900, "op": "credit", "args": {"events": 1000}})
        while (answer := reader.receive()) is not None and "event" in answer:
            pass
        assert answer is not None
        assert answer["error"]["code"] == "no-such-job", answer
        assert waiter.error("wait", job=job)["code"] == "no-such-job"


def test_runctl_that_follows_a_removed_job_says_so_without_a_traceback(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        (job,) = run_some(alice, 1, "head", "-c", "9000000", "/dev/zero")
        follower = own_daemon.spawn_runctl("logs", "-f", job, user="alice")
        assert follower.stdout is not None
        assert follower.stdout.read(1) == b"\0"
        # It cannot write further than its pipe is long, and so reads no further either.
        follower.send_signal(signal.SIGSTOP)
        alice.ok("remove", job=job)
        follower.send_signal(signal.SIGCONT)
        _, stderr = follower.communicate(timeout=30)
        assert follower.returncode == 125, stderr
        assert b"Traceback" not in stderr
        assert b"no such job" in stderr or b"removed" in stderr, stderr


def test_a_directory_that_cannot_be_removed_is_a_problem_and_stops_nothing(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        stuck, *others = run_some(alice, 4)
        path = f"{own_daemon.state_dir}/jobs/{stuck}"
        subprocess.run(["mount", "--bind", path, path], check=True)
        try:
            error = alice.error("remove", job=stuck)
            assert error["code"] == "store-error"
            assert "unmount" in error["detail"]
            assert alice.ok("prune")["removed"] == others
            assert jobs_of(alice) == {stuck}
            (problem,) = alice.ok("doctor")["problems"]
            assert problem["job"] == stuck
            assert bob.ok("doctor")["problems"] == []
        finally:
            subprocess.run(["umount", path], check=True)
        assert alice.ok("prune")["removed"] == [stuck]
        assert alice.ok("doctor")["problems"] == []
        assert directories(own_daemon) == set()
