"""Whether this host can hold a job to its limits: controllers, files, swap, CPUs, schedulers.

Only looks, and raises before anything is made. What is asked for is `cgroups.limit_kinds`,
writing it `isolation.cgroups.limits`; the same findings for people are `isolation.host.probe`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from isolation.cgroups.limit_kinds import cpus_beyond, cpus_of, oom_policy
from isolation.cgroups.limit_writes import (
    BFQ_WEIGHT,
    CPU_IDLE,
    CPU_MAX,
    CPU_WEIGHT,
    CPUS,
    IO_MAX,
    IO_WEIGHT,
    MEMORY_HIGH,
    MEMORY_MAX,
    OOM_GROUP,
    PIDS_MAX,
    SWAP_MAX,
)
from isolation.cgroups.root import kernel_has
from isolation.errors import LimitUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isolation.cgroups.limit_kinds import JobLimits

# What a kernel must have for a file: a version, or an option.
KERNEL_NEEDS: Final = {
    MEMORY_MAX: "CONFIG_MEMCG",
    MEMORY_HIGH: "CONFIG_MEMCG",
    SWAP_MAX: "CONFIG_SWAP and without swapaccount=0",
    OOM_GROUP: "version 4.19 or later",
    CPU_MAX: "CONFIG_CFS_BANDWIDTH",
    CPU_WEIGHT: "CONFIG_FAIR_GROUP_SCHED",
    CPU_IDLE: "version 5.15 or later",
    CPUS: "CONFIG_CPUSETS",
    PIDS_MAX: "CONFIG_CGROUP_PIDS",
    IO_MAX: "CONFIG_BLK_DEV_THROTTLING",
}
_PROC: Final = "/proc"
_SYSFS: Final = "/sys"
_IO_COST: Final = "io.cost.qos"


def needed(limits: JobLimits) -> Iterator[tuple[str, str]]:
    """(kernel's name of the limit, controller that it needs) for each limit that is set."""
    for file, wanted in _wanted(limits):
        if wanted:
            yield file, file.partition(".")[0]
    # Without the memory controller the kernel knows of no written page whose it is, and
    # writes them all out in the name of the root cgroup, which has no limit.
    if any(_limits_writing(limits)):
        yield IO_MAX, "memory"


def _wanted(limits: JobLimits) -> Iterator[tuple[str, bool]]:
    caps_memory = limits.memory_max_bytes is not None
    yield MEMORY_MAX, caps_memory or limits.monitor_memory_max_bytes is not None
    yield MEMORY_HIGH, limits.memory_high_bytes is not None
    yield SWAP_MAX, limits.memory_swap_max_bytes is not None
    yield OOM_GROUP, oom_policy(limits) is not None
    yield CPU_MAX, limits.cpu_max_millicpus is not None
    yield CPU_WEIGHT, limits.cpu_weight is not None
    yield CPU_IDLE, bool(limits.cpu_idle)
    yield CPUS, limits.cpu_set is not None
    yield PIDS_MAX, limits.pids_max is not None
    yield IO_MAX, bool(limits.io)
    yield IO_WEIGHT, limits.io_weight is not None


def _limits_writing(limits: JobLimits) -> Iterator[bool]:
    for limit in limits.io:
        yield limit.write_bytes_per_second is not None
        yield limit.write_operations_per_second is not None


def require_host(root: str, limits: JobLimits) -> None:
    """Refuse what this kernel or this machine lacks; controllers were looked at before.

    `root` is the cgroup that jobs are made in. Raises LimitUnavailable.
    """
    if must_bound_swap(limits) and not kernel_has(root, SWAP_MAX):
        raise swap_unavailable()
    for file, controller in needed(limits):
        if file in KERNEL_NEEDS and not kernel_has(root, file):
            why, remedy = f"this kernel has no {file}", f"use a kernel with {KERNEL_NEEDS[file]}"
            raise LimitUnavailable(file, controller=controller, why=why, remedy=remedy)
    if limits.cpu_set is not None:
        _require_cpus(root, limits.cpu_set)
    if limits.io_weight is not None and not io_weight_holders(root):
        why, remedy = why_no_io_weight(root)
        raise LimitUnavailable(IO_WEIGHT, controller="io", why=why, remedy=remedy)


# Swap


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


# CPUs


def _require_cpus(root: str, wanted: str) -> None:
    text = _read(os.path.join(root, "cpuset.cpus.effective")) or ""
    lacking = cpus_beyond(wanted, cpus_of(text))
    if lacking:
        why = f"CPU {lacking} of {wanted} is not among those that {root} may use ({text or 'none'})"
        remedy = f"name CPUs of {text}" if text else "use a kernel with CONFIG_CPUSETS"
        raise LimitUnavailable(CPUS, controller="cpuset", why=why, remedy=remedy)


# Weights of disks


def io_weight_holders(root: str, sysfs: str | None = None) -> list[str]:
    """What shares disks by weight here: "BFQ on sda", "io.cost on vda"; empty when nothing does.

    A weight that is written is kept by the kernel in any case; only these heed it.
    """
    sysfs = _SYSFS if sysfs is None else sysfs
    found = []
    if kernel_has(root, BFQ_WEIGHT):
        found += [f"BFQ on {disk}" for disk in _disks_with_bfq(sysfs)]
    if kernel_has(root, IO_WEIGHT):
        found += [f"io.cost on {disk}" for disk in _disks_with_io_cost(root, sysfs)]
    return found


def why_no_io_weight(root: str) -> tuple[str, str]:
    """(why, remedy) where `io_weight_holders` finds nothing."""
    if not kernel_has(root, IO_WEIGHT) and not kernel_has(root, BFQ_WEIGHT):
        return (
            f"this kernel has neither {IO_WEIGHT} nor {BFQ_WEIGHT}",
            "use a kernel with CONFIG_BLK_CGROUP_IOCOST or CONFIG_BFQ_GROUP_IOSCHED",
        )
    remedy = (
        "choose BFQ (echo bfq > /sys/block/DISK/queue/scheduler), or enable io.cost "
        f"(echo MAJ:MIN enable=1 > {_IO_COST} of the top cgroup)"
    )
    return "no disk has the scheduler BFQ, and io.cost is enabled for none", remedy


def _disks_with_bfq(sysfs: str) -> list[str]:
    top = os.path.join(sysfs, "block")
    try:
        names = sorted(os.listdir(top))
    except FileNotFoundError:
        return []
    chosen = {name: _read(os.path.join(top, name, "queue/scheduler")) or "" for name in names}
    return [name for name, schedulers in chosen.items() if "[bfq]" in schedulers.split()]


def _disks_with_io_cost(root: str, sysfs: str) -> list[str]:
    """From io.cost.qos, which only the top of the hierarchy has; a container does not see it."""
    while (text := _read(os.path.join(root, _IO_COST))) is None and root != os.path.dirname(root):
        root = os.path.dirname(root)
    lines = (line.split() for line in (text or "").splitlines())
    numbers = [words[0] for words in lines if "enable=1" in words]
    links = (os.path.realpath(os.path.join(sysfs, "dev/block", number)) for number in numbers)
    return [os.path.basename(link) for link in links]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None
