"""Limits of a job that runs, changed on a real kernel: all or none, and never below its use."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from isolation.cgroups.nodes import Controller
from isolation.cgroups.tree import AppliedLimits, IoLimit, JobCgroup, JobLimits
from isolation.errors import CgroupError, LimitBelowUse, LimitUnavailable
from isolation.host.devices import disks_of_path
from tests.kernel import stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Spawn = Callable[[str, str], subprocess.Popen[bytes]]

MIB = 1 << 20
ON_DISK = "/var/lib/runnerd"
FILES = (
    "job/cpu.max", "job/cpu.weight", "job/cpu.idle", "job/cpuset.cpus", "job/io.max",
    "job/io.weight", "job/io.bfq.weight", "payload/memory.max", "payload/memory.high",
    "payload/memory.swap.max", "payload/memory.oom.group", "payload/pids.max",
    "monitor/memory.max",
)  # fmt: skip
# Becomes a member of the cgroup that it is told, then does what the rest says and waits.
PROGRAM = """
import sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
exec(sys.argv[2])
print("ready", flush=True)
time.sleep(1000)
"""


def contents(job: JobCgroup) -> dict[str, str]:
    """Every limit of a job as text."""
    found = {}
    for name in FILES:
        group, _, file = name.partition("/")
        with open(f"{getattr(job.cgroups, group).directory}/{file}", encoding="ascii") as opened:
            found[name] = opened.read()
    return found


@contextmanager
def running(job: JobCgroup, program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program in the payload's cgroup, as soon as it has done its work."""
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, job.cgroups.payload.directory, program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child
        finally:
            child.kill()


def everything(disk: str) -> JobLimits:
    return JobLimits(
        memory_max_bytes=64 * MIB, memory_high_bytes=48 * MIB, memory_swap_max_bytes=MIB,
        cpu_max_millicpus=500, cpu_weight=300, cpu_set="0", pids_max=50,
        io=(IoLimit(disk, MIB, 2 * MIB, 30, 40),), io_weight=200,
    )  # fmt: skip


def test_every_limit_can_be_changed_and_lifted_while_the_job_runs(job: JobCgroup) -> None:
    (disk,) = (found.device for found in disks_of_path(ON_DISK))
    fresh = contents(job)
    job.apply(JobLimits(cpu_idle=True, oom_policy="kill"))
    with stacks.bfq_on(ON_DISK), running(job, ""):
        applied = job.update(JobLimits(cpu_idle=True, oom_policy="kill"), everything(disk))
        assert applied == AppliedLimits(
            memory_max_bytes=64 * MIB, memory_high_bytes=48 * MIB, memory_swap_max_bytes=MIB,
            oom_policy="kill", cpu_max_millicpus=500, cpu_weight=300, cpu_set="0", pids_max=50,
            io=(IoLimit(disk, MIB, 2 * MIB, 30, 40),), io_weight=200,
        )  # fmt: skip
        assert contents(job)["job/cpu.idle"] == "0\n"
        assert contents(job)["job/io.bfq.weight"] == "default 109\n"
        assert job.update(everything(disk), JobLimits()) == AppliedLimits()
        assert contents(job) == fresh


@pytest.mark.parametrize("file", ["memory.max", "cpuset.cpus", "pids.max", "io.max"])
def test_a_change_that_fails_somewhere_leaves_every_file_as_it_was(
    job: JobCgroup, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    (disk,) = (found.device for found in disks_of_path(ON_DISK))
    old = JobLimits(memory_max_bytes=32 * MIB, cpu_weight=700, io=(IoLimit(disk, 5 * MIB),))
    job.apply(old)
    before = contents(job)
    write = Controller.set_property

    def failing(controller: Controller, filename: bytes, value: object) -> None:
        # Not when it is written back.
        if filename.decode() == file and str(value).strip() not in {"max", ""}:
            text = "no such value" if str(value) not in before.values() else str(value)
            return write(controller, filename, text)
        return write(controller, filename, value)

    with running(job, ""), stacks.bfq_on(ON_DISK):
        monkeypatch.setattr(Controller, "set_property", failing)
        with pytest.raises((CgroupError, LimitUnavailable)):
            job.update(old, everything(disk))
        monkeypatch.undo()
    assert contents(job) == before


def test_a_device_that_takes_no_limit_changes_nothing(job: JobCgroup) -> None:
    job.apply(JobLimits(cpu_weight=700))
    before = contents(job)
    new = JobLimits(cpu_weight=5, cpu_max_millicpus=100, io=(IoLimit("4095:1", MIB),))
    with pytest.raises(LimitUnavailable, match="4095:1"):
        job.update(JobLimits(cpu_weight=700), new)
    assert contents(job) == before


def test_cpus_that_this_machine_lacks_are_refused_before_anything_is_written(
    job: JobCgroup,
) -> None:
    before = contents(job)
    with pytest.raises(LimitUnavailable, match="CPU 64-70 of 0,64-70") as caught:
        job.update(JobLimits(), JobLimits(cpu_set="0,64-70", pids_max=5))
    assert caught.value.remedy.startswith("name CPUs of 0")
    assert contents(job) == before


def test_a_weight_that_no_disk_heeds_is_refused_and_taken_where_one_does(job: JobCgroup) -> None:
    with pytest.raises(LimitUnavailable, match="no disk has the scheduler BFQ"):
        job.apply(JobLimits(io_weight=300))
    with stacks.bfq_on(ON_DISK):
        assert job.apply(JobLimits(io_weight=300)).io_weight == 300


# Below what is used


def test_memory_that_is_in_use_is_not_taken_away(job: JobCgroup) -> None:
    job.apply(JobLimits(memory_max_bytes=128 * MIB))
    with running(job, "data = bytearray(40 << 20)") as child:
        with pytest.raises(LimitBelowUse) as caught:
            job.update(JobLimits(memory_max_bytes=128 * MIB), JobLimits(memory_max_bytes=30 * MIB))
        assert (caught.value.limit, caught.value.asked) == ("memory.max", 30 * MIB)
        assert 40 * MIB < caught.value.used < 60 * MIB
        assert job.cgroups.payload.memory.max == 128 * MIB
        assert job.cgroups.payload.memory.high is None
        # The number is what may be asked for, with a little for what comes and goes.
        less = JobLimits(memory_max_bytes=caught.value.used + MIB)
        job.update(JobLimits(memory_max_bytes=128 * MIB), less)
        assert job.cgroups.payload.memory.events["oom"] == 0
        assert child.poll() is None


def test_cache_of_files_is_taken_back_and_kills_nobody(job: JobCgroup) -> None:
    path = f"{ON_DISK}/cached"
    job.apply(JobLimits(memory_max_bytes=256 * MIB))
    program = f"open({path!r}, 'wb').write(bytes(60 << 20)); open({path!r}, 'rb').read()"
    try:
        with running(job, program + "; data = bytearray(8 << 20)") as child:
            assert (job.usage().memory_bytes or 0) > 60 * MIB
            limits = JobLimits(memory_max_bytes=32 * MIB)
            job.update(JobLimits(memory_max_bytes=256 * MIB), limits)
            assert (job.usage().memory_bytes or 0) <= 32 * MIB
            events = job.cgroups.payload.memory.events
            assert (events["oom"], events["oom_kill"], child.poll()) == (0, 0, None)
    finally:
        os.unlink(path)


def test_processes_that_there_are_may_not_be_forbidden(job: JobCgroup, spawn: Spawn) -> None:
    script = "for i in 1 2 3 4; do sleep 1000 & done; echo ready; wait"
    shell = spawn(job.cgroups.payload.directory, script)
    assert shell.stdout is not None
    assert shell.stdout.readline() == b"ready\n"
    with pytest.raises(LimitBelowUse) as caught:
        job.update(JobLimits(), JobLimits(pids_max=4))
    assert (caught.value.limit, caught.value.asked, caught.value.used) == ("pids.max", 4, 5)
    assert job.cgroups.payload.pids.max is None
    assert job.update(JobLimits(), JobLimits(pids_max=5)).pids_max == 5


def test_a_frozen_job_can_be_limited_too(job: JobCgroup) -> None:
    with running(job, "data = bytearray(8 << 20)"):
        job.cgroups.payload.core.freeze = True
        try:
            new = JobLimits(memory_max_bytes=64 * MIB, cpu_max_millicpus=100, pids_max=9)
            assert job.update(JobLimits(), new).pids_max == 9
        finally:
            job.cgroups.payload.core.freeze = False
