"""Where the cgroup v2 tree of this host is and which part of it is ours to use.

Decides from the mount table; makes and enables nothing, which `isolation.cgroups.tree` does.
Also says which interface files this kernel has there, and in words why a controller is missing.

A cgroup that systemd delegated to runnerd's unit is not used by itself: jobs outlive the unit's
process, and systemd starts no unit again while processes are below its cgroup (ARCHITECTURE.md,
"Under systemd").
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from isolation.errors import CgroupError, CgroupRootError
from isolation.host import mountinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from isolation.host.mountinfo import Mount

LIMIT_CONTROLLERS: Final = frozenset({"cpu", "cpuset", "io", "memory", "pids"})
USUAL_MOUNT: Final = "/sys/fs/cgroup"
DAEMON_GROUP: Final = "daemon"
ROOT_NAME: Final = "runnerd"

# What v1 calls a controller that has another name in v2.
_V1_NAMES: Final = {"blkio": "io"}
_KERNEL_OPTIONS: Final = {
    "cpu": "CONFIG_CGROUP_SCHED and CONFIG_CFS_BANDWIDTH",
    "cpuset": "CONFIG_CPUSETS",
    "io": "CONFIG_BLK_CGROUP and CONFIG_BLK_DEV_THROTTLING",
    "memory": "CONFIG_MEMCG",
    "pids": "CONFIG_CGROUP_PIDS",
}
_UNIFIED: Final = (
    "boot with systemd.unified_cgroup_hierarchy=1 (or, without systemd, cgroup_no_v1=all) "
    "on the kernel command line"
)
_CONTAINER: Final = (
    "when this is a container, start it with a cgroup tree of its own that it may write "
    "(for docker and podman: --privileged --cgroupns=private)"
)

Source = Literal["configured", "own"]


class CgroupRoot(NamedTuple):
    """The decision: the directory, how it was chosen, and the mount that it is below.

    `source` is "configured" or "own" (a directory of ours directly below the mount, which may
    have to be made).
    """

    path: str
    source: Source
    mount: str


class MissingController(NamedTuple):
    """A controller that cannot be used here: why, and what to do about it."""

    controller: str
    why: str
    remedy: str


def find_root(configured: str | None = None, *, needs_limits: bool = True) -> CgroupRoot:
    """The cgroup root to use on this host. Raises CgroupRootError; makes nothing.

    `configured` is an absolute path and need not exist yet; it wins over everything found.
    With `needs_limits` a tree that offers no controller at all will not do.
    """
    return decide_root(
        mountinfo.read(),
        configured,
        offered=offered if needs_limits else lambda _path: LIMIT_CONTROLLERS,
    )


def decide_root(
    mounts: list[Mount],
    configured: str | None,
    *,
    offered: Callable[[str], frozenset[str]],
) -> CgroupRoot:
    """The decision alone; `offered` asks the kernel.

    Raises CgroupRootError when there is no cgroup2 mount, when it may not be written, when
    it offers no controller for a limit, or when `configured` is not below one.
    """
    mount = _chosen_mount(mounts, configured)
    if mount.read_only:
        raise CgroupRootError(
            f"the cgroup2 file system at {mount.point} is mounted read-only",
            f"remount it writable; {_CONTAINER}",
        )
    _require_controllers(mount, offered(mount.point), v1_controllers(mounts))
    if configured is not None:
        return CgroupRoot(os.path.normpath(configured), "configured", mount.point)
    return CgroupRoot(os.path.join(mount.point, ROOT_NAME), "own", mount.point)


def own_cgroup(text: str) -> str | None:
    """The v2 path in a /proc/PID/cgroup text (cgroups(7)); None when there is none."""
    lines = (line.partition("::") for line in text.split("\n"))
    return next((path for number, _, path in lines if number == "0"), None)


def offered(path: str) -> frozenset[str]:
    """The controllers that a cgroup may use. Raises CgroupError."""
    file_path = os.path.join(path, "cgroup.controllers")
    try:
        with open(file_path, encoding="ascii") as file:
            return frozenset(file.read().split())
    except OSError as error:
        raise CgroupError(error.errno or 0, "read", file_path) from None


def kernel_has(root: str, name: str) -> bool:
    """Whether the interface file `name` is in the cgroup at `root` or in one below it.

    The top of a hierarchy has no limits and a new root has no child yet. With nothing to
    look at, the file is taken to be there; applying a limit finds out in any case.
    """
    if os.path.exists(os.path.join(root, name)):
        return True
    below = _child_cgroups(root)
    if not below and not os.path.exists(os.path.join(root, "cgroup.type")):
        return True
    return any(os.path.exists(os.path.join(path, name)) for path in below)


def _child_cgroups(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def v1_controllers(mounts: Iterable[Mount]) -> dict[str, str]:
    """Which controllers sit on v1 hierarchies: v2 name → where it is mounted."""
    return {
        _V1_NAMES.get(option, option): mount.point
        for mount in mounts
        if mount.fstype == "cgroup"
        for option in mount.super_options
        if option in _KERNEL_OPTIONS or option in _V1_NAMES
    }


def missing_controllers(
    required: Collection[str],
    available: Collection[str],
    *,
    v1: Mapping[str, str] | None = None,
    root: str | None = None,
    at_mount: Collection[str] = (),
) -> list[MissingController]:
    """Those of `required` that are not `available`, each with a reason and a remedy.

    `v1` (from `v1_controllers`), `root` and `at_mount` (what the top of the tree offers)
    make the reason exact; without them it is the general one.
    """
    names = sorted(set(required) - set(available))
    return [_explain(name, v1 or {}, root, at_mount) for name in names]


def _explain(
    name: str, v1: Mapping[str, str], root: str | None, at_mount: Collection[str]
) -> MissingController:
    if name in v1:
        why = f"the {name} controller is bound to a cgroup v1 hierarchy at {v1[name]}"
        return MissingController(name, why, _UNIFIED)
    if name in at_mount:
        why = f"the {name} controller is not handed down to {root or 'the cgroup root'}"
        remedy = (
            f"enable it in cgroup.subtree_control of the cgroups above, "
            f"with systemd by Delegate={name} in the unit"
        )
        return MissingController(name, why, remedy)
    why = f"the {name} controller is not there"
    option = _KERNEL_OPTIONS.get(name, "its option")
    remedy = f"use a kernel with {option} and without cgroup_disable={name}; {_CONTAINER}"
    return MissingController(name, why, remedy)


def _chosen_mount(mounts: list[Mount], configured: str | None) -> Mount:
    """The mount that `configured` is below; else the usual one, else the first."""
    found = [mount for mount in mounts if mount.fstype == "cgroup2"]
    if not found:
        remedy = f"mount it (mount -t cgroup2 none {USUAL_MOUNT}), or {_UNIFIED}"
        raise CgroupRootError("cgroup v2 is not mounted", remedy)
    if configured is None:
        return min(found, key=lambda mount: mount.point != USUAL_MOUNT)
    path = os.path.normpath(configured)
    above = [mount for mount in found if _below(path, mount.point)]
    if not os.path.isabs(configured) or not above:
        raise CgroupRootError(
            f"the configured cgroup root {configured} is not below a cgroup2 mount",
            "give an absolute path below " + " or ".join(sorted({m.point for m in found})),
        )
    return max(above, key=lambda mount: len(mount.point))


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _require_controllers(mount: Mount, at_mount: frozenset[str], v1: Mapping[str, str]) -> None:
    if at_mount & LIMIT_CONTROLLERS:
        return
    held = sorted(LIMIT_CONTROLLERS & set(v1))
    if held:
        why = (
            f"cgroup v2 is mounted at {mount.point}, but without controllers: "
            f"{', '.join(held)} are bound to cgroup v1 hierarchies"
        )
        raise CgroupRootError(why, _UNIFIED)
    wanted = ", ".join(sorted(LIMIT_CONTROLLERS))
    why = f"cgroup v2 is mounted at {mount.point}, but offers none of {wanted}"
    raise CgroupRootError(why, _CONTAINER)
