"""What is killed, damaged or full may cost itself, and nothing else: no job, byte or exit code."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import sqlite3
import subprocess
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.kernel.disks import fill_up, free_bytes, small_disk
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_users import output_of, payload_pids
from tests.kernel.traces import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.harness import Daemon


def counting(last: int, pause: str = "0.02", status: int = 7) -> dict[str, Any]:
    """A job that prints 1 to `last`, one number at a time."""
    loop = f"i=0; while [ $i -lt {last} ]; do i=$((i+1)); echo $i; sleep {pause}; done"
    return submission("sh", "-c", f"{loop}; exit {status}")


def numbers(last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, last + 1))


def job_file(daemon: Daemon, job: str, name: str) -> str:
    return f"{daemon.state_dir}/jobs/{job}/{name}"


def has_ended(daemon: Daemon, job: str) -> bool:
    """Whether its monitor has written the record: for when no daemon can be asked."""
    return os.path.exists(job_file(daemon, job, "exit"))


def written(daemon: Daemon, job: str) -> int:
    """Bytes in the log's first segment."""
    with suppress(FileNotFoundError):
        return os.stat(job_file(daemon, job, f"log/{0:020}.log")).st_size
    return 0


def has_written(daemon: Daemon, job: str) -> bool:
    return written(daemon, job) > 0


def result_of(daemon: Daemon, job: str, seconds: float = 30) -> Any:
    with Wire(daemon, "root") as root:
        ended = root.ok("wait", job=job, timeout_seconds=seconds)
    assert ended["state"] == "ended", ended
    return ended["result"]


def log_of(daemon: Daemon, job: str) -> bytes:
    with Wire(daemon, "root") as root:
        return output_of(root, job)


# --- runnerd is killed ---


def test_a_kill_of_runnerd_costs_no_job_no_byte_and_no_exit_code(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        slow = alice.ok("submit", counting(300))["job"]
        brief = alice.ok("submit", counting(10, status=3))["job"]
        fast = alice.ok("submit", submission("seq", "1", "300000"))["job"]
        dying = alice.ok("submit", submission("sh", "-c", "sleep 0.5; kill -HUP $$"))["job"]
        wait_until(lambda: written(own_daemon, slow) > 0 and written(own_daemon, brief) > 0)
    own_daemon.kill()
    for job in (brief, fast, dying):
        wait_until(partial(has_ended, own_daemon, job))
    assert not has_ended(own_daemon, slow)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert {job["job"] for job in alice.ok("list", ended=True)["jobs"]} == {
            slow, brief, fast, dying,
        }  # fmt: skip
        assert alice.ok("status", job=slow)["state"] == "running"
    assert log_of(own_daemon, slow) == numbers(300)
    assert log_of(own_daemon, brief) == numbers(10)
    assert log_of(own_daemon, fast) == numbers(300_000)
    codes = [result_of(own_daemon, job)["exit_code"] for job in (slow, brief, fast)]
    assert codes == [7, 3, 0]
    assert result_of(own_daemon, dying)["reason"] == "signal"
    assert result_of(own_daemon, dying)["signal"] == signal.SIGHUP
    assert result_of(own_daemon, brief)["wall_ns"] < 10_000_000_000


def _said_to_run_but_not_committed(daemon: Daemon, *, has_waited: bool) -> str:
    """A job of a daemon that was killed in the moment between the two. It is down now."""
    seen = []
    for _ in range(20):
        daemon.start()
        with Wire(daemon) as alice:
            job = alice.ok("submit", submission("sleep", "1000"), hold=has_waited)["job"]
            if has_waited:
                alice.ok("release", job=job)
            # No pause in between: the moment is one of 50 ms.
            while (state := alice.ok("status", job=job)["state"]) != "running":
                assert state in {"queued", "starting"}
        daemon.kill()
        with _store(daemon) as store:
            seen += store.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
        if seen[-1] == "starting":
            return str(job)
    raise AssertionError(f"what was committed when it was killed: {seen}")


@pytest.mark.parametrize("has_waited", [False, True], ids=["at once", "from the queue"])
def test_a_job_that_ran_a_moment_before_the_kill_can_be_seen_changed_and_stopped(
    own_daemon: Daemon, *, has_waited: bool
) -> None:
    job = _said_to_run_but_not_committed(own_daemon, has_waited=has_waited)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        shown = alice.ok("status", job=job)
        assert (shown["state"], shown["attempt"]) == ("running", 1)
        assert shown["pid"] is not None
        alice.ok("update", job=job, limits={"timeout_seconds": 900, "pids_max": 50})
        shown = alice.ok("status", job=job)
        assert shown["limits"]["timeout_seconds"] == 900
        with open(f"{own_daemon.cgroup_root}/job-{job}/payload/pids.max") as file:
            assert file.read() == "50\n"
        assert alice.ok("stop", job=job, grace_seconds=1) == {"state": "running"}
        result = alice.ok("wait", job=job, timeout_seconds=60)["result"]
        assert (result["reason"], result["signal"]) == ("stopped", signal.SIGTERM)


def test_followers_outlive_a_kill_of_runnerd_and_miss_and_repeat_nothing(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", counting(80))["job"]
        follower = own_daemon.spawn_runctl("logs", "-f", job, user="alice")
        script = counting(80)["argv"]
        foreground = own_daemon.spawn_runctl("run", "--", *script, user="alice")
        other: list[str] = []

        def both_write() -> bool:
            other[:] = {shown["job"] for shown in alice.ok("list")["jobs"]} - {job}
            return bool(other) and all(written(own_daemon, each) > 50 for each in (job, *other))

        wait_until(both_write)
    # Both were given something by now, so that there is something to repeat.
    for process in (follower, foreground):
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 20)[0]
    own_daemon.kill()
    seen = written(own_daemon, job)
    wait_until(lambda: written(own_daemon, job) > seen + 40)
    own_daemon.start()
    for process, status in ((follower, 0), (foreground, 7)):
        stdout, stderr = process.communicate(timeout=60)
        assert stdout == numbers(80)
        assert process.returncode == status, stderr
        assert b"runnerd is away" in stderr
        assert b"runnerd is back" in stderr


def test_a_runnerd_with_another_cgroup_root_stays_where_the_jobs_are(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", submission("sleep", "1000"))["job"]
        wait_until(lambda: alice.ok("status", job=job)["state"] == "running")
    own_daemon.stop()
    former = own_daemon.cgroup_root
    own_daemon.cgroup_root = f"{former}-other"
    own_daemon.start()
    assert f"jobs have cgroups below {former}: it stays" in own_daemon.log_text()
    with Wire(own_daemon) as alice:
        assert alice.ok("status", job=job)["state"] == "running"
        alice.ok("stop", job=job)
    assert result_of(own_daemon, job)["reason"] == "stopped"
    own_daemon.stop()
    own_daemon.start()
    with own_daemon.client() as client:
        assert client.doctor()["cgroup_root"] == f"{former}-other"
    # Ours to remove: the daemon of this test has one root only.
    os.rmdir(former)


def test_a_timeout_is_kept_while_runnerd_is_away(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        limited = submission("sh", "-c", "echo begun; exec sleep 1000",
                             limits={"timeout_seconds": 2})  # fmt: skip
        job = alice.ok("submit", limited)["job"]
        wait_until(lambda: written(own_daemon, job) > 0)
    own_daemon.kill()
    wait_until(lambda: has_ended(own_daemon, job))
    own_daemon.start()
    result = result_of(own_daemon, job)
    assert (result["reason"], result["exit_status"]) == ("timeout", 124)
    assert 2 <= result["wall_ns"] / 1e9 < 8


def test_a_stop_that_was_asked_before_the_kill_is_carried_out(own_daemon: Daemon) -> None:
    own_daemon.start()
    stubborn = submission("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", stubborn)["job"]
        wait_until(lambda: written(own_daemon, job) > 0)
        alice.ok("stop", job=job, grace_seconds=1)
    own_daemon.kill()
    wait_until(lambda: has_ended(own_daemon, job))
    own_daemon.start()
    result = result_of(own_daemon, job)
    assert (result["reason"], result["signal"]) == ("stopped", signal.SIGKILL)
    assert result["stopped_by_uid"] == 4001


def test_sigterm_ends_runnerd_well_and_its_jobs_go_on(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", counting(60))["job"]
        wait_until(lambda: written(own_daemon, job) > 0)
        alice.send({"id": 50, "op": "wait", "args": {"job": job}})
        own_daemon.stop()
        assert all("error" in message for message in alice.last_words())
    seen = written(own_daemon, job)
    wait_until(lambda: written(own_daemon, job) > seen)
    own_daemon.start()
    assert log_of(own_daemon, job) == numbers(60)
    assert result_of(own_daemon, job)["exit_code"] == 7


def test_a_restart_keeps_the_queue_in_its_order(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    gate = "/home/alice/gate"
    order = "/home/alice/order"
    own_daemon.start()
    with Wire(own_daemon) as alice:
        wait_for_gate = submission("sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done")
        first = alice.ok("submit", wait_for_gate)["job"]
        wait_until(lambda: alice.ok("status", job=first)["state"] == "running")
        jobs = [
            alice.ok("submit", submission("sh", "-c", f"echo {number} >> {order}"))["job"]
            for number in range(6)
        ]
        alice.ok("stop", job=jobs[3])
        for _ in range(2):
            own_daemon.kill()
            own_daemon.start()
    with Wire(own_daemon) as alice:
        states = {shown["job"]: shown["state"] for shown in alice.ok("list")["jobs"]}
        assert states == {first: "running", **{job: "queued" for job in jobs if job != jobs[3]}}
        with open(gate, "wb"):
            pass
        assert [result_of(own_daemon, job)["exit_status"] for job in jobs] == [0, 0, 0, 143, 0, 0]
    with open(order, encoding="ascii") as file:
        assert file.read().split() == ["0", "1", "2", "4", "5"]
    os.unlink(order)
    os.unlink(gate)


def test_a_queued_job_is_stopped_at_once_and_never_runs(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        running = alice.ok("submit", submission("sleep", "1000"))["job"]
        queued = alice.ok("submit", submission("touch", "/home/alice/ran"))["job"]
        alice.ok("stop", job=queued, grace_seconds=3600)
        shown = alice.ok("status", job=queued)
        assert shown["state"] == "ended"
        assert shown["started_ns"] is None
        result = shown["result"]
        assert (result["reason"], result["exit_status"]) == ("stopped", 143)
        assert alice.ok("stop", job=queued) == {"state": "ended"}
        alice.ok("stop", job=running, kill=True)
        alice.ok("wait", job=running)
        third = alice.ok("submit", submission("true"))["job"]
        assert alice.ok("wait", job=third)["result"]["exit_code"] == 0
    assert not os.path.exists("/home/alice/ran")


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments_lose_no_accepted_job_and_run_none_twice(
    own_daemon: Daemon, seed: int
) -> None:
    """50 jobs, killed again and again meanwhile; the queue is longer than what may run."""
    own_daemon.config.write_text("[jobs]\nmax_running = 4\n")
    chance = random.Random(seed)
    lines = f"/home/alice/lines-{seed}"
    accepted: dict[int, str] = {}
    number = 0
    own_daemon.start()
    while number < 50:
        killer = _kill_after(own_daemon, chance.uniform(0.01, 0.25))
        # However fast the machine is, some rounds are needed, and a kill ends each.
        last = min(50, number + chance.randint(4, 12))
        with suppress(ConnectionError, AssertionError), Wire(own_daemon) as alice:
            while number < last:
                number += 1
                accepted[number] = alice.ok("submit", _appending(lines, number))["job"]
        killer.wait()
        own_daemon.kill()
        own_daemon.start()
    try:
        with Wire(own_daemon) as alice:
            for each, job in accepted.items():
                result = alice.ok("wait", job=job, timeout_seconds=60)["result"]
                assert (result["reason"], result["exit_code"]) == ("exit", each), result
                assert output_of(alice, job) == b"%d\n" % each
        with open(lines, encoding="ascii") as file:
            ran = sorted(int(line) for line in file)
        assert len(ran) == len(set(ran)), "a job ran twice"
        # Those whose answer was lost with the connection may have been accepted.
        assert set(accepted) <= set(ran) <= set(range(1, 51))
        assert len(accepted) > 30
        assert own_daemon.log_text().count("ready on") > 3
    finally:
        os.unlink(lines)


def _kill_after(daemon: Daemon, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", f"sleep {seconds:.3f}; kill -9 {daemon.pid}"])


def _appending(path: str, number: int) -> dict[str, Any]:
    """A job that leaves one line in a file, prints its number and exits with it."""
    return submission("sh", "-c", f"echo {number} >> {path}; echo {number}; exit {number}")


def test_a_store_that_somebody_holds_locked_is_waited_for(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, _store(own_daemon) as store:
        job = alice.ok("submit", counting(10))["job"]
        wait_until(lambda: alice.ok("status", job=job)["state"] == "running")
        store.execute("BEGIN IMMEDIATE")
        wait_until(lambda: has_ended(own_daemon, job))
        error = alice.error("submit", submission("true"))
        assert error["code"] == "store-error"
        assert "locked" in error["detail"]
        store.rollback()
        assert alice.ok("wait", job=job)["result"]["exit_code"] == 7
        after = alice.ok("submit", submission("echo", "after"))["job"]
        assert output_of(alice, after) == b"after\n"
        assert len(alice.ok("list", ended=True)["jobs"]) == 2


# --- launcher and monitors are killed ---


def test_a_killed_launcher_is_replaced_and_nobody_notices(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", counting(60))["job"]
        wait_until(lambda: written(own_daemon, job) > 0)
        for _ in range(3):
            launchers = own_daemon.launchers()
            for pid in launchers.values():
                os.kill(pid, signal.SIGKILL)
            # Asked for while there is none: it must not be lost.
            new = alice.ok("submit", submission("echo", "new"))["job"]
            assert output_of(alice, new) == b"new\n"
            for kind, pid in launchers.items():
                own_daemon.launcher_other_than(kind, pid)
        assert output_of(alice, job) == numbers(60)
        assert result_of(own_daemon, job)["exit_code"] == 7
        # A daemon that is killed with its launchers leaves nothing that holds its locks.
        for pid in own_daemon.launchers().values():
            os.kill(pid, signal.SIGKILL)
    own_daemon.kill()
    own_daemon.start()


def test_a_launcher_killed_again_and_again_runs_each_job_once(own_daemon: Daemon) -> None:
    own_daemon.start()
    chance = random.Random(4)
    lines = "/home/alice/launched"
    with Wire(own_daemon) as alice:
        jobs = {}
        for number in range(1, 21):
            jobs[number] = alice.ok("submit", _appending(lines, number))["job"]
            if chance.random() < 0.4:
                for pid in own_daemon.launchers().values():
                    # One alone, or both: those that are left do the work meanwhile.
                    if chance.random() < 0.7:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        codes = {n: result_of(own_daemon, job)["exit_code"] for n, job in jobs.items()}
    assert codes == {number: number for number in jobs}
    with open(lines, encoding="ascii") as file:
        assert sorted(int(line) for line in file) == list(jobs)
    os.unlink(lines)


@pytest.mark.parametrize("away", [False, True], ids=["under runnerd", "while runnerd is away"])
def test_a_killed_monitor_takes_its_whole_job_along_and_the_job_is_lost(
    own_daemon: Daemon, *, away: bool
) -> None:
    own_daemon.start()
    daemonizing = "setsid sleep 1000 & (sleep 1000 &) ; echo begun; exec sleep 1000"
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", submission("sh", "-c", daemonizing))["job"]
        other = alice.ok("submit", counting(40))["job"]
        wait_until(lambda: written(own_daemon, job) > 0 and written(own_daemon, other) > 0)
        wait_until(lambda: len(payload_pids(own_daemon, job)) == 3)
        pids = payload_pids(own_daemon, job)
        monitor = alice.ok("status", job=job)["pid"]
    if away:
        own_daemon.kill()
    os.kill(monitor, signal.SIGKILL)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    if away:
        own_daemon.start()
    result = result_of(own_daemon, job)
    assert (result["reason"], result["exit_status"]) == ("lost", 125)
    assert result["detail"]
    assert log_of(own_daemon, job) == b"begun\n"
    assert not os.path.exists(f"{own_daemon.cgroup_root}/job-{job}")
    assert log_of(own_daemon, other) == numbers(40)


def test_more_stops_than_a_monitor_that_hangs_can_take_are_all_answered(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", submission("sh", "-c", "echo begun; exec sleep 1000"))["job"]
        wait_until(lambda: written(own_daemon, job) > 0)
        monitor = alice.ok("status", job=job)["pid"]
        control = os.open(job_file(own_daemon, job, "control"), os.O_RDWR)
        fcntl.fcntl(control, fcntl.F_SETPIPE_SZ, 4096)
        os.kill(monitor, signal.SIGSTOP)
        try:
            for _ in range(400):
                assert alice.ok("stop", job=job, grace_seconds=10) == {"state": "running"}
        finally:
            os.kill(monitor, signal.SIGCONT)
            os.close(control)
        result = alice.ok("wait", job=job, timeout_seconds=60)["result"]
        assert (result["reason"], result["signal"]) == ("stopped", signal.SIGTERM)


# --- damage ---

DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _data: b"",
    "zeros": lambda data: bytes(len(data)),
    "cut off": lambda data: data[: len(data) // 2],
    "noise": lambda data: random.Random(1).randbytes(len(data)),
    "longer": lambda data: data + b"\xc0",
    "a list": lambda _data: msgpack.packb([1, 2]),
    "without fields": lambda _data: msgpack.packb({"version": 1}),
    "of another version": lambda data: _with(data, version=2),
    "nested deep": lambda _data: b"\x91" * 5000,
}


def _with(data: bytes, **fields: Any) -> bytes:
    record = msgpack.unpackb(data, strict_map_key=False)
    packed: bytes = msgpack.packb({**record, **fields}, use_bin_type=True)
    return packed


EXIT_DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    **DAMAGED,
    "with wrong types": lambda data: _with(data, exit_status="7", ended_ns=None, reason=5),
    "an unknown reason": lambda data: _with(data, reason="bored"),
    "of another job": lambda data: _with(data, job="00000000-0000-4000-8000-000000000000"),
    "times beyond any": lambda data: _with(data, ended_ns=2**64 - 1, started_ns=-(2**63)),
}


def test_a_damaged_exit_record_costs_the_one_job_its_result(own_daemon: Daemon) -> None:
    own_daemon.start()
    gate = "/home/alice/gate"
    waiting = submission("sh", "-c", f"echo out; until [ -e {gate} ]; do sleep 0.1; done; exit 3")
    with Wire(own_daemon) as alice:
        jobs = {kind: alice.ok("submit", waiting)["job"] for kind in [*EXIT_DAMAGED, "a directory"]}
        sound = alice.ok("submit", waiting)["job"]
        for job in (*jobs.values(), sound):
            wait_until(partial(has_written, own_daemon, job))
    own_daemon.kill()
    with open(gate, "wb"):
        pass
    for job in (*jobs.values(), sound):
        wait_until(partial(has_ended, own_daemon, job))
    os.unlink(gate)
    for kind, damage in EXIT_DAMAGED.items():
        _damage(job_file(own_daemon, jobs[kind], "exit"), damage)
    os.unlink(job_file(own_daemon, jobs["a directory"], "exit"))
    os.mkdir(job_file(own_daemon, jobs["a directory"], "exit"))
    own_daemon.start()
    assert result_of(own_daemon, sound)["exit_code"] == 3
    for kind, job in jobs.items():
        result = result_of(own_daemon, job)
        assert result["reason"] == "lost", (kind, result)
        assert result["exit_status"] == 125
        assert log_of(own_daemon, job) == b"out\n"
    listed = own_daemon.runctl("ps", "--all", user="alice")
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == len(jobs) + 2


def _damage(path: str, damage: Callable[[bytes], bytes]) -> None:
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(damage(data))


SPEC_DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    **DAMAGED,
    "argv of text": lambda data: _with(data, argv="true"),
    "uid of text": lambda data: _with(data, uid="root"),
    "limits of a list": lambda data: _with(data, limits=[]),
    "no such network": lambda data: _with(data, network="moon"),
    "another's uid": lambda data: _with(data, uid=4002),
    "root's uid": lambda data: _with(data, uid=0),
    "the uid that changes nothing": lambda data: _with(data, uid=2**32 - 1),
    "a negative uid": lambda data: _with(data, uid=-1),
    "another's job": lambda data: _with(data, job="00000000-0000-4000-8000-000000000000"),
}


def test_a_damaged_spec_costs_the_one_queued_job_its_start(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        first = alice.ok("submit", submission("sleep", "1000"))["job"]
        jobs = {kind: alice.ok("submit", submission("true"))["job"] for kind in SPEC_DAMAGED}
        sound = alice.ok("submit", submission("echo", "sound"))["job"]
    own_daemon.kill()
    with _store(own_daemon) as store:
        for kind, damage in SPEC_DAMAGED.items():
            _damage_blob(store, "spec", jobs[kind], damage)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert len(alice.ok("list")["jobs"]) == len(jobs) + 2
        for job in jobs.values():
            assert alice.ok("status", job=job)["state"] == "queued"
        alice.ok("stop", job=first, kill=True)
        assert output_of(alice, sound) == b"sound\n"
        for kind, job in jobs.items():
            result = alice.ok("wait", job=job, timeout_seconds=60)["result"]
            assert result, (kind, "has not ended")
            assert result["reason"] in ("launch-error", "lost"), (kind, result)
            assert result["exit_status"] == 125
            alice.ok("remove", job=job)
    assert own_daemon.runctl("ps", "--all", user="alice").returncode == 0


def test_damaged_results_and_limits_hide_no_other_job_and_can_be_removed(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    limited = submission("true", limits={"memory_max_bytes": 2**26})
    with Wire(own_daemon) as alice:
        of_result = {kind: alice.ok("submit", limited)["job"] for kind in DAMAGED}
        of_limits = {kind: alice.ok("submit", limited)["job"] for kind in ("noise", "a list")}
        jobs = [*of_result.values(), *of_limits.values()]
        sound = alice.ok("submit", limited)["job"]
        for job in (*jobs, sound):
            alice.ok("wait", job=job)
    own_daemon.kill()
    with _store(own_daemon) as store:
        for blob, damaged in (("result", of_result), ("limits", of_limits)):
            for kind, job in damaged.items():
                _damage_blob(store, blob, job, DAMAGED[kind])
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert len(alice.ok("list", ended=True)["jobs"]) == len(jobs) + 1
        assert alice.ok("status", job=sound)["result"]["exit_code"] == 0
        for job in jobs:
            assert alice.ok("status", job=job)["state"] == "ended"
    for words in (["ps", "--all"], ["status", jobs[0]], ["status", jobs[-1]]):
        done = own_daemon.runctl(*words, user="alice")
        assert (done.returncode, done.stderr) == (0, "")
    with Wire(own_daemon) as alice:
        for job in (*jobs, sound):
            alice.ok("remove", job=job)


@contextmanager
def _store(daemon: Daemon) -> Iterator[sqlite3.Connection]:
    """The database of a daemon that is down."""
    database = sqlite3.connect(f"{daemon.state_dir}/runnerd.sqlite3")
    try:
        with database:
            yield database
    finally:
        database.close()


# (read, write) of one blob of a job.
BLOBS = {
    field: (
        f"SELECT {field} FROM {table} WHERE seq = (SELECT seq FROM jobs WHERE id = ?)",
        f"UPDATE {table} SET {field} = ? WHERE seq = (SELECT seq FROM jobs WHERE id = ?)",
    )
    for field, table in (("spec", "specs"), ("result", "jobs"), ("limits", "jobs"))
}


def _damage_blob(
    store: sqlite3.Connection, blob: str, job: str, damage: Callable[[bytes], bytes]
) -> None:
    read, write = BLOBS[blob]
    (data,) = store.execute(read, (job,)).fetchone()
    assert store.execute(write, (damage(data), job)).rowcount == 1


def test_a_damaged_log_shows_what_can_be_trusted_and_harms_no_other(own_daemon: Daemon) -> None:
    own_daemon.start()
    index = f"log/{0:020}.idx"
    log = f"log/{0:020}.log"
    damages: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda _data: b"",
        "torn": lambda data: data[:-5],
        "noise": lambda data: random.Random(3).randbytes(len(data)),
        "huge lengths": lambda data: data[:16] + b"\xff\xff\xff\xff" + data[20:],
        "backwards": lambda data: b"".join(
            data[at : at + 24] for at in range(len(data) - 24, -1, -24)
        ),
    }
    with Wire(own_daemon) as alice:
        jobs = {kind: alice.ok("submit", counting(20, "0.01", 0))["job"] for kind in damages}
        no_data = alice.ok("submit", counting(20, "0.01", 0))["job"]
        sound = alice.ok("submit", counting(20, "0.01", 0))["job"]
        for job in (*jobs.values(), no_data, sound):
            alice.ok("wait", job=job)
        for kind, damage in damages.items():
            _damage(job_file(own_daemon, jobs[kind], index), damage)
        _damage(job_file(own_daemon, no_data, log), lambda data: data[:7])
        for kind, job in (*jobs.items(), ("no data", no_data)):
            for follow in (False, True):
                shown = _shown_log(alice, job, follow=follow)
                assert numbers(20).startswith(shown), kind
            refused = alice.error("logs", job=job, cursor=2**63 - 1)
            assert refused["field"] == "cursor"
        assert output_of(alice, sound) == numbers(20)


def _shown_log(wire: Wire, job: str, *, follow: bool) -> bytes:
    wire.send({"id": 3_000_000_000, "op": "logs", "args": {"job": job, "follow": follow}})
    data = b""
    while "event" in (message := wire.receive() or {}):
        data += message["event"].get("data", b"")
    assert "ok" in message, message
    return data


def test_a_job_directory_that_is_gone_costs_the_job_its_log_and_nothing_else(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", submission("echo", "x"))["job"]
        alice.ok("wait", job=job)
        subprocess.run(["rm", "-rf", f"{own_daemon.state_dir}/jobs/{job}"], check=True)
        assert alice.ok("status", job=job)["result"]["exit_code"] == 0
        alice.send({"id": 3, "op": "logs", "args": {"job": job}})
        gap = {"gap_bytes": 2, "offset": 2, "why": "damaged"}
        assert (alice.receive() or {})["event"] == gap
        assert "ok" in (alice.receive() or {})
        alice.ok("remove", job=job)


# --- a full disk ---

# What the monitor takes from a pipe at once: a disk without room for it is full.
BUFFER_BYTES = 256 * 1024


def test_on_a_full_disk_a_job_waits_for_room_and_nothing_is_lost(own_daemon: Daemon) -> None:
    with small_disk(own_daemon, "16m") as resize:
        own_daemon.start()
        filling = submission("sh", "-c", "head -c 20000000 /dev/zero; exit 5")
        gate = "/home/alice/gate"
        ending = submission("sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done; exit 6")
        with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
            before = alice.ok("submit", ending)["job"]
            wait_until(lambda: alice.ok("status", job=before)["state"] == "running")
            full = alice.ok("submit", filling)["job"]
            wait_until(lambda: free_bytes(own_daemon) < BUFFER_BYTES)
            fill_up(own_daemon)
            seen = written(own_daemon, full)
            held = descriptors(own_daemon.pid)
            # The others are answered, and a job that ends keeps its code.
            assert alice.ok("status", job=full)["state"] == "running"
            assert bob.ok("list")["jobs"] == []
            with open(gate, "wb"):
                pass
            wait_until(lambda: has_ended(own_daemon, before))
            for _ in range(5):
                _try_to_run(bob)
            assert written(own_daemon, full) - seen < 1_000_000
            assert alice.ok("status", job=full)["state"] == "running"
            wait_until(lambda: len(descriptors(own_daemon.pid)) <= len(held),
                       explain=lambda: descriptors(own_daemon.pid))  # fmt: skip
            resize("64m")
            assert output_of(alice, full) == bytes(20_000_000)
            assert result_of(own_daemon, full)["exit_code"] == 5
            assert result_of(own_daemon, before)["exit_code"] == 6
            after = bob.ok("submit", submission("echo", "after"))["job"]
            assert output_of(bob, after) == b"after\n"
            for shown in bob.ok("list", ended=True)["jobs"]:
                assert bob.ok("wait", job=shown["job"], timeout_seconds=60)["state"] == "ended"
        os.unlink(gate)


def _try_to_run(wire: Wire) -> None:
    """There is hardly room: refused, or accepted, and then it waits, runs or cannot be launched."""
    answer = wire.request("submit", submission("true"))
    if "ok" in answer:
        shown = wire.ok("wait", job=answer["ok"]["job"], timeout_seconds=0.5)
        assert shown["result"] is None or shown["result"]["reason"] != "lost"
    else:
        assert answer["error"]["detail"]


def test_a_kill_of_runnerd_on_a_full_disk_costs_nothing_either(own_daemon: Daemon) -> None:
    with small_disk(own_daemon, "16m") as resize:
        own_daemon.start()
        with Wire(own_daemon) as alice:
            filling = submission("sh", "-c", "head -c 12000000 /dev/zero; exit 5")
            job = alice.ok("submit", filling)["job"]
            wait_until(lambda: free_bytes(own_daemon) < BUFFER_BYTES)
        own_daemon.kill()
        resize("64m")
        wait_until(lambda: has_ended(own_daemon, job))
        own_daemon.start()
        assert log_of(own_daemon, job) == bytes(12_000_000)
        assert result_of(own_daemon, job)["exit_code"] == 5


def test_a_stop_that_its_monitor_does_not_hear_ends_the_job_all_the_same(
    own_daemon: Daemon,
) -> None:
    """A monitor that hangs (it is stopped here) must not keep what it was told to end."""
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job, monitor = _sleeping(alice)
        try:
            payload = f"{own_daemon.cgroup_root}/job-{job}/payload/cgroup.events"
            wait_until(lambda: "populated 1" in _text(payload))
            os.kill(monitor, signal.SIGSTOP)
            alice.ok("stop", job=job, kill=True)
            wait_until(lambda: "populated 0" in _text(payload))
        finally:
            os.kill(monitor, signal.SIGCONT)
        assert alice.ok("wait", job=job, timeout_seconds=60)["result"]["reason"] == "stopped"


def test_a_cgroup_that_was_removed_in_part_does_not_keep_the_daemon_from_starting(
    own_daemon: Daemon,
) -> None:
    """Kill -9 in the middle of a clean-up: the job is lost, and the next daemon says so."""
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job, monitor = _sleeping(alice)
    own_daemon.kill()
    os.kill(monitor, signal.SIGKILL)
    cgroup = f"{own_daemon.cgroup_root}/job-{job}"
    wait_until(lambda: _removed(f"{cgroup}/payload"))
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert alice.ok("wait", job=job, timeout_seconds=60)["result"]["reason"] == "lost"
    assert not os.path.exists(cgroup)


def _sleeping(alice: Wire) -> tuple[str, int]:
    """A job that runs until it is ended, and the pid of its monitor."""
    job = alice.ok("submit", submission("sleep", "1000"))["job"]
    wait_until(lambda: alice.ok("status", job=job)["state"] == "running")
    return job, alice.ok("status", job=job)["pid"]


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _removed(path: str) -> bool:
    with suppress(OSError):
        os.rmdir(path)
    return not os.path.exists(path)


def test_on_a_full_disk_jobs_can_still_be_stopped_and_removed(own_daemon: Daemon) -> None:
    """Removing is how room is made, so it must work when there is none."""
    with small_disk(own_daemon, "20m"):
        own_daemon.start()
        with Wire(own_daemon) as alice:
            old = alice.ok("submit", submission("head", "-c", "4000000", "/dev/zero"))["job"]
            assert alice.ok("wait", job=old, timeout_seconds=60)["state"] == "ended"
            full = alice.ok("submit", submission("head", "-c", "20000000", "/dev/zero"))["job"]
            wait_until(lambda: free_bytes(own_daemon) < BUFFER_BYTES)
            fill_up(own_daemon)
            features = {each["name"]: each for each in alice.ok("doctor")["features"]}
            assert features["state-dir-room"]["status"] == "unavailable"
            alice.ok("stop", job=full, kill=True)
            assert alice.ok("remove", job=old) == {"job": old}
            ended = alice.ok("wait", job=full, timeout_seconds=60)
            assert ended["result"]["reason"] == "stopped"
            assert alice.ok("remove", job=full) == {"job": full}


def test_a_daemon_starts_on_a_full_disk_and_stores_what_ended_meanwhile(
    own_daemon: Daemon,
) -> None:
    with small_disk(own_daemon, "16m"):
        own_daemon.start()
        with Wire(own_daemon) as alice:
            job = alice.ok("submit", submission("sleep", "1"))["job"]
            wait_until(lambda: alice.ok("status", job=job)["state"] == "running")
        own_daemon.kill()
        wait_until(lambda: has_ended(own_daemon, job))
        fill_up(own_daemon)
        own_daemon.start()
        assert result_of(own_daemon, job)["exit_code"] == 0
