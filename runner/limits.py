"""Between the limits of the protocol and those of the kernel.

The protocol speaks of paths and of a timeout; cgroups know devices and no clock. What is
shown to people is what the kernel read back, under the protocol's names.
"""

from __future__ import annotations

import os
from typing import Any, Final

from isolation import mountinfo
from isolation.cgroup_limits import AppliedLimits, IoLimit, JobLimits

_MIB: Final = 1024 * 1024
# The monitor needs about 8 MiB besides the page cache of the log, which the kernel takes back.
_MONITOR_BYTES: Final = 32 * _MIB


def kernel_limits(
    limits: dict[str, Any], devices: dict[bytes, str], monitor_bytes: int | None
) -> JobLimits:
    """What is written to the cgroups. `devices` maps each io path to its "MAJ:MIN"."""
    io = tuple(
        IoLimit(
            devices[entry["path"]],
            entry.get("read_bytes_per_second"),
            entry.get("write_bytes_per_second"),
        )
        for entry in limits.get("io", ())
    )
    return JobLimits(
        memory_max_bytes=limits.get("memory_max_bytes"),
        cpu_max_millicpus=limits.get("cpu_max_millicpus"),
        pids_max=limits.get("pids_max"),
        io=io,
        monitor_memory_max_bytes=monitor_bytes,
    )


def shown_limits(
    limits: dict[str, Any], devices: dict[bytes, str], applied: AppliedLimits
) -> dict[str, Any]:
    """The limits as read back, in the protocol's names."""
    by_device = {limit.device: limit for limit in applied.io}
    io = []
    for entry in limits.get("io", ()):
        limit = by_device[devices[entry["path"]]]
        io.append(
            {
                "path": entry["path"],
                "device": limit.device,
                "read_bytes_per_second": limit.read_bytes_per_second,
                "write_bytes_per_second": limit.write_bytes_per_second,
            }
        )
    shown = {
        "memory_max_bytes": applied.memory_max_bytes,
        "cpu_max_millicpus": applied.cpu_max_millicpus,
        "pids_max": applied.pids_max,
        "timeout_seconds": limits.get("timeout_seconds"),
        "io": io,
    }
    return {name: value for name, value in shown.items() if value not in (None, [])}


def monitor_memory_bytes(state_dir: str, log_bytes: int) -> int:
    """The memory cap of a monitor.

    On a disk the log's pages are cache. In tmpfs, or in an overlay which may lie on one, they
    are memory that cannot be taken back and is charged to the monitor, so there the cap has
    room for the whole log.
    """
    return _MONITOR_BYTES + (0 if _file_system(state_dir) in mountinfo.ON_DISK else log_bytes)


def _file_system(path: str) -> str | None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = mountinfo.by_id(mountinfo.read(), mountinfo.mount_id_of(fd))
    finally:
        os.close(fd)
    return None if mount is None else mount.fstype
