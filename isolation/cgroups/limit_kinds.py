"""What a job's limits are: values with units, and arithmetic between people's and the kernel's.

Opens no file and knows no host. Which text goes into which file is `cgroups.limit_writes`,
whether this host can hold a job to it `isolation.cgroups.limit_checks`, writing it
`isolation.cgroups.limits`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from isolation.cgroups.kinds import CpuMax

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OomPolicy = Literal["kill", "continue"]

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
CPU_PERIOD_USEC: Final = 100_000
# The kernel takes quotas from 1 ms and periods from 1 ms to 1 s (kernel/sched/core.c).
CPU_MIN_QUOTA_USEC: Final = 1000
CPU_MAX_PERIOD_USEC: Final = 1_000_000
DEFAULT_WEIGHT: Final = 100
# io.bfq.weight ends where io.weight goes on (block/bfq-iosched.h, BFQ_MAX_WEIGHT).
_BFQ_MAX_WEIGHT: Final = 1000
_MAX_WEIGHT: Final = 10_000


@dataclass(frozen=True, slots=True)
class IoLimit:
    """Rates for one whole device, "MAJ:MIN" (see `host.devices`), a second; None: no limit."""

    device: str
    read_bytes_per_second: int | None = None
    write_bytes_per_second: int | None = None
    read_operations_per_second: int | None = None
    write_operations_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What a job may use; None means no limit.

    - `memory_swap_max_bytes`: None with a memory limit means no swap at all, since otherwise
      the memory limit would bound nothing; it stays None where the host has no swap and the
      kernel no memory.swap.max.
    - `memory_high_bytes`: above it the job is slowed down and its memory reclaimed.
    - `oom_policy`: "kill" ends the whole job with its first victim, "continue" leaves the
      choice to the kernel. None is "kill" where memory is limited.
    - `cpu_max_millicpus`: 1000 is one CPU.
    - `cpu_weight`, `io_weight`: 1 to 10000; who asks for nothing has 100.
    - `cpu_idle`: only what nobody else wants; not together with a weight.
    - `cpu_set`: CPU numbers and ranges, "0-3,8".
    - `monitor_memory_max_bytes` caps the job's monitor, apart from the job.
    """

    memory_max_bytes: int | None = None
    memory_high_bytes: int | None = None
    memory_swap_max_bytes: int | None = None
    oom_policy: OomPolicy | None = None
    cpu_max_millicpus: int | None = None
    cpu_weight: int | None = None
    cpu_idle: bool | None = None
    cpu_set: str | None = None
    pids_max: int | None = None
    io: tuple[IoLimit, ...] = ()
    io_weight: int | None = None
    monitor_memory_max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class AppliedLimits(JobLimits):
    """The same fields as the kernel shows them: memory in whole pages, cpu as it rounds.

    `oom_policy` and `memory_swap_max_bytes` are filled in where a memory limit brought them.
    """


def whole_pages(number: int) -> int:
    """Bytes as the kernel keeps them: rounded down to pages."""
    return number // PAGE_BYTES * PAGE_BYTES


def oom_policy(limits: JobLimits) -> OomPolicy | None:
    """The policy that holds. One kill ends all: half a job that lost a process helps nobody."""
    if limits.oom_policy is None and limits.memory_max_bytes is not None:
        return "kill"
    return limits.oom_policy


def swap_max(limits: JobLimits) -> int | None:
    """The swap limit that holds: none at all where memory is limited and nothing was asked."""
    if limits.memory_swap_max_bytes is None and limits.memory_max_bytes is not None:
        return 0
    return limits.memory_swap_max_bytes


def cpu_max_for(millicpus: int) -> CpuMax:
    """The cpu.max that gives this share: 100 ms periods, longer ones when the quota were too small.

    Raises ValueError below 1, which no period can express.
    """
    if millicpus < 1:
        raise ValueError(f"at least 1 millicpu: {millicpus}")
    quota = millicpus * CPU_PERIOD_USEC // 1000
    if quota >= CPU_MIN_QUOTA_USEC:
        return CpuMax(quota, CPU_PERIOD_USEC)
    period = min(CPU_MAX_PERIOD_USEC, CPU_MIN_QUOTA_USEC * 1000 // millicpus)
    return CpuMax(CPU_MIN_QUOTA_USEC, period)


def bfq_weight(weight: int) -> int:
    """io.bfq.weight for an io.weight: the same up to the default, above it squeezed to 1000."""
    if weight <= DEFAULT_WEIGHT:
        return weight
    span = _BFQ_MAX_WEIGHT - DEFAULT_WEIGHT
    return DEFAULT_WEIGHT + (weight - DEFAULT_WEIGHT) * span // (_MAX_WEIGHT - DEFAULT_WEIGHT)


def by_device(limits: Iterable[IoLimit]) -> list[IoLimit]:
    """One limit a device, the strictest of those given: io.max keeps one line for each."""
    merged: dict[str, IoLimit] = {}
    for limit in limits:
        merged[limit.device] = _stricter(merged.get(limit.device, limit), limit)
    return list(merged.values())


def _stricter(one: IoLimit, other: IoLimit) -> IoLimit:
    return IoLimit(
        one.device,
        strictest(one.read_bytes_per_second, other.read_bytes_per_second),
        strictest(one.write_bytes_per_second, other.write_bytes_per_second),
        strictest(one.read_operations_per_second, other.read_operations_per_second),
        strictest(one.write_operations_per_second, other.write_operations_per_second),
    )


def strictest(*limits: int | None) -> int | None:
    """The least of those that are limits at all."""
    return min((limit for limit in limits if limit is not None), default=None)


def cpu_ranges(text: str) -> Iterator[tuple[int, int]]:
    """The ranges of a CPU set, "0-3,8" → (0, 3), (8, 8). Raises ValueError for anything else."""
    for part in text.split(","):
        low, dash, high = part.partition("-")
        first, last = int(low), int(high if dash else low)
        if not 0 <= first <= last:
            raise ValueError(f"not a range of CPUs: {part!r}")
        yield first, last


def cpus_of(text: str) -> frozenset[int]:
    """All CPUs of a set that the kernel shows; an empty text is the empty set."""
    if not text:
        return frozenset()
    return frozenset(cpu for low, high in cpu_ranges(text) for cpu in range(low, high + 1))


def cpus_beyond(text: str, host: frozenset[int]) -> str:
    """What of a CPU set, in the words of a set, this host lacks; empty when it has all.

    Works on ranges, since a set as users write it may span far more CPUs than any host has.
    """
    end = max(host, default=-1)
    lacking = {
        (cpu, cpu)
        for low, high in cpu_ranges(text)
        for cpu in range(low, min(high, end) + 1)
        if cpu not in host
    }
    lacking |= {(max(low, end + 1), high) for low, high in cpu_ranges(text) if high > end}
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in sorted(lacking))
