"""What this host can enforce, for `runctl doctor`. Only looks: makes, mounts and writes nothing.

Each feature is enforced or unavailable, with a reason and a remedy. Which of them a job
needs, and refusing it, is for whoever applies its limits.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from isolation import mountinfo
from isolation.cgroup_limits import SWAP_MAX, host_swaps
from isolation.cgroup_root import kernel_has, missing_controllers, v1_controllers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from isolation.mountinfo import Mount

Status = Literal["enforced", "unavailable"]

# (feature and file, controller, kernel version or option that gives it)
_LIMIT_FILES: Final = (
    ("memory.max", "memory", "CONFIG_MEMCG"),
    ("memory.swap.max", "memory", "CONFIG_SWAP and without swapaccount=0"),
    ("memory.peak", "memory", "version 5.19 or later"),
    ("cpu.max", "cpu", "CONFIG_CFS_BANDWIDTH"),
    ("pids.max", "pids", "CONFIG_CGROUP_PIDS"),
    ("io.max", "io", "CONFIG_BLK_DEV_THROTTLING"),
)
# (namespace, its file in /proc/PID/ns, its sysctl, kernel option)
_NAMESPACES: Final = (
    ("pid", "pid", "max_pid_namespaces", "CONFIG_PID_NS"),
    ("mount", "mnt", "max_mnt_namespaces", "CONFIG_NAMESPACES"),
    ("network", "net", "max_net_namespaces", "CONFIG_NET_NS"),
    ("ipc", "ipc", "max_ipc_namespaces", "CONFIG_IPC_NS"),
    ("uts", "uts", "max_uts_namespaces", "CONFIG_UTS_NS"),
    ("cgroup", "cgroup", "max_cgroup_namespaces", "CONFIG_CGROUPS"),
)
_LEAST_ROOM: Final = 64 * 2**20
_INOTIFY_LEAST: Final = (("max_user_instances", 16), ("max_user_watches", 1024))


class Feature(NamedTuple):
    """One line of the doctor. `why` and `remedy` are given when it is unavailable."""

    name: str
    status: Status
    why: str | None = None
    remedy: str | None = None


class Host(NamedTuple):
    """What is looked at: the cgroup root with its usable controllers, and where things are."""

    cgroup_root: str
    available: frozenset[str]
    state_dir: str
    proc: str = "/proc"
    mounts: tuple[Mount, ...] = ()
    state_mount: Mount | None = None


def probe(cgroup_root: str, available: Iterable[str], state_dir: str) -> list[Feature]:
    """Every feature of this host. `available`: `CgroupTree.available`, after `prepare`."""
    mounts = tuple(mountinfo.read())
    return features(
        Host(
            cgroup_root=cgroup_root,
            available=frozenset(available),
            state_dir=state_dir,
            mounts=mounts,
            state_mount=_mount_of(state_dir, mounts),
        )
    )


def features(host: Host) -> list[Feature]:
    """The same for a described host."""
    return [
        *_limits(host),
        _cgroup_kill(host),
        *_namespaces(host),
        _no_new_privs(host),
        _pressure(host),
        _inotify(host),
        _swap(host),
        _state_dir(host),
        _room(host),
    ]


def _enforced_unless(name: str, why: str | None, remedy: str) -> Feature:
    return Feature(name, "enforced") if why is None else Feature(name, "unavailable", why, remedy)


def _limits(host: Host) -> Iterator[Feature]:
    v1 = v1_controllers(host.mounts)
    for name, controller, option in _LIMIT_FILES:
        lacking = missing_controllers({controller}, host.available, v1=v1, root=host.cgroup_root)
        if lacking:
            yield Feature(name, "unavailable", lacking[0].why, lacking[0].remedy)
        else:
            why = None if kernel_has(host.cgroup_root, name) else f"this kernel has no {name}"
            yield _enforced_unless(name, why, f"use a kernel with {option}")


def _cgroup_kill(host: Host) -> Feature:
    why = None if kernel_has(host.cgroup_root, "cgroup.kill") else "this kernel has no cgroup.kill"
    remedy = "use a kernel from 5.14 on; until then processes are frozen and killed one by one"
    return _enforced_unless("cgroup.kill", why, remedy)


def _namespaces(host: Host) -> Iterator[Feature]:
    for name, file, sysctl, option in _NAMESPACES:
        feature = f"{name}-namespace"
        if not os.path.lexists(os.path.join(host.proc, "self/ns", file)):
            why = f"this kernel has no {name} namespaces"
            yield Feature(feature, "unavailable", why, f"use a kernel with {option}")
        elif _number(host, f"sys/user/{sysctl}") == 0:
            why = f"/proc/sys/user/{sysctl} is 0"
            yield Feature(feature, "unavailable", why, f"sysctl user.{sysctl}=1024")
        else:
            yield Feature(feature, "enforced")


def _no_new_privs(host: Host) -> Feature:
    text = _read(host, "self/status") or ""
    why = None if "\nNoNewPrivs:" in text else "this kernel does not show NoNewPrivs"
    return _enforced_unless("no-new-privs", why, "use a kernel from 4.10 on")


def _pressure(host: Host) -> Feature:
    # With psi=0 the files are absent; with CONFIG_PSI_DEFAULT_DISABLED reading them fails.
    why = None if _read(host, "pressure/memory") else "this kernel does not measure pressure (PSI)"
    return _enforced_unless("pressure", why, "boot a kernel with CONFIG_PSI with psi=1")


def _inotify(host: Host) -> Feature:
    for name, least in _INOTIFY_LEAST:
        number = _number(host, f"sys/fs/inotify/{name}")
        if number is None:
            why = "this kernel has no inotify"
            return Feature("inotify", "unavailable", why, "use a kernel with CONFIG_INOTIFY_USER")
        if number < least:
            why = f"/proc/sys/fs/inotify/{name} is {number}, fewer than {least}"
            return Feature("inotify", "unavailable", why, f"sysctl fs.inotify.{name}={least}")
    return Feature("inotify", "enforced")


def _swap(host: Host) -> Feature:
    """Whether a memory limit also bounds swap: there is none, or it can be limited."""
    limited = "memory" in host.available and kernel_has(host.cgroup_root, SWAP_MAX)
    why = None
    if not limited and host_swaps(host.proc):
        why = "swap is on and cannot be limited, so jobs with a memory limit are refused"
    return _enforced_unless("swap-limit", why, "swapoff -a, or a kernel with memory.swap.max")


def _state_dir(host: Host) -> Feature:
    mount = host.state_mount
    why = None
    if mount is not None and mount.fstype in mountinfo.IN_MEMORY:
        why = (
            f"{host.state_dir} is in memory ({mount.fstype}): it does not survive a restart of "
            "the machine, and log pages are charged to the job's monitor and cannot be reclaimed"
        )
    return _enforced_unless("state-dir", why, "set state_dir to a directory on a disk")


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
            why = f"{free // 2**20} MiB are free below {host.state_dir}"
    return _enforced_unless("state-dir-room", why, "remove ended jobs, or make room otherwise")


def _mount_of(path: str, mounts: tuple[Mount, ...]) -> Mount | None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return mountinfo.by_id(mounts, mountinfo.mount_id_of(fd))
    finally:
        os.close(fd)


def _read(host: Host, name: str) -> str | None:
    try:
        with open(os.path.join(host.proc, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _number(host: Host, name: str) -> int | None:
    text = _read(host, name)
    return int(text) if text is not None and re.fullmatch(r"-?\d+\s*", text) else None
