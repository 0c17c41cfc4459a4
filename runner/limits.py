"""Between the limits of the protocol and those of the kernel.

The protocol speaks of paths and of a timeout; cgroups know devices and no clock. What is
shown to people is what the kernel read back, under the protocol's names.
"""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple, Self

from isolation.cgroups.limit_kinds import AppliedLimits, IoLimit, JobLimits
from isolation.host import mountinfo
from runner.logs.format import INDEX_RECORD
from runner.pump import plan_output

# Those with the same name and meaning in the protocol and in `JobLimits`.
_OF_CGROUPS: Final = (
    "memory_max_bytes", "memory_high_bytes", "memory_swap_max_bytes", "oom_policy",
    "cpu_max_millicpus", "cpu_weight", "cpu_idle", "cpu_set", "pids_max", "io_weight",
)  # fmt: skip
_RATES: Final = (
    "read_bytes_per_second", "write_bytes_per_second",
    "read_operations_per_second", "write_operations_per_second",
)  # fmt: skip
_MIB: Final = 1024 * 1024
# The monitor needs about 8 MiB besides the page cache of the log, which the kernel takes back.
_MONITOR_BYTES: Final = 32 * _MIB


def kernel_limits(
    limits: dict[str, Any], devices: dict[bytes, tuple[str, ...]], monitor_bytes: int | None
) -> JobLimits:
    """What is written to the cgroups. `devices` maps each io path to its "MAJ:MIN"s."""
    io = tuple(
        IoLimit(device, **{name: entry.get(name) for name in _RATES})
        for entry in limits.get("io", ())
        for device in devices[entry["path"]]
    )
    return JobLimits(
        **{name: limits.get(name) for name in _OF_CGROUPS},
        io=io,
        monitor_memory_max_bytes=monitor_bytes,
    )


def shown_limits(
    limits: dict[str, Any], devices: dict[bytes, tuple[str, ...]], applied: AppliedLimits
) -> dict[str, Any]:
    """The limits in the protocol's names: those of cgroups as read back, the others as asked."""
    ours = {name: getattr(applied, name) for name in _OF_CGROUPS}
    others = {name: value for name, value in limits.items() if name not in ours and name != "io"}
    by_device = {limit.device: limit for limit in applied.io}
    io = [
        _shown_io(entry, [by_device[device] for device in devices[entry["path"]]])
        for entry in limits.get("io", ())
    ]
    shown = {**ours, **others, "io": io}
    return {name: value for name, value in shown.items() if value not in (None, [], {})}


def _shown_io(asked: dict[str, Any], held: list[IoLimit]) -> dict[str, Any]:
    """One path with its devices, and the rates that were asked for it.

    Each device was read back with the strictest of all that was asked for it. A path does not
    show what another one on its device was asked for: an update would take it for its own.
    """
    rates = {name: asked.get(name) for name in _RATES}
    return {"path": asked["path"], "devices": [limit.device for limit in held], **rates}


class MonitorMemory(NamedTuple):
    """How much memory monitors may use, each.

    On a disk the log's pages are cache. In tmpfs, or in an overlay which may lie on one, they
    are memory that cannot be taken back and is charged to the monitor, so there the cap has
    room for the whole log.
    """

    logs_are_memory: bool

    @classmethod
    def below(cls, state_dir: str) -> Self:
        """For a state directory. Raises OSError."""
        return cls(_file_system(state_dir) not in mountinfo.ON_DISK)

    def cap(self, spec: dict[str, Any], limits: dict[str, Any]) -> int:
        """In bytes, for a job's spec and the limits that it has now."""
        return _MONITOR_BYTES + (_most_log_bytes(spec, limits) if self.logs_are_memory else 0)


def _most_log_bytes(spec: dict[str, Any], limits: dict[str, Any]) -> int:
    """What a job's log may take: what it keeps, and the segments that are worked on.

    One is written to, and one is there as it is and compressed. Where all output is promised
    its indexes come on top: a record for each byte, where it is written byte by byte.
    """
    plan = plan_output(spec, limits)
    kept = plan.keep_bytes
    most = limits.get("output_max_bytes")
    if most is not None and kept > most:
        kept = most * (1 + INDEX_RECORD.size)
    return kept + 2 * plan.segment_bytes


def _file_system(path: str) -> str | None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = mountinfo.by_id(mountinfo.read(), mountinfo.mount_id_of(fd))
    finally:
        os.close(fd)
    return None if mount is None else mount.fstype
