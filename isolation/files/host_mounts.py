"""The mounts that the host's tree consists of, for a job's set-up. Lean: no regular expressions.

Reads the mount table of this process and knows which kinds of file systems show or steer the
kernel and must not be handed into a job. The daemon's own reader is `isolation.host.mountinfo`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.files.user_paths import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

# A second look at the host's processes, cgroups or settings would lead out of the job:
# /proc/PID/root of another process of the user is the host's whole tree.
KERNELS_OWN: Final = frozenset((
    b"proc", b"sysfs", b"cgroup", b"cgroup2", b"devtmpfs", b"devpts", b"mqueue", b"debugfs",
    b"tracefs", b"securityfs", b"configfs", b"bpf", b"pstore", b"efivarfs", b"fusectl",
    b"binfmt_misc", b"nsfs", b"rpc_pipefs", b"nfsd", b"selinuxfs", b"resctrl",
))  # fmt: skip
# Neither steers anything, nor can it be a layer of an overlay.
NOT_FOR_OVERLAYS: Final = KERNELS_OWN | {b"autofs", b"hugetlbfs"}
_BEFORE_KIND: Final = b" - "


class HostMount(NamedTuple):
    """One line of /proc/PID/mountinfo: its id, where it is, and the kind of file system."""

    mount_id: int
    point: bytes
    fstype: bytes


def parse(table: bytes) -> list[HostMount]:
    """Every mount of a mount table, in its order. proc_pid_mountinfo(5)."""
    found = []
    for line in table.split(b"\n"):
        before, _, after = line.partition(_BEFORE_KIND)
        fields = before.split(b" ")
        if after:
            mount = HostMount(int(fields[0]), unescape(fields[4]), after.split(b" ")[0])
            found.append(mount)
    return found


def unescape(text: bytes) -> bytes:
    r"""Spaces, tabs, newlines and backslashes come as "\" and three octal digits."""
    first, *rest = text.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def read() -> list[HostMount]:
    """The mounts of this process's tree. Raises OSError."""
    fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    chunks = []
    try:
        # Not one read: each ends at a page.
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return parse(b"".join(chunks))


def mount_id_of(fd: int) -> int:
    """The mount that an open descriptor lies on. proc_pid_fdinfo(5)."""
    info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(info, 4096)
    finally:
        os.close(info)
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def kind_of(fd: int, table: Iterable[HostMount]) -> bytes:
    """The kind of file system that an open descriptor lies on; b"" when it cannot be told."""
    wanted = mount_id_of(fd)
    return next((mount.fstype for mount in table if mount.mount_id == wanted), b"")


def require_ordinary(path: bytes, fd: int, table: list[HostMount]) -> None:
    """Refuse what is, or has mounted below it, one of the kernel's own file systems.

    `path` is the real one of `fd`. Raises OSError: EPERM.
    """
    kind = kind_of(fd, table)
    if kind in KERNELS_OWN:
        why = f"it is on {kind.decode()}, through which a job could leave its limits"
        raise refusal(errno.EPERM, path, why)
    prefix = path.rstrip(b"/") + b"/"
    for mount in table:
        if mount.fstype in KERNELS_OWN and mount.point.startswith(prefix):
            shown = os.fsdecode(mount.point)
            why = f"it contains {shown} ({mount.fstype.decode()}): name the directories you need"
            raise refusal(errno.EPERM, path, why)
