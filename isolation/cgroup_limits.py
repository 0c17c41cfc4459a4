"""A job's limits: what they are, which controllers they need, how they are written and proved.

Every write is read back. Where the cgroups are and how they are made and removed is
`isolation.cgroups`; what a user may ask for is decided above this package.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.cgroup_nodes import CpuMax
from isolation.errors import CgroupError, LimitUnavailable, ReadBackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from isolation.cgroup_nodes import Cgroup, Controller

CPU_PERIOD_USEC: Final = 100_000
# The kernel takes quotas from 1 ms and periods from 1 ms to 1 s (kernel/sched/core.c).
CPU_MIN_QUOTA_USEC: Final = 1000
CPU_MAX_PERIOD_USEC: Final = 1_000_000
SWAP_MAX: Final = "memory.swap.max"
_PROC: Final = "/proc"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class IoLimit:
    """Bytes a second for one whole disk, "MAJ:MIN" (see `isolation.devices`); None: no limit."""

    device: str
    read_bytes_per_second: int | None = None
    write_bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What a job may use; None means no limit.

    `cpu_max_millicpus`: 1000 is one CPU. `memory_swap_max_bytes` None with a memory limit
    means no swap at all, since otherwise the memory limit would bound nothing; it stays None
    where the host has no swap and the kernel no memory.swap.max.
    `monitor_memory_max_bytes` caps the job's monitor, apart from the job.
    """

    memory_max_bytes: int | None = None
    memory_swap_max_bytes: int | None = None
    cpu_max_millicpus: int | None = None
    pids_max: int | None = None
    io: tuple[IoLimit, ...] = ()
    monitor_memory_max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class AppliedLimits(JobLimits):
    """The same fields as the kernel shows them: memory in whole pages, cpu as it rounds."""


class Slice(NamedTuple):
    """The three cgroups of a job: `monitor` and `payload` are below `job`."""

    job: Cgroup
    monitor: Cgroup
    payload: Cgroup


def needed(limits: JobLimits) -> Iterator[tuple[str, str]]:
    """(kernel's name of the limit, its controller) for each limit that is set."""
    if limits.memory_max_bytes is not None or limits.monitor_memory_max_bytes is not None:
        yield "memory.max", "memory"
    if limits.memory_swap_max_bytes is not None:
        yield SWAP_MAX, "memory"
    if limits.cpu_max_millicpus is not None:
        yield "cpu.max", "cpu"
    if limits.pids_max is not None:
        yield "pids.max", "pids"
    if limits.io:
        yield "io.max", "io"


def host_swaps(proc: str) -> bool:
    """Whether any swap is in use: PROC/swaps is a heading, then a line for each area.

    proc_swaps(5). A kernel without swap has no such file. Raises OSError for any other failure.
    """
    try:
        with open(os.path.join(proc, "swaps"), "rb") as file:
            return len(file.readlines()) > 1
    except FileNotFoundError:
        return False


def must_bound_swap(limits: JobLimits) -> bool:
    """Whether the job may start only with a swap limit: it was asked for, or memory is limited.

    Not where the host has no swap: there memory.max alone bounds the job.
    """
    if limits.memory_swap_max_bytes is not None:
        return True
    return limits.memory_max_bytes is not None and host_swaps(_PROC)


def swap_unavailable() -> LimitUnavailable:
    """The refusal where `must_bound_swap` and the kernel has no memory.swap.max."""
    return LimitUnavailable(
        SWAP_MAX,
        controller="memory",
        why="this kernel has no memory.swap.max, so swap cannot be limited",
        remedy="turn swap off (swapoff -a), or use a kernel with CONFIG_SWAP and without "
        "swapaccount=0",
    )


def by_device(limits: Iterable[IoLimit]) -> list[IoLimit]:
    """One limit a device, the strictest of those given: io.max keeps one line for each."""
    merged: dict[str, IoLimit] = {}
    for limit in limits:
        other = merged.get(limit.device, limit)
        read = _strictest(other.read_bytes_per_second, limit.read_bytes_per_second)
        write = _strictest(other.write_bytes_per_second, limit.write_bytes_per_second)
        merged[limit.device] = IoLimit(limit.device, read, write)
    return list(merged.values())


def _strictest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


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


def apply(cgroups: Slice, limits: JobLimits) -> AppliedLimits:
    """Write every limit that is set and read it back.

    Raises LimitUnavailable when the kernel lacks the file or the device takes no limit,
    ReadBackError when the kernel shows something else than a rounded value, CgroupError
    for any other failure. Limits written before the failing one stay.
    """
    return AppliedLimits(
        memory_max_bytes=_apply_memory(cgroups.payload, limits.memory_max_bytes),
        memory_swap_max_bytes=_apply_swap(cgroups.payload, limits),
        cpu_max_millicpus=_apply_cpu(cgroups.job, limits.cpu_max_millicpus),
        pids_max=_apply_pids(cgroups.payload, limits.pids_max),
        io=tuple(_apply_io(cgroups.job, limit) for limit in by_device(limits.io)),
        monitor_memory_max_bytes=_write_bytes(cgroups.monitor, limits.monitor_memory_max_bytes),
    )


def _apply_memory(payload: Cgroup, limit: int | None) -> int | None:
    if limit is None:
        return None
    # One kill ends the whole job: half a job that lost a process at random helps nobody.
    payload.memory.oom_group = True
    if not payload.memory.oom_group:
        raise ReadBackError(payload.memory.path("memory.oom.group"), "1", "0")
    return _write_bytes(payload, limit)


def _write_bytes(cgroup: Cgroup, limit: int | None) -> int | None:
    if limit is None:
        return None
    memory = cgroup.memory
    memory.max = limit
    return _same(memory, "memory.max", limit // _PAGE_BYTES * _PAGE_BYTES, memory.max)


def _apply_swap(payload: Cgroup, limits: JobLimits) -> int | None:
    if limits.memory_max_bytes is None and limits.memory_swap_max_bytes is None:
        return None
    memory, wanted = payload.memory, limits.memory_swap_max_bytes or 0
    if not memory.has(SWAP_MAX):
        if must_bound_swap(limits):
            raise swap_unavailable()
        return None
    memory.swap_max = wanted
    pages = wanted // _PAGE_BYTES * _PAGE_BYTES
    return _same(memory, SWAP_MAX, pages, memory.swap_max)


def _apply_cpu(job: Cgroup, millicpus: int | None) -> int | None:
    if millicpus is None:
        return None
    wanted = cpu_max_for(millicpus)
    try:
        job.cpu.max = wanted
    except CgroupError as error:
        remedy = "use a kernel with CONFIG_CFS_BANDWIDTH"
        raise _as_unavailable(error, "cpu.max", "cpu", remedy) from None
    return _same_share(job, wanted, job.cpu.max)


def _same_share(job: Cgroup, wanted: CpuMax, read: CpuMax) -> int:
    """The share that the kernel shows, which may be rounded by less than a hundredth."""
    if read.quota is not None and wanted.quota is not None:
        given, asked = read.quota * wanted.period, wanted.quota * read.period
        if abs(given - asked) * 100 <= asked:
            return max(1, round(read.quota * 1000 / read.period))
    wrote = f"{wanted.quota} {wanted.period}"
    raise ReadBackError(job.cpu.path("cpu.max"), wrote, f"{read.quota} {read.period}")


def _apply_pids(payload: Cgroup, limit: int | None) -> int | None:
    if limit is None:
        return None
    payload.pids.max = limit
    return _same(payload.pids, "pids.max", limit, payload.pids.max)


def _apply_io(job: Cgroup, limit: IoLimit) -> IoLimit:
    wanted = {"rbps": limit.read_bytes_per_second, "wbps": limit.write_bytes_per_second}
    try:
        job.io.max = {limit.device: {**wanted}}
    except CgroupError as error:
        raise _io_unavailable(error, limit.device) from None
    # A device without any limit has no line.
    read = job.io.max.get(limit.device, {})
    found = {name: read.get(name) for name in wanted}
    if found != wanted:
        raise ReadBackError(job.io.path("io.max"), f"{limit.device} {wanted}", str(found))
    return limit


def _same(controller: Controller, filename: str, wanted: int, read: int | None) -> int:
    if read != wanted:
        raise ReadBackError(controller.path(filename), str(wanted), str(read))
    return wanted


def _as_unavailable(error: CgroupError, limit: str, controller: str, remedy: str) -> Exception:
    """A file that is not there is a missing feature; any other error stays what it is."""
    if error.errno != errno.ENOENT:
        return error
    why = f"this kernel has no {limit}"
    return LimitUnavailable(limit, controller=controller, why=why, remedy=remedy)


def _io_unavailable(error: CgroupError, device: str) -> Exception:
    # ENODEV: no such disk, or a partition; EOPNOTSUPP: it has no queue to throttle.
    if error.errno in {errno.ENODEV, errno.EOPNOTSUPP}:
        why = f"the kernel takes no limit for the device {device} ({error.why})"
        remedy = "name a path on a whole disk, not on a partition or a virtual device"
        return LimitUnavailable("io.max", device=device, why=why, remedy=remedy)
    return _as_unavailable(error, "io.max", "io", "use a kernel with CONFIG_BLK_DEV_THROTTLING")
