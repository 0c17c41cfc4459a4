"""What a job can be shut into on this host, for `runctl doctor`. Only looks and makes nothing.

Namespaces, file systems, Landlock, seccomp, device filters, private networks; limits and the
daemon's own places are `isolation.host.probe`'s. Versions are those of a feature's first release.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from isolation.host.probe_host import Feature, enforced_unless, number, read, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isolation.host.probe_host import Host, Status

# (namespace, its file in /proc/PID/ns, its sysctl, kernel option)
_NAMESPACES: Final = (
    ("pid", "pid", "max_pid_namespaces", "CONFIG_PID_NS"),
    ("mount", "mnt", "max_mnt_namespaces", "CONFIG_NAMESPACES"),
    ("network", "net", "max_net_namespaces", "CONFIG_NET_NS"),
    ("ipc", "ipc", "max_ipc_namespaces", "CONFIG_IPC_NS"),
    ("uts", "uts", "max_uts_namespaces", "CONFIG_UTS_NS"),
    ("cgroup", "cgroup", "max_cgroup_namespaces", "CONFIG_CGROUPS"),
    ("user", "user", "max_user_namespaces", "CONFIG_USER_NS"),
)
# (feature, which is also its name in /proc/filesystems and its module's; kernel option)
_FILE_SYSTEMS: Final = (("overlay", "CONFIG_OVERLAY_FS"), ("squashfs", "CONFIG_SQUASHFS"))
_IDMAPPED_SINCE: Final = (5, 12)
# (feature, the action that it needs of seccomp(2), where it comes from)
_SECCOMP: Final = (
    ("seccomp", "errno", "CONFIG_SECCOMP_FILTER"),
    ("seccomp-notification", "user_notif", "version 5.0 or later and CONFIG_SECCOMP_FILTER"),
)


def features(host: Host) -> Iterator[Feature]:
    """Every feature of a job's surroundings."""
    yield from _namespaces(host)
    yield _no_new_privs(host)
    yield from _file_systems(host)
    yield _loop(host)
    yield _idmapped_mounts(host)
    yield from _seccomp(host)
    yield host.landlock()
    yield host.device_filter()
    if host.private_networks is not None:
        yield Feature("private-network", *_status(host.private_networks()))


def _status(reason: tuple[str, str] | None) -> tuple[Status, str | None, str | None]:
    return ("enforced", None, None) if reason is None else ("unavailable", *reason)


def _namespaces(host: Host) -> Iterator[Feature]:
    for name, file, sysctl, option in _NAMESPACES:
        feature = f"{name}-namespace"
        if not os.path.lexists(os.path.join(host.proc, "self/ns", file)):
            why = f"this kernel has no {name} namespaces"
            yield Feature(feature, "unavailable", why, f"use a kernel with {option}")
        elif number(host, f"sys/user/{sysctl}") == 0:
            why = f"/proc/sys/user/{sysctl} is 0"
            yield Feature(feature, "unavailable", why, f"sysctl user.{sysctl}=1024")
        else:
            yield Feature(feature, "enforced")


def _no_new_privs(host: Host) -> Feature:
    text = read(host, "self/status") or ""
    why = None if "\nNoNewPrivs:" in text else "this kernel does not show NoNewPrivs"
    return enforced_unless("no-new-privs", why, "use a kernel from 4.10 on")


def _file_systems(host: Host) -> Iterator[Feature]:
    known = (read(host, "filesystems") or "").split()
    for name, option in _FILE_SYSTEMS:
        has = name in known or _can_load(host, name)
        why = None if has else f"this kernel has no {name} and no module of that name"
        yield enforced_unless(name, why, f"use a kernel with {option}, or modprobe {name}")


def _can_load(host: Host, module: str) -> bool:
    """Whether the kernel would find a module as soon as somebody mounts that file system."""
    if number(host, "sys/kernel/modules_disabled"):
        return False
    release = (read(host, "sys/kernel/osrelease") or "").strip()
    text = read_file(os.path.join(host.modules, release, "modules.dep")) or ""
    return f"/{module}.ko" in text


def _loop(host: Host) -> Feature:
    has = os.path.exists(os.path.join(host.dev, "loop-control"))
    why = None if has else f"there is no {host.dev}/loop-control"
    return enforced_unless("loop", why, "use a kernel with CONFIG_BLK_DEV_LOOP, or modprobe loop")


def _idmapped_mounts(host: Host) -> Feature:
    release = (read(host, "sys/kernel/osrelease") or "").strip()
    found = re.match(r"(\d+)\.(\d+)", release)
    old = found is None or (int(found[1]), int(found[2])) < _IDMAPPED_SINCE
    why = f"this kernel, {release or 'of no version'}, is older than 5.12" if old else None
    return enforced_unless("idmapped-mounts", why, "use a kernel from 5.12 on")


def _seccomp(host: Host) -> Iterator[Feature]:
    actions = (read(host, "sys/kernel/seccomp/actions_avail") or "").split()
    for name, action, option in _SECCOMP:
        why = None if action in actions else f"seccomp has no action {action} here"
        yield enforced_unless(name, why, f"use a kernel with {option}")
