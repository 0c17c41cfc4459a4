"""A job that is paused stands still, and a limit that is changed holds: over a crash too."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from runner import records
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.inside import payload_cgroup, pids, python
from tests.kernel.test_survival import job_file, log_of, result_of, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

MIB = 1024 * 1024
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"
BURN = "import os; [os.fork() for _ in range({})]\nwhile True: pass"
# Holds so much memory that was written to.
HOLD = "import time; held = bytearray({}); print('ready', flush=True); time.sleep(1000)"
IGNORES = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def alice(daemon: Daemon) -> Iterator[Wire]:
    with Wire(daemon, "alice") as wire:
        yield wire


def start(wire: Wire, *argv: str, **more: Any) -> str:
    """Submit a job; its id once it runs."""
    job: str = wire.ok("submit", submission(*argv, **more))["job"]
    wait_until(lambda: state_of(wire, job) != "queued")
    wait_until(lambda: state_of(wire, job) != "starting")
    return job


def shell(wire: Wire, script: str, **more: Any) -> str:
    return start(wire, "sh", "-c", script, **more)


def state_of(wire: Wire, job: str) -> str:
    state: str = wire.ok("status", job=job)["state"]
    return state


def end_of(wire: Wire, job: str, seconds: float = 30) -> Any:
    """The result of a job that ends by itself, or was told to."""
    ended = wire.ok("wait", job=job, timeout_seconds=seconds)
    assert ended["state"] == "ended", ended
    return ended["result"]


def kernel_value(daemon: Daemon, job: str, file: str) -> str:
    """What a file of the job's cgroup says: memory and pids are the payload's."""
    below = "" if file.startswith(("cpu.", "io.")) else "/payload"
    with open(f"{daemon.cgroup_root}/job-{job}{below}/{file}", encoding="ascii") as opened:
        return opened.read().strip()


def is_frozen(daemon: Daemon, job: str) -> bool:
    return "frozen 1" in kernel_value(daemon, job, "cgroup.events")


def has_frozen(daemon: Daemon, job: str, *, frozen: bool) -> bool:
    return is_frozen(daemon, job) == frozen


def stands_still(daemon: Daemon, job: str, seconds: float = 0.4) -> bool:
    """Whether nothing is written for a while in which much would be."""
    before, until = written(daemon, job), time.monotonic() + seconds
    while time.monotonic() < until:
        if written(daemon, job) != before:
            return False
    return True


def is_counting(daemon: Daemon, job: str) -> None:
    before = written(daemon, job)
    wait_until(lambda: written(daemon, job) > before)


# --- pausing ---


def test_a_paused_job_stands_still_and_goes_on_where_it_was(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, COUNTER)
    is_counting(daemon, job)
    assert alice.ok("pause", job=job) == {"job": job, "state": "paused"}
    assert is_frozen(daemon, job)
    shown = alice.ok("status", job=job)
    assert (shown["state"], shown["usage"]["pids"] > 0) == ("paused", True)
    assert shown["pid"] is not None
    assert stands_still(daemon, job)
    assert [entry["state"] for entry in alice.ok("list")["jobs"]] == ["paused"]
    assert alice.ok("resume", job=job) == {"job": job, "state": "running"}
    is_counting(daemon, job)
    alice.ok("stop", job=job)
    result = end_of(alice, job)
    assert result["reason"] == "stopped"
    assert 300_000_000 < result["paused_ns"] < result["wall_ns"]
    lines = log_of(daemon, job).split()
    assert lines == [b"%d" % number for number in range(1, len(lines) + 1)]


def test_pausing_again_and_resuming_what_runs_is_harmless(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, "sleep 1000")
    assert alice.ok("resume", job=job)["state"] == "running"
    for _ in range(2):
        assert alice.ok("pause", job=job)["state"] == "paused"
    for _ in range(2):
        assert alice.ok("resume", job=job)["state"] == "running"
    alice.ok("stop", job=job, kill=True)
    assert end_of(alice, job)["reason"] == "stopped"


def test_what_is_not_running_cannot_be_paused(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, "exit 0")
    end_of(alice, job)
    for op in ("pause", "resume"):
        error = alice.error(op, job=job)
        assert (error["code"], error["given"]) == ("job-state", "ended")
    error = alice.error("update", job=job, limits={"pids_max": 5})
    assert (error["code"], error["given"]) == ("job-state", "ended")


def test_a_job_that_is_being_stopped_is_not_paused(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, IGNORES)
    wait_until(lambda: written(daemon, job) > 0)
    alice.ok("stop", job=job, grace_seconds=3000)
    error = alice.error("pause", job=job)
    assert error["code"] == "job-state"
    assert "stopped" in error["detail"]
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


def test_a_stop_of_a_paused_job_is_heard_and_its_grace_runs(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, "trap 'echo heard; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    wait_until(lambda: written(daemon, job) > 0)
    alice.ok("pause", job=job)
    assert alice.ok("stop", job=job, grace_seconds=20)["state"] == "paused"
    result = end_of(alice, job)
    assert (result["reason"], result["exit_code"]) == ("stopped", 5)
    assert b"heard" in log_of(daemon, job).split()


def test_a_paused_job_that_ignores_a_stop_is_killed_after_its_grace(
    daemon: Daemon, alice: Wire
) -> None:
    job = shell(alice, IGNORES)
    wait_until(lambda: written(daemon, job) > 0)
    alice.ok("pause", job=job)
    before = time.monotonic()
    alice.ok("stop", job=job, grace_seconds=0.5)
    assert end_of(alice, job)["signal"] == signal.SIGKILL
    # Ten seconds would be its usual grace.
    assert 0.45 < time.monotonic() - before < 9


def test_a_paused_job_is_killed_at_once(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, "sleep 1000 & sleep 1000")
    alice.ok("pause", job=job)
    before = time.monotonic()
    alice.ok("stop", job=job, kill=True)
    result = end_of(alice, job)
    assert (result["reason"], result["signal"]) == ("stopped", signal.SIGKILL)
    # Ten seconds would be its grace.
    assert time.monotonic() - before < 9


def test_only_its_owner_and_admins_pause_resume_and_update_a_job(
    daemon: Daemon, alice: Wire
) -> None:
    job = shell(alice, "sleep 1000")
    nobody = "3f2a0000-0000-4000-8000-000000000001"
    with Wire(daemon, "bob") as bob, Wire(daemon, "root") as root:
        for op, more in (("pause", {}), ("resume", {}), ("update", {"limits": {"pids_max": 9}})):
            error = bob.error(op, job=job, **more)
            missing = bob.error(op, job=nobody, **more)
            assert {**error, "given": ""} == {**missing, "given": ""}
            assert error["code"] == "no-such-job"
        assert state_of(alice, job) == "running"
        assert alice.ok("status", job=job)["limits"].get("pids_max") != 9
        assert root.ok("pause", job=job)["state"] == "paused"
        assert root.ok("update", job=job, limits={"pids_max": 9})["limits"]["pids_max"] == 9
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


def test_a_paused_job_keeps_its_place(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = shell(alice, "sleep 1000")
        alice.ok("pause", job=job)
        waiting = alice.ok("submit", submission("true"))["job"]
        error = alice.error("pause", job=waiting)
        assert (error["code"], error["given"]) == ("job-state", "queued")
        assert stands_still(own_daemon, waiting, 0.2)
        assert state_of(alice, waiting) == "queued"
        alice.ok("stop", job=job, kill=True)
        assert end_of(alice, waiting)["reason"] == "exit"


# --- the clock ---


def test_a_timeout_is_met_within_100_ms(daemon: Daemon, alice: Wire) -> None:
    late = []
    for _ in range(4):
        job = start(alice, "sleep", "1000", limits={"timeout_seconds": 1})
        result = end_of(alice, job)
        assert (result["reason"], result["exit_status"]) == ("timeout", 124)
        late.append(result["wall_ns"] / 1e9 - 1)
    # Never early; and what the machine had to do besides says nothing of the promise.
    assert min(late) >= 0
    assert min(late) < 0.1


def test_the_timeout_stands_still_while_the_job_is_paused(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, COUNTER, limits={"timeout_seconds": 1.5})
    alice.ok("pause", job=job)
    assert stands_still(daemon, job, 2)
    assert state_of(alice, job) == "paused"
    alice.ok("resume", job=job)
    result = end_of(alice, job)
    assert result["reason"] == "timeout"
    ran = (result["wall_ns"] - result["paused_ns"]) / 1e9
    assert 0 <= ran - 1.5 < 1.5
    assert result["paused_ns"] > 1_900_000_000


def test_a_pause_and_its_clock_hold_while_runnerd_is_away(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = shell(alice, COUNTER, limits={"timeout_seconds": 2})
        alice.ok("pause", job=job)
    own_daemon.kill()
    assert stands_still(own_daemon, job, 2.5)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert state_of(alice, job) == "paused"
        assert stands_still(own_daemon, job)
        assert alice.ok("resume", job=job)["state"] == "running"
        is_counting(own_daemon, job)
        result = end_of(alice, job)
    assert result["reason"] == "timeout"
    assert 0 <= (result["wall_ns"] - result["paused_ns"]) / 1e9 - 2 < 1.5


def test_after_a_crash_the_store_says_what_the_kernel_does(own_daemon: Daemon) -> None:
    """Killed between the freezer and the commit, in both directions."""
    own_daemon.start()
    with Wire(own_daemon) as alice:
        runs = shell(alice, COUNTER)
        stands = shell(alice, COUNTER)
        alice.ok("pause", job=stands)
    own_daemon.kill()
    # As the record of a pause and of a resume that were never committed.
    for job, kind, frozen in ((runs, 2, True), (stands, 3, False)):
        with open(job_file(own_daemon, job, "control"), "wb") as control:
            control.write(bytes([kind]) + bytes(11))
        wait_until(partial(has_frozen, own_daemon, job, frozen=frozen))
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert state_of(alice, runs) == "paused"
        assert state_of(alice, stands) == "running"
        assert stands_still(own_daemon, runs)
        is_counting(own_daemon, stands)
        alice.ok("resume", job=runs)
        is_counting(own_daemon, runs)


def test_a_client_that_goes_away_leaves_no_half_a_pause(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, COUNTER)
    with Wire(daemon, "alice") as hasty:
        hasty.send({"id": 5, "op": "pause", "args": {"job": job}})
    wait_until(lambda: is_frozen(daemon, job) == (state_of(alice, job) == "paused"))
    alice.ok("pause", job=job)
    assert is_frozen(daemon, job)
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


# --- warnings and CPU time ---


def test_a_warning_comes_before_the_timeout_and_to_every_process(
    daemon: Daemon, alice: Wire
) -> None:
    script = (
        "trap 'echo parent' USR1; (trap 'echo child' USR1; while :; do sleep 0.02; done) & "
        "while :; do sleep 0.02; done"
    )
    # The `sleep`s do not expect it and end, which is nothing to these two.
    job = shell(alice, script, limits={"timeout_seconds": 1.2, "warning_seconds": 0.7})
    result = end_of(alice, job)
    assert result["reason"] == "timeout"
    said = log_of(daemon, job).split()
    assert sorted(word for word in said if word in {b"parent", b"child"}) == [b"child", b"parent"]


def test_the_warning_may_be_another_signal(daemon: Daemon, alice: Wire) -> None:
    limits = {"timeout_seconds": 30, "warning_seconds": 29.5, "warning_signal": signal.SIGINT}
    job = start(alice, "sleep", "1000", limits=limits)
    result = end_of(alice, job)
    assert (result["reason"], result["signal"]) == ("signal", signal.SIGINT)


def test_the_cpu_time_of_all_processes_together_is_limited(daemon: Daemon, alice: Wire) -> None:
    # Each says how much it used when it is told to end; the set-up was the first one's.
    program = (
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        "    os.write(1, b'%f\\n' % time.process_time())\n"
        "    for child in children: os.waitpid(child, 0)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "children = []\n"
        "for _ in range(2):\n"
        "    if not (child := os.fork()):\n"
        "        children = []\n"
        "        break\n"
        "    children.append(child)\n"
        "until = time.monotonic() + 60\n"
        "while time.monotonic() < until: pass"
    )
    job = start(alice, *python(program), limits={"cpu_time_seconds": 2})
    result = end_of(alice, job)
    assert (result["reason"], result["exit_status"]) == ("cpu-time", 124)
    used = [float(line) for line in log_of(daemon, job).split()]
    assert len(used) == 3
    assert 1.9 < sum(used) < 2.5


def test_an_idle_job_never_comes_to_its_cpu_time(daemon: Daemon, alice: Wire) -> None:
    job = start(alice, "sleep", "1.5", limits={"cpu_time_seconds": 0.5})
    assert end_of(alice, job)["reason"] == "exit"


# --- output ---


def say(count: int) -> list[str]:
    """A command that writes so many bytes, and then waits for a word that never comes."""
    return python(
        f"import os, time; data = bytes(range(256)) * {count // 256 + 1}\n"
        f"rest = memoryview(data)[:{count}]\n"
        "while rest: rest = rest[os.write(1, rest):]\n"
        "os.write(2, b'!'); time.sleep(1000)"
    )


def test_output_beyond_its_limit_ends_the_job_and_exactly_the_limit_is_kept(
    daemon: Daemon, alice: Wire
) -> None:
    limits = {"output_max_bytes": 1_000_003, "output_policy": "end"}
    job = start(alice, *say(5_000_000), limits=limits)
    result = end_of(alice, job)
    assert (result["reason"], result["exit_status"]) == ("output-limit", 153)
    assert result["log_bytes"] == 1_000_003
    assert log_of(daemon, job) == (bytes(range(256)) * 4000)[:1_000_003]


def test_output_up_to_its_limit_is_no_reason_to_end(daemon: Daemon, alice: Wire) -> None:
    limits = {"output_max_bytes": 8192, "output_policy": "end"}
    job = start(alice, *python("import os; os.write(1, bytes(8192))"), limits=limits)
    result = end_of(alice, job)
    assert (result["reason"], result["log_bytes"]) == ("exit", 8192)


@pytest.mark.parametrize("policy", ["end", "block"])
def test_a_job_that_ended_before_it_could_be_held_is_no_success(
    daemon: Daemon, alice: Wire, policy: str
) -> None:
    limits = {"output_max_bytes": 4096, "output_policy": policy}
    job = start(alice, *python("import os; os.write(1, bytes(5000))"), limits=limits)
    result = end_of(alice, job)
    assert (result["reason"], result["exit_status"]) == ("output-limit", 153)
    assert result["log_bytes"] == 4096


def test_output_may_wait_until_its_limit_is_raised(daemon: Daemon, alice: Wire) -> None:
    limits = {"output_max_bytes": 100_000, "output_policy": "block"}
    job = start(alice, *say(5_000_000), limits=limits)
    wait_until(lambda: written(daemon, job) == 100_000)
    assert stands_still(daemon, job)
    assert state_of(alice, job) == "running"
    alice.ok("update", job=job, limits={"output_max_bytes": 3_000_000})
    wait_until(lambda: written(daemon, job) == 3_000_000)
    assert stands_still(daemon, job, 0.2)
    answer = alice.ok("update", job=job, limits={"output_max_bytes": None, "output_policy": None})
    assert not {"output_max_bytes", "output_policy"} & answer["limits"].keys()
    wait_until(lambda: written(daemon, job) == 5_000_001)
    alice.ok("stop", job=job, kill=True)
    assert end_of(alice, job)["reason"] == "stopped"
    # Which of two pipes is read first is nobody's promise.
    data = log_of(daemon, job)
    assert (len(data), data.count(b"!")) == (5_000_001, 5_000_000 // 256 + 2)


def test_a_job_that_waits_for_room_is_ended_by_its_timeout(daemon: Daemon, alice: Wire) -> None:
    limits = {"output_max_bytes": 4096, "output_policy": "block", "timeout_seconds": 0.5}
    job = start(alice, *say(5_000_000), limits=limits)
    result = end_of(alice, job)
    assert (result["reason"], result["log_bytes"]) == ("timeout", 4096)


def test_the_oldest_output_goes_when_it_is_too_much(daemon: Daemon, alice: Wire) -> None:
    job = start(alice, *say(3_000_000), limits={"output_max_bytes": 256 * 1024})
    directory = os.path.dirname(job_file(daemon, job, "log/x"))

    def newest() -> int:
        last = max((name for name in os.listdir(directory) if name.endswith(".log")), default="")
        try:
            return int(last[:20]) + os.stat(f"{directory}/{last}").st_size if last else 0
        except FileNotFoundError:
            # It was the newest, and has been removed since.
            return 0

    wait_until(lambda: newest() == 3_000_001)
    sizes = {name: os.stat(f"{directory}/{name}").st_size for name in os.listdir(directory)}
    assert 256 * 1024 <= sum(sizes.values()) < 2 * 256 * 1024
    alice.ok("update", job=job, limits={"output_max_bytes": 65536})
    alice.ok("stop", job=job, kill=True)
    assert end_of(alice, job)["log_bytes"] == 3_000_001


# --- updates ---


def test_limits_of_a_running_job_are_changed_read_back_and_lifted(
    daemon: Daemon, alice: Wire
) -> None:
    limits = {"memory_max_bytes": 64 * MIB, "pids_max": 20, "timeout_seconds": 500}
    job = shell(alice, "sleep 1000", limits=limits)
    wanted = {
        "memory_max_bytes": 96 * MIB, "cpu_max_millicpus": 500, "pids_max": 30,
        "timeout_seconds": 600.5,
    }  # fmt: skip
    answer = alice.ok("update", job=job, limits=wanted)
    assert answer["limits"].items() >= wanted.items()
    assert alice.ok("status", job=job)["limits"] == answer["limits"]
    assert kernel_value(daemon, job, "memory.max") == str(96 * MIB)
    assert kernel_value(daemon, job, "cpu.max") == "50000 100000"
    assert kernel_value(daemon, job, "pids.max") == "30"
    lifted = alice.ok("update", job=job, limits={"cpu_max_millicpus": None, "pids_max": None})
    assert not {"cpu_max_millicpus", "pids_max"} & lifted["limits"].keys()
    assert kernel_value(daemon, job, "cpu.max") == "max 100000"
    assert kernel_value(daemon, job, "pids.max") == "max"
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


def test_a_limit_below_use_is_refused_with_the_number_and_nothing_is_changed(
    daemon: Daemon, alice: Wire
) -> None:
    job = start(alice, *python(HOLD.format(60 * MIB)), limits={"memory_max_bytes": 128 * MIB})
    wait_until(lambda: written(daemon, job) > 0)
    before = alice.ok("status", job=job)["limits"]
    wanted = {"pids_max": 7, "memory_max_bytes": 16 * MIB, "timeout_seconds": 700}
    error = alice.error("update", job=job, limits=wanted)
    assert (error["code"], error["field"]) == ("limit-below-use", "limits.memory_max_bytes")
    used = int(error["detail"].split()[2])
    assert 60 * MIB <= used <= 128 * MIB
    assert alice.ok("status", job=job)["limits"] == before
    assert kernel_value(daemon, job, "memory.max") == str(128 * MIB)
    assert kernel_value(daemon, job, "pids.max") != "7"
    alice.ok("stop", job=job, kill=True)
    assert end_of(alice, job)["oom_kills"] == 0


def test_a_later_step_that_fails_takes_back_the_earlier_ones(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, "echo ready; sleep 1000", limits={"pids_max": 20})
    wait_until(lambda: written(daemon, job) > 0)
    before = alice.ok("status", job=job)["limits"]
    control = job_file(daemon, job, "control")
    os.rename(control, f"{control}.away")
    error = alice.error("update", job=job, limits={"pids_max": 40, "rlimits": {"nofile": [9, 9]}})
    assert error["code"] == "limit-unavailable"
    assert "nothing was changed" in error["detail"]
    os.rename(f"{control}.away", control)
    assert kernel_value(daemon, job, "pids.max") == "20"
    assert alice.ok("status", job=job)["limits"] == before
    assert "9" not in open_files_limit(pids(payload_cgroup(daemon, job))[0])
    assert not os.path.exists(job_file(daemon, job, "update"))
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


def open_files_limit(pid: int) -> list[str]:
    """[soft, hard], as proc(5) shows them."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        return next(line for line in file if line.startswith("Max open files")).split()[3:5]


def test_resource_limits_change_in_every_process_and_in_what_it_forks(
    daemon: Daemon, alice: Wire
) -> None:
    job = shell(alice, "while :; do sleep 0.05; done & sleep 1000 & wait")
    cgroup = payload_cgroup(daemon, job)
    wait_until(lambda: len(pids(cgroup)) >= 3)
    before = open_files_limit(pids(cgroup)[0])
    alice.ok("update", job=job, limits={"rlimits": {"nofile": [77, 99]}})

    def all_have(wanted: list[str]) -> bool:
        found = []
        for pid in pids(cgroup):
            with suppress(FileNotFoundError, ProcessLookupError, StopIteration):
                found.append(open_files_limit(pid))
        return bool(found) and all(limit == wanted for limit in found)

    for _ in range(20):
        assert all_have(["77", "99"])
    assert alice.ok("status", job=job)["limits"]["rlimits"] == {"nofile": [77, 99]}
    alice.ok("update", job=job, limits={"rlimits": None})
    assert all_have(before)
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


def test_resource_limits_that_change_while_a_job_is_set_up_are_not_those_it_had_before(
    daemon: Daemon, alice: Wire
) -> None:
    for _ in range(5):
        more = {"limits": {"rlimits": {"nofile": [50, 60]}}}
        job = alice.ok("submit", submission("sh", "-c", "ulimit -n; sleep 1000", **more))["job"]
        alice.ok("update", job=job, limits={"rlimits": {"nofile": [77, 99]}})
        cgroup = payload_cgroup(daemon, job)
        wait_until(lambda cgroup=cgroup: bool(pids(cgroup)))  # type: ignore[misc]
        wait_until(lambda job=job: written(daemon, job) > 0)  # type: ignore[misc]
        assert open_files_limit(pids(cgroup)[0]) == ["77", "99"]
        alice.ok("stop", job=job, kill=True)
        end_of(alice, job)


def test_a_timeout_can_be_put_off_hastened_and_set_but_not_into_the_past(
    daemon: Daemon, alice: Wire
) -> None:
    job = shell(alice, "sleep 1000", limits={"timeout_seconds": 1})
    alice.ok("update", job=job, limits={"timeout_seconds": 60})
    until = time.monotonic() + 1.3
    while time.monotonic() < until:
        assert state_of(alice, job) == "running"
    error = alice.error("update", job=job, limits={"timeout_seconds": 0.5})
    assert (error["code"], error["field"]) == ("limit-below-use", "limits.timeout_seconds")
    assert 1.3 <= float(error["detail"].split()[4]) < 10
    assert alice.ok("status", job=job)["limits"]["timeout_seconds"] == 60
    alice.ok("update", job=job, limits={"timeout_seconds": 3})
    result = end_of(alice, job)
    assert result["reason"] == "timeout"
    assert 0 <= result["wall_ns"] / 1e9 - 3 < 1.5


def test_cpu_time_that_was_used_already_is_refused_with_the_number(
    daemon: Daemon, alice: Wire
) -> None:
    job = start(alice, *python(BURN.format(0)))
    wait_until(lambda: alice.ok("status", job=job)["usage"]["cpu_usec"] > 500_000)
    error = alice.error("update", job=job, limits={"cpu_time_seconds": 0.1})
    assert error["field"] == "limits.cpu_time_seconds"
    assert 0.1 <= float(error["detail"].split()[3]) < 30
    used = alice.ok("status", job=job)["usage"]["cpu_usec"] / 1e6
    alice.ok("update", job=job, limits={"cpu_time_seconds": used + 1})
    assert end_of(alice, job)["reason"] == "cpu-time"


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"warning_seconds": 5}, "limits.warning_seconds"),
        ({"memory_high_bytes": 128 * MIB}, "limits.memory_high_bytes"),
        ({"output_policy": "end"}, "limits.output_policy"),
        ({"net_egress_bits_per_second": 10_000_000}, "limits.net_egress_bits_per_second"),
        ({"io": [{"path": "/nowhere", "read_bytes_per_second": 4096}]}, "limits.io[0].path"),
        ({"pids_max": 0}, "limits.pids_max"),
        ({}, "limits"),
    ],
)
def test_what_contradicts_the_limits_that_the_job_has_is_refused(
    daemon: Daemon, alice: Wire, limits: dict[str, Any], field: str
) -> None:
    job = shell(alice, "sleep 1000", limits={"memory_max_bytes": 64 * MIB})
    error = alice.error("update", job=job, limits=limits)
    assert (error["code"], error["field"]) == ("invalid-argument", field)
    alice.ok("stop", job=job, kill=True)
    end_of(alice, job)


def test_a_queued_job_starts_with_its_new_limits(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        first = shell(alice, "sleep 1000")
        job = alice.ok("submit", submission("sleep", "1000", limits={"pids_max": 5}))["job"]
        answer = alice.ok("update", job=job, limits={"pids_max": 8, "timeout_seconds": 1})
        assert answer["limits"] == {"pids_max": 8, "timeout_seconds": 1}
        alice.ok("stop", job=first, kill=True)
        wait_until(lambda: state_of(alice, job) == "running")
        assert kernel_value(own_daemon, job, "pids.max") == "8"
        assert end_of(alice, job)["reason"] == "timeout"


def test_new_limits_outlive_runnerd(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = shell(alice, "sleep 1000", limits={"timeout_seconds": 1000, "pids_max": 5})
        wanted = alice.ok("update", job=job, limits={"timeout_seconds": 4, "pids_max": 9})["limits"]
        assert kernel_value(own_daemon, job, "pids.max") == "9"
    own_daemon.kill()
    own_daemon.start()
    with Wire(own_daemon) as alice:
        # It may have ended by now: a start takes long on a busy host, and its monitor needs nobody.
        assert alice.ok("status", job=job)["limits"] == wanted
        result = end_of(alice, job)
    assert result["reason"] == "timeout"
    assert 0 <= result["wall_ns"] / 1e9 - 4 < 1.5


def test_an_update_of_a_paused_job_holds_when_it_goes_on(daemon: Daemon, alice: Wire) -> None:
    job = shell(alice, COUNTER, limits={"timeout_seconds": 1000})
    alice.ok("pause", job=job)
    alice.ok("update", job=job, limits={"timeout_seconds": 2, "pids_max": 50})
    assert kernel_value(daemon, job, "pids.max") == "50"
    assert stands_still(daemon, job)
    alice.ok("resume", job=job)
    result = end_of(alice, job)
    assert result["reason"] == "timeout"
    assert 0 <= (result["wall_ns"] - result["paused_ns"]) / 1e9 - 2 < 1.5


def test_an_update_that_a_crash_cut_short_is_finished_at_the_next_start(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = shell(alice, "sleep 1000", limits={"pids_max": 5})
    own_daemon.kill()
    # As a runnerd leaves it that is killed after its first step.
    intent = records.pack({"limits": {"pids_max": 11}, "devices": {}, "uid": 0})
    with open(job_file(own_daemon, job, "update"), "wb") as file:
        file.write(intent)
    with open(f"{payload_cgroup(own_daemon, job)}/pids.max", "w", encoding="ascii") as file:
        file.write("11")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert alice.ok("status", job=job)["limits"]["pids_max"] == 11
        assert kernel_value(own_daemon, job, "pids.max") == "11"
        assert not os.path.exists(job_file(own_daemon, job, "update"))
        alice.ok("stop", job=job, kill=True)
        assert result_of(own_daemon, job)["reason"] == "stopped"


def test_what_a_result_says_of_waiting_is_there(daemon: Daemon, alice: Wire) -> None:
    job = start(alice, *python(BURN.format(1)),
                limits={"cpu_max_millicpus": 100, "timeout_seconds": 1})  # fmt: skip
    result = end_of(alice, job)
    assert result["throttled_usec"] > 100_000
    assert result["cpu_pressure_usec"] > 100_000
    assert result["paused_ns"] == 0
    assert result["memory_high_hits"] == 0
    assert result["memory_pressure_usec"] >= 0
    assert result["denied"] is None


def test_a_refused_system_call_is_counted_by_its_name_where_it_was_asked_for(
    daemon: Daemon, alice: Wire
) -> None:
    program = (
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for _ in range(3):\n"
        "    assert libc.mount(None, None, None, 0, None) == -1\n"
        "print(errno.errorcode[ctypes.get_errno()])"
    )
    job = start(alice, *python(program), sandbox={"report_denied": True})
    result = end_of(alice, job)
    assert (result["reason"], log_of(daemon, job)) == ("exit", b"EPERM\n")
    counts = {entry["syscall"]: entry["count"] for entry in result["denied"]}
    assert counts["mount"] == 3
