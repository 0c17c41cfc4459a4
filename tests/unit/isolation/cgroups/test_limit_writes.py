"""Plans of writes: what is written in which order, and that undoing one leads back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.cgroups.limit_kinds import IoLimit, JobLimits
from isolation.cgroups.limit_writes import Setting, Write, plan, settings

DEVICES = ("8:0", "8:16", "251:3")
RATE = st.none() | st.integers(1, 2**40)
IO = st.lists(st.builds(IoLimit, st.sampled_from(DEVICES), RATE, RATE, RATE, RATE), max_size=4).map(
    tuple
)
LIMITS = st.builds(
    JobLimits,
    memory_max_bytes=st.none() | st.integers(2**22, 2**40),
    memory_high_bytes=st.none() | st.integers(2**22, 2**40),
    memory_swap_max_bytes=st.none() | st.integers(0, 2**40),
    oom_policy=st.sampled_from([None, "kill", "continue"]),
    cpu_max_millicpus=st.none() | st.integers(10, 10_000),
    cpu_weight=st.none() | st.integers(1, 10_000),
    cpu_idle=st.none() | st.booleans(),
    cpu_set=st.sampled_from([None, "0", "0-3,8"]),
    pids_max=st.none() | st.integers(1, 1000),
    io=IO,
    io_weight=st.none() | st.integers(1, 10_000),
    monitor_memory_max_bytes=st.none() | st.integers(2**22, 2**30),
)


class Kernel:
    """The files of new cgroups, and the one rule among them."""

    def __init__(self) -> None:
        self.values: dict[Setting, str] = {}

    def write(self, setting: Setting, text: str) -> None:
        idle = self.values.get(Setting("job", "cpu.idle"), "0")
        # kernel/sched/core.c: the weight of an idle group is fixed.
        assert not (setting.file == "cpu.weight" and idle == "1")
        if text == setting.lifted:
            self.values.pop(setting, None)
        else:
            self.values[setting] = text
        if setting.file == "cpu.idle":
            assert Setting("job", "cpu.weight") not in self.values

    def carry_out(self, writes: list[Write]) -> None:
        for write in writes:
            self.write(write.setting, write.text)


def held(limits: JobLimits) -> dict[Setting, str]:
    """What the kernel keeps: a rate that is not limited has no line of its own."""
    return {key: text for key, text in settings(limits).items() if text != key.lifted}


@given(LIMITS, LIMITS)
def test_a_plan_leads_from_any_limits_to_any_others(old: JobLimits, new: JobLimits) -> None:
    kernel = Kernel()
    kernel.carry_out(plan(JobLimits(), old))
    assert kernel.values == held(old)
    kernel.carry_out(plan(old, new))
    assert kernel.values == held(new)


@given(LIMITS, LIMITS, st.data())
def test_a_plan_that_was_carried_out_in_part_can_be_taken_back(
    old: JobLimits, new: JobLimits, data: st.DataObject
) -> None:
    kernel = Kernel()
    kernel.carry_out(plan(JobLimits(), old))
    writes = plan(old, new)
    done = writes[: data.draw(st.integers(0, len(writes)))]
    kernel.carry_out(done)
    for write in reversed(done):
        kernel.write(write.setting, write.old)
    assert kernel.values == held(old)


@given(LIMITS)
def test_nothing_is_written_for_what_stays(limits: JobLimits) -> None:
    assert plan(limits, limits) == []


def test_no_limits_are_no_writes() -> None:
    assert settings(JobLimits()) == {}


def test_every_limit_is_written_where_it_belongs() -> None:
    limits = JobLimits(
        memory_max_bytes=64 << 20, memory_high_bytes=32 << 20, cpu_max_millicpus=250,
        cpu_weight=300, cpu_set="0-1", pids_max=9, io=(IoLimit("8:0", 4096, None, 5),),
        io_weight=200, monitor_memory_max_bytes=32 << 20,
    )  # fmt: skip
    assert {tuple(key): text for key, text in settings(limits).items()} == {
        ("payload", "memory.oom.group", ""): "1",
        ("payload", "memory.swap.max", ""): "0",
        ("payload", "memory.high", ""): "33554432",
        ("payload", "memory.max", ""): "67108864",
        ("monitor", "memory.max", ""): "33554432",
        ("job", "cpuset.cpus", ""): "0-1",
        ("job", "cpu.weight", ""): "300",
        ("job", "cpu.max", ""): "25000 100000",
        ("payload", "pids.max", ""): "9",
        ("job", "io.max", "8:0"): "8:0 rbps=4096 wbps=max riops=5 wiops=max",
        ("job", "io.weight", ""): "default 200",
        ("job", "io.bfq.weight", ""): "default 109",
    }


def test_a_device_that_is_not_named_any_more_is_freed() -> None:
    old = JobLimits(io=(IoLimit("8:0", 4096), IoLimit("8:16", 5000)))
    (write,) = plan(old, replace(old, io=old.io[:1]))
    assert write.text == "8:16 rbps=max wbps=max riops=max wiops=max"
    assert write.lifts


def test_a_weight_is_written_only_when_idle_is_over() -> None:
    writes = plan(JobLimits(cpu_idle=True), JobLimits(cpu_weight=5))
    assert [(w.setting.file, w.text) for w in writes] == [("cpu.idle", "0"), ("cpu.weight", "5")]


@pytest.mark.parametrize("file", ["memory.swap.max", "io.bfq.weight"])
def test_a_file_that_a_job_may_do_without_is_left_out(file: str) -> None:
    writes = plan(JobLimits(), JobLimits(memory_max_bytes=1 << 22, io_weight=5), {file})
    assert file not in {write.setting.file for write in writes}
    assert len(writes) == 4 - (file != "memory.swap.max") + (file != "memory.swap.max")
