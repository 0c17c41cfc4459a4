"""Which disks are under a path: the "MAJ:MIN" that io.max takes, or why there are none.

Looks at st_dev, the mount table and `isolation.host.block_devices`. Writing the limit is
`isolation.cgroups.limits`' job, and whether the caller may see the path is its caller's.

Limited is the device that the file system is on, and none below it. Measured on Linux 7.2 over
dm-linear, dm-striped, md raid0, raid1 and loop, direct and buffered, reading and writing: each
of them throttles as a disk does, exactly. A limit on the devices below them instead lets N
stripes have N times the rate, and does not bind what a loop device writes by the page cache;
one on both levels halves the rate, because the same bytes wait twice.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from isolation.errors import LimitUnavailable
from isolation.host import mountinfo
from isolation.host.block_devices import Disk, btrfs_members, whole_disk
from isolation.syscalls import AT_FDCWD, ResolveFlags, openat2

if TYPE_CHECKING:
    from isolation.host.mountinfo import Mount

_NAME_A_DISK = "name the disk itself, such as /dev/sda"


def disks_of_path(path: str, *, writes: bool = True, sysfs: str = "/sys") -> tuple[Disk, ...]:
    """The disks under `path`, at least one; of a device node, the disk that it names.

    Several where a file system itself is spread over them (btrfs): each has the whole rate.
    `writes`: whether writing is to be limited, which not every file system allows.

    Raises OSError when the path cannot be looked up, LimitUnavailable when io.max has
    nothing to act on there.
    """
    fd = openat2(AT_FDCWD, path, os.O_PATH, ResolveFlags.NO_MAGICLINKS)
    try:
        return disks_of_fd(fd, path, writes=writes, sysfs=sysfs)
    finally:
        os.close(fd)


def disks_of_fd(
    fd: int, path: str, *, writes: bool = True, sysfs: str = "/sys"
) -> tuple[Disk, ...]:
    """`disks_of_path` for what is open already (O_PATH will do); `path` is for messages only."""
    status = os.fstat(fd)
    if stat.S_ISBLK(status.st_mode):
        return (_disk(status.st_rdev, path, sysfs),)
    mount = _mount_of(fd, status.st_dev)
    if mount is None:
        raise _refused(path, "its mount is not visible here", "name a path on a mounted disk")
    return disks_of_mount(mount, status.st_dev, path, writes=writes, sysfs=sysfs)


def disks_of_mount(
    mount: Mount, number: int, path: str, *, writes: bool = True, sysfs: str = "/sys"
) -> tuple[Disk, ...]:
    """The disks of a file system; `number` is the st_dev of what is in it."""
    _require(path, _why_not(mount))
    is_device = mount.fstype != "btrfs" and os.major(number) != 0
    # Where st_dev belongs to no device, the source is all there is to go by.
    device = number if is_device else _source_number(mount, path)
    _require(path, _why_not_writing(mount) if writes else None)
    members = btrfs_members(device, sysfs=sysfs) if mount.fstype == "btrfs" else ()
    found = members or (_disk(device, path, sysfs), *_others(mount, sysfs))
    return tuple({disk.device: disk for disk in found}.values())


def _require(path: str, reason: tuple[str, str] | None) -> None:
    if reason is not None:
        raise _refused(path, *reason)


def _disk(number: int, path: str, sysfs: str) -> Disk:
    disk = whole_disk(number, sysfs=sysfs)
    if disk is None:
        device = f"{os.major(number)}:{os.minor(number)}"
        raise _refused(path, f"sysfs has no block device {device}", "mount sysfs at /sys")
    return disk


def _others(mount: Mount, sysfs: str) -> tuple[Disk, ...]:
    """The real-time device of an XFS, which has the content of some of its files (xfs(5))."""
    names = [o.partition("=")[2] for o in mount.super_options if o.startswith("rtdev=")]
    found = (whole_disk(os.stat(name).st_rdev, sysfs=sysfs) for name in names)
    return tuple(disk for disk in found if disk is not None)


def _mount_of(fd: int, number: int) -> Mount | None:
    """The mount of a descriptor, by its id; by st_dev where that is not to be seen.

    Kernels before 5.14 show /proc/self/fdinfo to nobody but the owner of the process, and
    the question may come from a thread that has taken a user's identity.
    """
    mounts = mountinfo.read()
    with suppress(OSError):
        return mountinfo.by_id(mounts, mountinfo.mount_id_of(fd))
    device = f"{os.major(number)}:{os.minor(number)}"
    return next((mount for mount in mounts if mount.device == device), None)


def _source_number(mount: Mount, path: str) -> int:
    """The number of the device node that was mounted. Raises LimitUnavailable if it is none."""
    if not mount.source.startswith("/dev/"):
        why = f"its file system ({mount.fstype} from {mount.source}) is not on one disk"
        raise _refused(path, why, _NAME_A_DISK)
    why = f"the source of its {mount.fstype} file system, {mount.source}, is "
    try:
        status = os.stat(mount.source)
    except OSError as error:
        raise _refused(path, f"{why}{error.strerror}", _NAME_A_DISK) from None
    if not stat.S_ISBLK(status.st_mode):
        raise _refused(path, why + "not a disk", _NAME_A_DISK)
    return status.st_rdev


def _why_not(mount: Mount) -> tuple[str, str] | None:
    """(why, remedy) for a file system whose reads and writes io.max cannot reach."""
    kind = mount.fstype
    if kind in mountinfo.IN_MEMORY:
        return f"it is in memory ({kind})", "limit memory, or name a path on a disk"
    if kind in mountinfo.ON_NETWORK:
        return (
            f"it is on a network file system ({kind}), which no disk of this host holds",
            "limit it on the server, or name a path on a local disk",
        )
    if mountinfo.is_served(kind):
        why = f"its file system ({kind}) is served by somebody who does so in his own name"
        return why, "name a path on a file system of this kernel, such as ext4"
    if kind == "overlay":
        upper = [o.partition("=")[2] for o in mount.super_options if o.startswith("upperdir=")]
        where = f", such as its upper directory {upper[0]}" if upper else ""
        return (
            "it is on an overlay, whose layers may be on several disks",
            f"name a path on the disk itself{where}",
        )
    return None


def _why_not_writing(mount: Mount) -> tuple[str, str] | None:
    """(why, remedy) where what a job writes leaves the page cache in the name of nobody.

    Only some file systems keep track of whose pages they write out; those of the others, and
    those that pass through an ext4's journal, belong to the root cgroup, which has no limit
    (cgroup-v2.rst, "Writeback").
    """
    if "ro" in mount.super_options:
        return None
    if mount.fstype not in mountinfo.CGROUP_WRITEBACK:
        what = f"its file system ({mount.fstype}) does"
    elif "data=journal" in mount.super_options:
        what = f"its file system ({mount.fstype} with data=journal) does"
    else:
        return None
    known = ", ".join(sorted(mountinfo.CGROUP_WRITEBACK))
    return (
        f"{what} not tell the kernel on whose behalf it writes, so writing cannot be limited",
        f"limit reading only, or name a path on one of: {known}",
    )


def _refused(path: str, why: str, remedy: str) -> LimitUnavailable:
    return LimitUnavailable("io.max", device=path, why=f"{path}: {why}", remedy=remedy)
