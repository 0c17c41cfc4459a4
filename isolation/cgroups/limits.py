"""Writing a job's limits into its cgroups, proving each by reading it back, and changing them.

All or none: a write that fails takes back those before it. What is written is decided by
`cgroups.limit_writes`, whether the host can do it by `cgroups.limit_checks`; where the
cgroups are and how they are made and removed is `isolation.cgroups.tree`.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.cgroups.limit_checks import KERNEL_NEEDS, must_bound_swap, swap_unavailable
from isolation.cgroups.limit_kinds import (
    AppliedLimits,
    JobLimits,
    bfq_weight,
    by_device,
    cpu_max_for,
    cpus_of,
    oom_policy,
    swap_max,
    whole_pages,
)
from isolation.cgroups.limit_writes import (
    BFQ_WEIGHT,
    CPU_WEIGHT,
    CPUS,
    IO_WEIGHT,
    MEMORY_HIGH,
    MEMORY_MAX,
    OOM_GROUP,
    PIDS_MAX,
    SWAP_MAX,
    Setting,
    Write,
    io_rates,
    plan,
)
from isolation.cgroups.nodes import optional
from isolation.errors import CgroupError, LimitBelowUse, LimitUnavailable, ReadBackError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isolation.cgroups.kinds import CpuMax
    from isolation.cgroups.limit_kinds import IoLimit, OomPolicy
    from isolation.cgroups.nodes import Cgroup, Controller

_RECLAIM_ROUNDS: Final = 5
_OWN_USE: Final = (Setting("payload", PIDS_MAX), Setting("payload", SWAP_MAX))


class Slice(NamedTuple):
    """The three cgroups of a job: `monitor` and `payload` are below `job`."""

    job: Cgroup
    monitor: Cgroup
    payload: Cgroup


def apply(cgroups: Slice, limits: JobLimits) -> AppliedLimits:
    """Write every limit that is set into new cgroups, and read it back.

    Raises LimitUnavailable when the kernel lacks the file or the device takes no limit,
    ReadBackError when the kernel shows something else than a rounded value, CgroupError
    for any other failure. Nothing stays limited then.
    """
    return _change(cgroups, limits, _plan(cgroups, JobLimits(), limits))


def update(cgroups: Slice, old: JobLimits, new: JobLimits) -> AppliedLimits:
    """Change the limits of a job that has `old`: all to `new`, or none.

    A field that becomes None is lifted. Raises as `apply`, and LimitBelowUse with the number
    when the job uses more already; memory is reclaimed first, as far as it can be.
    """
    writes = _plan(cgroups, old, new)
    _refuse_below_use(cgroups, writes)
    return _change(cgroups, new, writes)


def _plan(cgroups: Slice, old: JobLimits, new: JobLimits) -> list[Write]:
    """The plan without the files that a job may do without here; raises where it may not."""
    missing = set()
    swaps = (swap_max(old), swap_max(new))
    if swaps != (None, None) and not cgroups.payload.memory.has(SWAP_MAX):
        if must_bound_swap(new):
            raise swap_unavailable()
        missing.add(SWAP_MAX)
    if new.io_weight is not None or old.io_weight is not None:
        # One of them is enough; that a disk heeds it was looked at before.
        missing |= {name for name in (IO_WEIGHT, BFQ_WEIGHT) if not cgroups.job.io.has(name)}
    return plan(old, new, missing)


def _change(cgroups: Slice, new: JobLimits, writes: list[Write]) -> AppliedLimits:
    done: list[Write] = []
    try:
        for write in writes:
            _write(cgroups, write)
            done.append(write)
        return read_back(cgroups, new)
    except (CgroupError, LimitUnavailable) as error:
        _take_back(cgroups, done, error)
        raise


def _take_back(cgroups: Slice, done: list[Write], cause: Exception) -> None:
    """The old values, last first. Failing at one keeps nobody from the others.

    Raises CgroupError for the first one that stays changed, unless the job is gone.
    """
    stays: CgroupError | None = None
    for write in reversed(done):
        controller = _controller(cgroups, write.setting)
        try:
            controller.set_property(write.setting.file.encode(), write.old)
        except CgroupError as error:
            if controller.node.exists():
                why = f"{error.why}, after: {cause}"
                number, path = error.errno or 0, str(error.filename)
                stays = stays or CgroupError(number, "write back", path, write.old, why=why)
    if stays is not None:
        raise stays from cause


def _controller(cgroups: Slice, setting: Setting) -> Controller:
    cgroup: Cgroup = getattr(cgroups, setting.group)
    controller: Controller = getattr(cgroup, setting.file.partition(".")[0])
    return controller


def _write(cgroups: Slice, write: Write) -> None:
    setting = write.setting
    controller = _controller(cgroups, setting)
    try:
        controller.set_property(setting.file.encode(), write.text)
    except CgroupError as error:
        # A device that is gone needs no lifting.
        if not (write.lifts and setting.device and error.errno == errno.ENODEV):
            raise _explained(error, controller, setting) from None


def _explained(error: CgroupError, controller: Controller, setting: Setting) -> Exception:
    """A file that is not there is a missing feature, unless the whole cgroup is gone."""
    if setting.device and error.errno in {errno.ENODEV, errno.EOPNOTSUPP}:
        # ENODEV: no such disk, or a partition; EOPNOTSUPP: it has no queue to throttle.
        return LimitUnavailable(
            setting.file,
            device=setting.device,
            why=f"the kernel takes no limit for the device {setting.device} ({error.why})",
            remedy="name a path on a whole disk, not on a partition or a virtual device",
        )
    if error.errno != errno.ENOENT or not controller.node.exists():
        return error
    why = f"this kernel has no {setting.file}"
    remedy = f"use a kernel with {KERNEL_NEEDS[setting.file]}"
    name = setting.file.partition(".")[0]
    return LimitUnavailable(setting.file, controller=name, why=why, remedy=remedy)


# What a job uses already


def _refuse_below_use(cgroups: Slice, writes: Iterable[Write]) -> None:
    """Raises LimitBelowUse. Processes and swap are counted; memory is first asked to shrink."""
    asked = {w.setting: int(w.text) for w in writes if w.setting.group == "payload" and not w.lifts}
    payload = cgroups.payload
    used = {
        PIDS_MAX: lambda: payload.pids.current,
        SWAP_MAX: lambda: payload.memory.swap_current,
    }
    for setting in _OWN_USE:
        if setting in asked:
            now = optional(used[setting.file]) or 0
            if now > asked[setting]:
                raise LimitBelowUse(setting.file, asked[setting], now)
    # memory.high would slow a job that has more down to a standstill.
    for name in (MEMORY_MAX, MEMORY_HIGH):
        limit = asked.get(Setting("payload", name))
        if limit is not None:
            _make_room(payload, name, limit)


def _make_room(payload: Cgroup, name: str, limit: int) -> None:
    """Have the kernel reclaim what is above `limit`, so that writing memory.max kills nobody.

    memory.max itself reclaims and then kills (cgroup-v2.rst), memory.reclaim (5.19) only
    reclaims: cache, and what may be swapped. Before that, cache that is clean is taken for
    reclaimable, which is what the kernel would get back at once.
    """
    for _ in range(_RECLAIM_ROUNDS):
        excess = (optional(lambda: payload.memory.current) or 0) - limit
        if excess <= 0:
            return
        if not payload.memory.has("memory.reclaim"):
            break
        # EAGAIN: less than that could be reclaimed. What is left is looked at again.
        with suppress(CgroupError):
            payload.memory.set_property(b"memory.reclaim", excess)
    used = optional(lambda: payload.memory.current) or 0
    if not payload.memory.has("memory.reclaim"):
        used -= _clean_cache(optional(lambda: payload.memory.stat) or {})
    if used > limit:
        raise LimitBelowUse(name, limit, used)


def _clean_cache(stat: dict[str, int]) -> int:
    """Bytes of files in memory that are on the disk as well (memory.stat)."""
    cache = stat.get("active_file", 0) + stat.get("inactive_file", 0)
    return max(0, cache - stat.get("file_dirty", 0) - stat.get("file_writeback", 0))


# Reading back


def read_back(cgroups: Slice, limits: JobLimits) -> AppliedLimits:
    """The limits as the kernel shows them. Raises ReadBackError where it shows others."""
    job, monitor, payload = cgroups
    swap = swap_max(limits) if payload.memory.has(SWAP_MAX) else None
    return AppliedLimits(
        memory_max_bytes=_pages(payload, MEMORY_MAX, limits.memory_max_bytes),
        memory_high_bytes=_pages(payload, MEMORY_HIGH, limits.memory_high_bytes),
        memory_swap_max_bytes=_pages(payload, SWAP_MAX, swap),
        oom_policy=_oom_policy(payload, oom_policy(limits)),
        cpu_max_millicpus=_cpu_share(job, limits.cpu_max_millicpus),
        cpu_weight=_cpu_weight(job, limits),
        cpu_idle=_cpu_idle(job, wanted=limits.cpu_idle),
        cpu_set=_cpu_set(job, limits.cpu_set),
        pids_max=_pids(payload, limits.pids_max),
        io=tuple(_io(job, limit) for limit in by_device(limits.io)),
        io_weight=_io_weight(job, limits.io_weight),
        monitor_memory_max_bytes=_pages(monitor, MEMORY_MAX, limits.monitor_memory_max_bytes),
    )


def _pages(cgroup: Cgroup, file: str, wanted: int | None) -> int | None:
    if wanted is None:
        return None
    memory = cgroup.memory
    attributes = {MEMORY_MAX: "max", MEMORY_HIGH: "high", SWAP_MAX: "swap_max"}
    read: int | None = getattr(memory, attributes[file])
    return _same(memory, file, whole_pages(wanted), read)


def _oom_policy(payload: Cgroup, wanted: OomPolicy | None) -> OomPolicy | None:
    if wanted is not None:
        _same(payload.memory, OOM_GROUP, int(wanted == "kill"), int(payload.memory.oom_group))
    return wanted


def _cpu_share(job: Cgroup, millicpus: int | None) -> int | None:
    return None if millicpus is None else _same_share(job, cpu_max_for(millicpus), job.cpu.max)


def _same_share(job: Cgroup, wanted: CpuMax, read: CpuMax) -> int:
    """The share that the kernel shows, which may be rounded by less than a hundredth."""
    if read.quota is not None and wanted.quota is not None:
        given, asked = read.quota * wanted.period, wanted.quota * read.period
        if abs(given - asked) * 100 <= asked:
            return max(1, round(read.quota * 1000 / read.period))
    wrote = f"{wanted.quota} {wanted.period}"
    raise ReadBackError(job.cpu.path("cpu.max"), wrote, f"{read.quota} {read.period}")


def _cpu_weight(job: Cgroup, limits: JobLimits) -> int | None:
    if limits.cpu_weight is None or limits.cpu_idle:
        return None
    return _same(job.cpu, CPU_WEIGHT, limits.cpu_weight, job.cpu.weight)


def _cpu_idle(job: Cgroup, *, wanted: bool | None) -> bool | None:
    if wanted:
        _same(job.cpu, "cpu.idle", 1, int(job.cpu.idle))
    return wanted


def _cpu_set(job: Cgroup, wanted: str | None) -> str | None:
    """The set in the kernel's words, when it is what the job's processes really get."""
    if wanted is None:
        return None
    read = job.cpuset.effective
    if cpus_of(read) != cpus_of(wanted):
        raise ReadBackError(job.cpuset.path("cpuset.cpus.effective"), wanted, read)
    return job.cpuset.get_property(CPUS.encode())


def _pids(payload: Cgroup, wanted: int | None) -> int | None:
    if wanted is None:
        return None
    return _same(payload.pids, PIDS_MAX, wanted, payload.pids.max)


def _io(job: Cgroup, limit: IoLimit) -> IoLimit:
    wanted = io_rates(limit)
    # A device without any limit has no line.
    read = job.io.max.get(limit.device, {})
    found = {name: read.get(name) for name in wanted}
    if found != wanted:
        raise ReadBackError(job.io.path("io.max"), f"{limit.device} {wanted}", str(found))
    return limit


def _io_weight(job: Cgroup, wanted: int | None) -> int | None:
    """The weight itself: io.bfq.weight, which ends at 1000, is compared and not shown."""
    if wanted is None:
        return None
    for file, weight in ((IO_WEIGHT, wanted), (BFQ_WEIGHT, bfq_weight(wanted))):
        if job.io.has(file):
            read = job.io.weight if file == IO_WEIGHT else job.io.bfq_weight
            _same(job.io, file, weight, read)
    return wanted


def _same(controller: Controller, filename: str, wanted: int, read: int | None) -> int:
    if read != wanted:
        raise ReadBackError(controller.path(filename), str(wanted), str(read))
    return wanted
