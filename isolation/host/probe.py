"""What this host can enforce, for `runctl doctor`. Only looks: makes, mounts and writes nothing.

Each feature is enforced or unavailable, with a reason and a remedy. Which of them a job
needs, and refusing it, is for whoever applies its limits; what a job is shut into is looked
at by `isolation.host.probe_sandbox`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from isolation.cgroups.limit_checks import (
    KERNEL_NEEDS,
    host_swaps,
    io_weight_holders,
    why_no_io_weight,
)
from isolation.cgroups.limit_writes import IO_WEIGHT, SWAP_MAX
from isolation.cgroups.root import kernel_has, missing_controllers, v1_controllers
from isolation.host import mountinfo, probe_sandbox
from isolation.host.probe_host import Feature, Host, enforced_unless, number, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from isolation.host.mountinfo import Mount

__all__ = ["Feature", "Host", "features", "probe"]

# Interface files that hold no limit: what needs them, and what a kernel must have for them.
_OTHER_FILES: Final = (
    ("memory.peak", "use a kernel with version 5.19 or later"),
    ("cgroup.freeze", "use a kernel from 5.2 on; until then jobs cannot be paused"),
    (
        "cgroup.kill",
        "use a kernel from 5.14 on; until then processes are frozen and killed one by one",
    ),
)
_LEAST_ROOM: Final = 64 * 2**20
_INOTIFY_LEAST: Final = (("max_user_instances", 16), ("max_user_watches", 1024))


def probe(
    cgroup_root: str,
    available: Iterable[str],
    state_dir: str,
    private_networks: Callable[[], tuple[str, str] | None] | None = None,
) -> list[Feature]:
    """Every feature of this host. `available`: `CgroupTree.available`, after `prepare`.

    `private_networks` says why there can be none and what to do (`PrivateNetworks.unavailable`);
    without it they are left out. Blocks for up to a second or two.
    """
    mounts = tuple(mountinfo.read())
    return features(
        Host(
            cgroup_root=cgroup_root,
            available=frozenset(available),
            state_dir=state_dir,
            landlock=_landlock,
            device_filter=_device_filter,
            private_networks=private_networks,
            mounts=mounts,
            state_mount=_mount_of(state_dir, mounts),
        )
    )


def features(host: Host) -> list[Feature]:
    """The same for a described host."""
    return [
        *_limits(host),
        _io_weight(host),
        _swap(host),
        *_other_files(host),
        _pressure(host),
        *probe_sandbox.features(host),
        _inotify(host),
        _state_dir(host),
        _room(host),
    ]


# Limits and cgroups


def _without_controller(host: Host, name: str) -> Feature | None:
    """The finding for a file whose controller is not there; None when it is."""
    controller = name.partition(".")[0]
    if controller == "cgroup":
        return None
    v1 = v1_controllers(host.mounts)
    lacking = missing_controllers({controller}, host.available, v1=v1, root=host.cgroup_root)
    return Feature(name, "unavailable", lacking[0].why, lacking[0].remedy) if lacking else None


def _file(host: Host, name: str, remedy: str) -> Feature:
    why = None if kernel_has(host.cgroup_root, name) else f"this kernel has no {name}"
    return _without_controller(host, name) or enforced_unless(name, why, remedy)


def _limits(host: Host) -> Iterator[Feature]:
    for name, needs in KERNEL_NEEDS.items():
        yield _file(host, name, f"use a kernel with {needs}")


def _other_files(host: Host) -> Iterator[Feature]:
    for name, remedy in _OTHER_FILES:
        yield _file(host, name, remedy)


def _io_weight(host: Host) -> Feature:
    """Enforced where at least one disk heeds weights; which ones do is said."""
    lacking = _without_controller(host, IO_WEIGHT)
    if lacking is not None:
        return lacking
    holders = io_weight_holders(host.cgroup_root, host.sysfs)
    if holders:
        return Feature(IO_WEIGHT, "enforced", f"by {', '.join(holders)}; by no other disk")
    return Feature(IO_WEIGHT, "unavailable", *why_no_io_weight(host.cgroup_root))


def _swap(host: Host) -> Feature:
    """Whether a memory limit also bounds swap: there is none, or it can be limited."""
    limited = "memory" in host.available and kernel_has(host.cgroup_root, SWAP_MAX)
    why = None
    if not limited and host_swaps(host.proc):
        why = "swap is on and cannot be limited, so jobs with a memory limit are refused"
    return enforced_unless("swap-limit", why, "swapoff -a, or a kernel with memory.swap.max")


def _pressure(host: Host) -> Feature:
    # With psi=0 the files are absent; with CONFIG_PSI_DEFAULT_DISABLED reading them fails.
    why = None if read(host, "pressure/memory") else "this kernel does not measure pressure (PSI)"
    return enforced_unless("pressure", why, "boot a kernel with CONFIG_PSI with psi=1")


# Neighbours that know best; imported when they are asked, since the daemon starts without them.


def _landlock() -> Feature:
    from isolation import landlock

    version = landlock.abi()
    if version > 0:
        return Feature("landlock", "enforced", f"with version {version} of its interface")
    remedy = "use a kernel from 5.13 on with CONFIG_SECURITY_LANDLOCK, and landlock in lsm="
    return Feature("landlock", "unavailable", "this kernel has no Landlock, or it is off", remedy)


def _device_filter() -> Feature:
    from isolation import device_filter

    remedy = "use a kernel with CONFIG_CGROUP_BPF, and let runnerd be real root"
    return enforced_unless("device-filter", device_filter.available(), remedy)


# The daemon's own places


def _inotify(host: Host) -> Feature:
    for name, least in _INOTIFY_LEAST:
        found = number(host, f"sys/fs/inotify/{name}")
        if found is None:
            why = "this kernel has no inotify"
            return Feature("inotify", "unavailable", why, "use a kernel with CONFIG_INOTIFY_USER")
        if found < least:
            why = f"/proc/sys/fs/inotify/{name} is {found}, fewer than {least}"
            return Feature("inotify", "unavailable", why, f"sysctl fs.inotify.{name}={least}")
    return Feature("inotify", "enforced")


def _state_dir(host: Host) -> Feature:
    mount = host.state_mount
    why = None
    if mount is not None and mount.fstype in mountinfo.IN_MEMORY:
        why = (
            f"{host.state_dir} is in memory ({mount.fstype}): it does not survive a restart of "
            "the machine, and log pages are charged to the job's monitor and cannot be reclaimed"
        )
    return enforced_unless("state-dir", why, "set state_dir to a directory on a disk")


def _room(host: Host) -> Feature:
    """Whether jobs, their output and their ends can be stored for a while."""
    try:
        status = os.statvfs(host.state_dir)
    except OSError as error:
        why: str | None = f"{host.state_dir}: {error.strerror}"
    else:
        free = status.f_bavail * status.f_frsize
        why = None
        if free < _LEAST_ROOM:
            why = f"{free} bytes are free below {host.state_dir}"
    return enforced_unless("state-dir-room", why, "remove ended jobs, or make room otherwise")


def _mount_of(path: str, mounts: tuple[Mount, ...]) -> Mount | None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return mountinfo.by_id(mounts, mountinfo.mount_id_of(fd))
    finally:
        os.close(fd)
