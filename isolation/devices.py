"""Which disk is under a path: the "MAJ:MIN" that io.max takes, or why there is none.

Looks at st_dev, sysfs and the mount table. Writing the limit is `isolation.cgroup_limits`'
job, and whether the caller may see the path is its caller's.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from isolation import mountinfo
from isolation.errors import LimitUnavailable
from isolation.syscalls import AT_FDCWD, ResolveFlags, openat2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isolation.mountinfo import Mount


class Disk(NamedTuple):
    """A whole disk, or a device that acts as one (dm, md, loop): `device` is "MAJ:MIN"."""

    device: str
    name: str


def disk_of_path(path: str, *, sysfs: str = "/sys") -> Disk:
    """The disk under `path`; of a device node, the disk that it names.

    Raises OSError when the path cannot be looked up, LimitUnavailable when io.max has
    nothing to act on there.
    """
    fd = openat2(AT_FDCWD, path, os.O_PATH, ResolveFlags.NO_MAGICLINKS)
    try:
        return disk_of_fd(fd, path, sysfs=sysfs)
    finally:
        os.close(fd)


def disk_of_fd(fd: int, path: str, *, sysfs: str = "/sys") -> Disk:
    """`disk_of_path` for what is open already (O_PATH will do); `path` is for messages only."""
    status = os.fstat(fd)
    if stat.S_ISBLK(status.st_mode):
        return whole_disk(status.st_rdev, path, sysfs=sysfs)
    if os.major(status.st_dev):
        return whole_disk(status.st_dev, path, sysfs=sysfs)
    mount = mountinfo.by_id(mountinfo.read(), mountinfo.mount_id_of(fd))
    if mount is None:
        raise _refused(path, "its mount is not visible here", "name a path on a mounted disk")
    return disk_of_mount(mount, path, sysfs=sysfs)


def whole_disk(number: int, path: str, *, sysfs: str = "/sys") -> Disk:
    """The disk of a block device number: its own, or of a partition the disk it is part of."""
    device = f"{os.major(number)}:{os.minor(number)}"
    entry = os.path.realpath(os.path.join(sysfs, "dev/block", device))
    if not os.path.isdir(entry):
        raise _refused(path, f"sysfs has no block device {device}", "mount sysfs at /sys")
    # A partition's directory is inside its disk's. There is no second step: partitions of
    # partitions do not exist.
    if os.path.exists(os.path.join(entry, "partition")):
        entry = os.path.dirname(entry)
        with open(os.path.join(entry, "dev"), encoding="ascii") as file:
            device = file.read().strip()
    return Disk(device, os.path.basename(entry))


def disk_of_mount(mount: Mount, path: str, *, sysfs: str = "/sys") -> Disk:
    """The disk of a file system without a device number of its own, such as btrfs.

    Only where its source is one device node; everything else is refused, since a limit on
    some of the disks would look like a limit and be none.
    """
    if mount.fstype == "overlay" or not mount.source.startswith("/dev/"):
        raise _refused(path, *_why_not(mount))
    try:
        status = os.stat(mount.source)
    except OSError as error:
        why = f"the source of its {mount.fstype} file system, {mount.source}, is {error.strerror}"
        raise _refused(path, why, "name the disk itself, such as /dev/sda") from None
    if not stat.S_ISBLK(status.st_mode):
        why = f"the source of its {mount.fstype} file system, {mount.source}, is not a disk"
        raise _refused(path, why, "name the disk itself, such as /dev/sda")
    return single_disk(mount, status.st_rdev, path, sysfs=sysfs)


def single_disk(mount: Mount, number: int, path: str, *, sysfs: str = "/sys") -> Disk:
    """The disk with that number, unless a btrfs on it also uses others."""
    members = _btrfs_members(_entry_name(number, sysfs), sysfs) if mount.fstype == "btrfs" else ()
    if len(members) > 1:
        why = f"its btrfs file system is spread over several devices: {', '.join(members)}"
        raise _refused(path, why, "name each disk itself, such as /dev/sda")
    return whole_disk(number, path, sysfs=sysfs)


def _entry_name(number: int, sysfs: str) -> str:
    device = f"{os.major(number)}:{os.minor(number)}"
    return os.path.basename(os.path.realpath(os.path.join(sysfs, "dev/block", device)))


def _btrfs_members(name: str, sysfs: str) -> Sequence[str]:
    """The devices of the btrfs that `name` is part of (/sys/fs/btrfs/UUID/devices)."""
    top = os.path.join(sysfs, "fs/btrfs")
    for file_system in _listed(top):
        members = _listed(os.path.join(top, file_system, "devices"))
        if name in members:
            return members
    return ()


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _why_not(mount: Mount) -> tuple[str, str]:
    """(why, remedy) for a file system that io.max cannot reach."""
    if mount.fstype in mountinfo.IN_MEMORY:
        return f"it is in memory ({mount.fstype})", "limit memory, or name a path on a disk"
    if mount.fstype in mountinfo.ON_NETWORK:
        return (
            f"it is on a network file system ({mount.fstype}), which no disk of this host holds",
            "limit it on the server, or name a path on a local disk",
        )
    if mount.fstype == "overlay":
        upper = [o.partition("=")[2] for o in mount.super_options if o.startswith("upperdir=")]
        where = f", such as its upper directory {upper[0]}" if upper else ""
        return (
            "it is on an overlay, whose layers may be on several disks",
            f"name a path on the disk itself{where}",
        )
    return (
        f"its file system ({mount.fstype} from {mount.source}) is not on one disk",
        "name the disk itself, such as /dev/sda",
    )


def _refused(path: str, why: str, remedy: str) -> LimitUnavailable:
    return LimitUnavailable("io.max", device=path, why=f"{path}: {why}", remedy=remedy)
