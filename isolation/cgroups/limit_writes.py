"""Which text goes into which file of a job's cgroups: a plan from the old limits to the new.

Pure: it opens nothing. `isolation.cgroups.limits` carries a plan out, and back when it fails.
Formats: Documentation/admin-guide/cgroup-v2.rst of the kernel.

cpu, cpuset and io are limited on `job`, so that a job's own log writing counts as its own;
memory and pids on `payload`, so that a fork bomb or a hog cannot hurt its monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from isolation.cgroups.limit_kinds import (
    DEFAULT_WEIGHT,
    IoLimit,
    bfq_weight,
    by_device,
    cpu_max_for,
    oom_policy,
    swap_max,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from isolation.cgroups.limit_kinds import JobLimits

Group = Literal["job", "monitor", "payload"]

MEMORY_MAX: Final = "memory.max"
MEMORY_HIGH: Final = "memory.high"
SWAP_MAX: Final = "memory.swap.max"
OOM_GROUP: Final = "memory.oom.group"
CPU_MAX: Final = "cpu.max"
CPU_WEIGHT: Final = "cpu.weight"
CPU_IDLE: Final = "cpu.idle"
CPUS: Final = "cpuset.cpus"
PIDS_MAX: Final = "pids.max"
IO_MAX: Final = "io.max"
IO_WEIGHT: Final = "io.weight"
BFQ_WEIGHT: Final = "io.bfq.weight"

# What a new cgroup has: written to lift a limit.
_LIFTED: Final = {
    MEMORY_MAX: "max",
    MEMORY_HIGH: "max",
    SWAP_MAX: "max",
    OOM_GROUP: "0",
    CPU_MAX: "max 100000",
    CPU_WEIGHT: f"{DEFAULT_WEIGHT}",
    CPU_IDLE: "0",
    # An empty write(2) would not reach the kernel.
    CPUS: "\n",
    PIDS_MAX: "max",
    IO_WEIGHT: f"default {DEFAULT_WEIGHT}",
    BFQ_WEIGHT: f"default {DEFAULT_WEIGHT}",
}


class Setting(NamedTuple):
    """One value that the kernel keeps: a file, or in io.max a device's line of it."""

    group: Group
    file: str
    device: str = ""

    @property
    def lifted(self) -> str:
        """The text that stands for no limit."""
        return io_text(IoLimit(self.device)) if self.device else _LIFTED[self.file]


class Write(NamedTuple):
    """One write(2): the text, and the one that takes it back."""

    setting: Setting
    text: str
    old: str

    @property
    def lifts(self) -> bool:
        """Whether nothing is limited by it any more."""
        return self.text == self.setting.lifted


def plan(old: JobLimits, new: JobLimits, missing: Collection[str] = ()) -> list[Write]:
    """The writes that lead from `old` to `new`, in order; undone in the opposite order.

    Lifting comes first: a weight cannot be written as long as cpu.idle is 1. Files in
    `missing` are left out; whether a limit can do without them is looked at before.
    """
    before, after = settings(old), settings(new)
    lifted = [Write(key, key.lifted, before[key]) for key in before if key not in after]
    changed = [
        Write(key, text, before.get(key, key.lifted))
        for key, text in after.items()
        if before.get(key) != text
    ]
    return [write for write in lifted + changed if write.setting.file not in missing]


def settings(limits: JobLimits) -> dict[Setting, str]:
    """Everything that differs from a new cgroup, as text, in the order of writing."""
    return dict((*_memory(limits), *_cpu(limits), *_pids(limits), *_io(limits)))


def io_text(limit: IoLimit) -> str:
    """A line of io.max with all four rates, so that one that is gone is lifted."""
    pairs = (f"{name}={'max' if rate is None else rate}" for name, rate in io_rates(limit).items())
    return " ".join((limit.device, *pairs))


def io_rates(limit: IoLimit) -> dict[str, int | None]:
    """The rates under the kernel's names."""
    return {
        "rbps": limit.read_bytes_per_second,
        "wbps": limit.write_bytes_per_second,
        "riops": limit.read_operations_per_second,
        "wiops": limit.write_operations_per_second,
    }


def _memory(limits: JobLimits) -> Iterator[tuple[Setting, str]]:
    if oom_policy(limits) == "kill":
        yield Setting("payload", OOM_GROUP), "1"
    for file, number in (
        (SWAP_MAX, swap_max(limits)),
        (MEMORY_HIGH, limits.memory_high_bytes),
        (MEMORY_MAX, limits.memory_max_bytes),
    ):
        if number is not None:
            yield Setting("payload", file), str(number)
    if limits.monitor_memory_max_bytes is not None:
        yield Setting("monitor", MEMORY_MAX), str(limits.monitor_memory_max_bytes)


def _cpu(limits: JobLimits) -> Iterator[tuple[Setting, str]]:
    if limits.cpu_set is not None:
        yield Setting("job", CPUS), limits.cpu_set
    if limits.cpu_idle:
        yield Setting("job", CPU_IDLE), "1"
    elif limits.cpu_weight is not None:
        yield Setting("job", CPU_WEIGHT), str(limits.cpu_weight)
    if limits.cpu_max_millicpus is not None:
        quota, period = cpu_max_for(limits.cpu_max_millicpus)
        yield Setting("job", CPU_MAX), f"{quota} {period}"


def _pids(limits: JobLimits) -> Iterator[tuple[Setting, str]]:
    if limits.pids_max is not None:
        yield Setting("payload", PIDS_MAX), str(limits.pids_max)


def _io(limits: JobLimits) -> Iterator[tuple[Setting, str]]:
    for limit in by_device(limits.io):
        yield Setting("job", IO_MAX, limit.device), io_text(limit)
    if limits.io_weight is not None:
        yield Setting("job", IO_WEIGHT), f"default {limits.io_weight}"
        yield Setting("job", BFQ_WEIGHT), f"default {bfq_weight(limits.io_weight)}"
