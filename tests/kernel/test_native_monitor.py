"""The native monitor beside the Python one: a job leaves the same record and the same log."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroups.root import find_root
from isolation.cgroups.tree import JobLimits
from runner import records
from tests.kernel.harness import wait_until
from tests.kernel.monitors import KINDS, Ended, Monitors, Running
from tests.kernel.payloads import ALICE
from tests.kernel.test_native_payload import SPEC, spec

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of two runs of one job these differ; whether they are known does not.
MEASURED = (
    "job", "started_ns", "ended_ns", "wall_ns", "paused_ns", "cpu_usec", "cpu_user_usec",
    "cpu_system_usec", "throttled_usec", "memory_peak_bytes", "memory_high_hits", "pids_peak",
    "io_read_bytes", "io_write_bytes", "cpu_pressure_usec", "memory_pressure_usec",
    "io_pressure_usec",
)  # fmt: skip
LOGS = {**SPEC["logs"], "keep_segments": 64}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def monitors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitors]:
    root = os.path.join(find_root().mount, f"test-{uuid.uuid4()}")
    with Monitors(tmp_path_factory.mktemp("monitors"), root) as both:
        yield both


def job(script: str | bytes, **changes: Any) -> dict[str, Any]:
    """A shell script as a job of the host's network."""
    fields = {"network": "host", "logs": LOGS, **changes}
    return spec("/bin/sh", "-c", script, env={b"PATH": b"/usr/bin:/bin"}, **fields)


def settled(ended: Ended) -> Ended:
    """Without what no two runs have in common. The order of the fields stays."""
    record = {
        name: (value is not None) if name in MEASURED else value
        for name, value in ended.record.items()
    }
    assert list(record) == list(ended.record)
    # Where one segment ends depends on how much a read found.
    suffixes = sorted({name.lstrip("0123456789") for name in ended.names})
    return ended._replace(record=record, names=suffixes)


def same(monitors: Monitors, wanted: dict[str, Any], *args: Any, **options: Any) -> Ended:
    """How the job ends under either monitor: equal."""
    python, native = (monitors.run(kind, wanted, *args, **options) for kind in KINDS)
    assert settled(native) == settled(python)
    assert list(native.record) == list(python.record)
    check_times(native.record)
    return native


def check_times(record: dict[str, Any]) -> None:
    took = record["ended_ns"] - record["started_ns"]
    assert 0 < record["wall_ns"] < 30e9
    assert abs(took - record["wall_ns"]) < 1e9
    assert abs(record["ended_ns"] - time.time_ns()) < 30e9


def verdict(ended: Ended) -> tuple[Any, ...]:
    names = ("reason", "exit_code", "signal", "exit_status", "detail")
    return tuple(ended.record[name] for name in names)


# --- by itself ---


def test_output_of_both_streams_and_an_exit_code(monitors: Monitors) -> None:
    ended = same(monitors, job("echo out; echo err >&2; printf tail; exit 7"))
    assert verdict(ended) == ("exit", 7, None, 7, None)
    assert ended.output == {1: b"out\ntail", 2: b"err\n"}
    assert ended.record["log_bytes"] == len("out\ntailerr\n")


def test_a_job_with_a_network_of_its_own_and_no_output(monitors: Monitors) -> None:
    assert verdict(same(monitors, job("exit 0", network="none"))) == ("exit", 0, None, 0, None)


def test_a_log_whose_beginning_is_synced_only_at_the_end(monitors: Monitors) -> None:
    ended = same(monitors, job("echo out; exit 3"), sync_begin=False)
    assert (verdict(ended), ended.output) == (("exit", 3, None, 3, None), {1: b"out\n"})
    assert verdict(same(monitors, job("exit 0"), sync_begin=False))[0] == "exit"


def test_a_signal_that_it_dies_of(monitors: Monitors) -> None:
    assert verdict(same(monitors, job("kill -SEGV $$"))) == ("signal", None, 11, 139, None)


def test_more_output_than_a_segment_and_a_pipe_hold(monitors: Monitors) -> None:
    ended = same(monitors, job("seq 400000; seq 100000 >&2"))
    assert ended.output[1] == b"".join(b"%d\n" % number for number in range(1, 400001))
    assert ended.output[2] == b"".join(b"%d\n" % number for number in range(1, 100001))


def test_what_it_leaves_behind_is_killed_and_collected(monitors: Monitors) -> None:
    script = "setsid sleep 1000 & trap '' TERM; sh -c 'sleep 1000 & kill -STOP $$' & exit 3"
    assert verdict(same(monitors, job(script))) == ("exit", 3, None, 3, None)


def test_orphans_that_end_by_the_hundred_at_once_are_collected(monitors: Monitors) -> None:
    script = "(for i in $(seq 300); do sleep 1000 & done); kill -TERM -1; sleep 0.1; echo done"
    ended = same(monitors, job(script))
    assert (verdict(ended)[0], ended.output) == ("exit", {1: b"done\n"})


# --- what cannot start ---


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"argv": [b"no-such-command"]}, 127),
        ({"argv": [b"/no/such/command"]}, 127),
        ({"argv": [b"/etc/passwd"]}, 126),
        ({"argv": [b"/\xff\xfe/no"]}, 127),
        ({"argv": [b"/" + b"x" * 3000]}, 126),
        ({"cwd": b"/no/such/directory"}, 125),
        ({"cwd": b"/etc/passwd"}, 125),
    ],
)
def test_what_cannot_be_executed_says_why(
    monitors: Monitors, changes: dict[str, Any], status: int
) -> None:
    ended = same(monitors, {**job(""), **changes})
    assert (ended.record["reason"], ended.record["exit_status"]) == ("launch-error", status)
    assert ended.record["detail"]


def test_a_payload_that_cannot_be_forked(monitors: Monitors) -> None:
    ended = same(
        monitors,
        job("exit 0"),
        before=lambda _path, cgroup: write(f"{cgroup}/pids.max", "0"),
    )
    assert verdict(ended)[0] == "launch-error"
    assert verdict(ended)[4].startswith("fork the payload: ")


def write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


def test_a_log_that_was_begun_already_is_not_written(monitors: Monitors) -> None:
    def begin(path: str, _cgroup: str) -> None:
        with open(f"{path}/log/stranger", "wb"):
            pass

    assert verdict(same(monitors, job("echo ran"), before=begin))[0] == "log-error"


@pytest.mark.parametrize("content", [None, b"", b"garbage", records.pack({"job": "x"})])
def test_a_spec_that_cannot_be_used_is_a_job_that_is_lost(
    monitors: Monitors, content: bytes | None
) -> None:
    def spoil(path: str, _cgroup: str) -> None:
        os.unlink(f"{path}/spec")
        if content is not None:
            with open(f"{path}/spec", "wb") as file:
                file.write(content)

    for kind in KINDS:
        ended = monitors.run(kind, job("echo ran"), before=spoil)
        assert verdict(ended)[:4] == ("lost", None, None, 125)
        assert ended.record["detail"].startswith("its monitor failed: ")
        assert ended.record["log_bytes"] is None
        assert ended.names == []


# --- ended from outside ---

# The shell says which signal its `sleep` died of, if there was one just then.
IGNORE = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
END_WELL = (
    "exec 2>/dev/null; trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
)


def test_a_timeout_ends_it(monitors: Monitors) -> None:
    ended = same(monitors, job("sleep 100", limits={"timeout_seconds": 0.3}))
    assert verdict(ended) == ("timeout", None, 15, 124, None)
    assert ended.record["wall_ns"] >= 0.3e9


def test_what_does_not_end_at_its_timeout_is_killed_after_the_grace(monitors: Monitors) -> None:
    limits = {"timeout_seconds": 2.0}
    ended = same(monitors, job(IGNORE, limits=limits, stop_grace_seconds=0.5))
    assert verdict(ended) == ("timeout", None, 9, 124, None)
    assert ended.record["wall_ns"] >= 2.5e9


def test_a_warning_comes_before_the_timeout(monitors: Monitors) -> None:
    limits = {"timeout_seconds": 20.0, "warning_seconds": 18.0, "warning_signal": signal.SIGUSR2}
    script = "exec 2>/dev/null; trap 'echo warned; exit 0' USR2; while :; do sleep 0.05; done"
    assert same(monitors, job(script, limits=limits)).output == {1: b"warned\n"}


def test_its_cpu_time_is_bounded(monitors: Monitors) -> None:
    ended = same(monitors, job("while :; do :; done", limits={"cpu_time_seconds": 0.2}))
    assert verdict(ended) == ("cpu-time", None, 15, 124, None)
    assert 0.2e6 <= ended.record["cpu_usec"] < 5e6


def test_a_deadline_by_the_wall_clock_ends_it(monitors: Monitors) -> None:
    for kind in KINDS:
        deadline = time.time_ns() + 300_000_000
        ended = monitors.run(kind, job("sleep 100", deadline_ns=deadline))
        assert verdict(ended) == ("deadline", None, 15, 124, None)
        assert ended.record["ended_ns"] >= deadline


def test_a_stop_says_who_asked(monitors: Monitors) -> None:
    def stop(running: Running) -> None:
        running.says(b"ready")
        running.directories.send_stop(running.id, ALICE, 10)

    ended = same(monitors, job(END_WELL), stop)
    assert verdict(ended) == ("stopped", 5, None, 5, None)
    assert ended.record["stopped_by_uid"] == ALICE
    assert ended.output == {1: b"ready\nasked\n"}


def test_a_stop_without_grace_kills(monitors: Monitors) -> None:
    def stop(running: Running) -> None:
        running.says(b"ready")
        running.directories.send_stop(running.id, 0, 0)

    assert verdict(same(monitors, job(IGNORE), stop)) == ("stopped", None, 9, 137, None)


def test_a_pause_stops_it_and_its_clock(monitors: Monitors) -> None:
    def pause(running: Running) -> None:
        running.says(b"ready")
        running.directories.send(running.id, records.CONTROL_PAUSE)
        wait_until(running.is_frozen)
        # Its timeout passes meanwhile.
        until = time.monotonic() + 3
        wait_until(lambda: time.monotonic() > until)
        running.directories.send(running.id, records.CONTROL_RESUME)
        wait_until(lambda: not running.is_frozen())
        running.directories.send_stop(running.id, 0, 10)

    limits = {"timeout_seconds": 3.0}
    ended = same(monitors, job(END_WELL, limits=limits), pause)
    assert verdict(ended)[:2] == ("stopped", 5)
    assert ended.record["paused_ns"] >= 3e9


def test_a_paused_job_can_be_stopped(monitors: Monitors) -> None:
    def pause(running: Running) -> None:
        running.says(b"ready")
        running.directories.send(running.id, records.CONTROL_PAUSE)
        wait_until(running.is_frozen)
        running.directories.send_stop(running.id, 7, 10)

    assert verdict(same(monitors, job(END_WELL), pause))[:2] == ("stopped", 5)


def test_an_update_changes_what_it_is_held_to(monitors: Monitors) -> None:
    def update(running: Running) -> None:
        running.says(b"ready")
        running.update({"timeout_seconds": 0.2})

    wanted = job(END_WELL, limits={"timeout_seconds": 1000.0})
    assert verdict(same(monitors, wanted, update)) == ("timeout", 5, None, 124, None)


def test_an_update_that_cannot_be_read_changes_nothing(monitors: Monitors) -> None:
    def update(running: Running) -> None:
        running.says(b"ready")
        with open(f"{os.path.dirname(running.directories.log_path(running.id))}/limits", "wb"):
            pass
        running.directories.send(running.id, records.CONTROL_UPDATE)
        running.directories.send(running.id, 200)
        running.directories.send_stop(running.id, 1, 10)

    assert verdict(same(monitors, job(END_WELL), update))[:2] == ("stopped", 5)


@pytest.mark.parametrize(
    ("policy", "reason"), [("end", "output-limit"), ("drop-oldest", "exit"), (None, "exit")]
)
def test_a_limit_of_its_output_does_what_its_policy_says(
    monitors: Monitors, policy: str | None, reason: str
) -> None:
    limits = {"output_max_bytes": 100_000, "output_policy": policy}
    wanted = job("seq 100000", limits={name: v for name, v in limits.items() if v is not None})
    python, native = (monitors.run(kind, wanted) for kind in KINDS)
    for ended in (python, native):
        assert ended.record["reason"] == reason
        kept = ended.output[1]
        whole = b"".join(b"%d\n" % number for number in range(1, 100001))
        assert kept == (whole[:100_000] if policy == "end" else whole[-len(kept) :])
    assert python.record["log_bytes"] == native.record["log_bytes"]


def test_output_that_waits_for_room_lets_it_be_stopped(monitors: Monitors) -> None:
    def stop(running: Running) -> None:
        running.says(b"\n999\n")
        running.directories.send_stop(running.id, 0, 0)

    limits = {"output_max_bytes": 4000, "output_policy": "block"}
    for kind in KINDS:
        ended = monitors.run(kind, job("seq 10000000", limits=limits), stop)
        assert verdict(ended)[0] == "stopped"
        assert ended.record["log_bytes"] == 4000


# --- what the kernel does to it ---


def test_out_of_memory(monitors: Monitors) -> None:
    limits = JobLimits(memory_max_bytes=16 * MIB)
    script = "exec dd if=/dev/zero of=/dev/null bs=200M count=1"
    ended = same(monitors, job(script), limits=limits)
    assert verdict(ended) == ("oom", None, 9, 137, None)
    assert ended.record["oom_kills"] >= 1


def test_a_limit_of_processes_is_counted(monitors: Monitors) -> None:
    for kind in KINDS:
        script = "for i in 1 2 3 4 5 6; do sleep 1000 & done; exit 0"
        ended = monitors.run(kind, job(script), limits=JobLimits(pids_max=4))
        assert ended.record["pids_max_hits"] >= 1
        assert ended.record["pids_peak"] <= 4


def test_its_monitor_may_be_killed_and_takes_everything_along(monitors: Monitors) -> None:
    def kill(running: Running) -> None:
        running.says(b"ready")
        (pid,) = running.cgroup.monitor_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not running.cgroup.populated())

    for kind in KINDS:
        with pytest.raises(AssertionError):
            monitors.run(kind, job(IGNORE), kill)


def test_a_job_of_root_cannot_end_its_monitor(monitors: Monitors) -> None:
    script = "for n in $(seq 1 64); do kill -$n 1 2>/dev/null; done; echo lives; exit 4"
    ended = same(monitors, job(script, uid=0, gid=0, groups=[0]))
    assert verdict(ended) == ("exit", 4, None, 4, None)
    assert ended.output == {1: b"lives\n"}
