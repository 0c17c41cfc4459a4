"""What sysfs knows of block devices: a partition's disk, a btrfs's members, their names.

Reads sysfs only. Which of them a limit must be on, and why some paths have none, is
`isolation.host.devices`. Source: Documentation/ABI/stable/sysfs-block of the kernel.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Disk(NamedTuple):
    """A whole disk, or a device that acts as one (dm, md, loop): `device` is "MAJ:MIN"."""

    device: str
    name: str


def whole_disk(number: int, *, sysfs: str = "/sys") -> Disk | None:
    """The disk of a block device number: its own, or of a partition the disk it is part of.

    None when sysfs has no such device. Raises OSError when sysfs cannot be read.
    """
    device = f"{os.major(number)}:{os.minor(number)}"
    entry = os.path.realpath(os.path.join(sysfs, "dev/block", device))
    if not os.path.isdir(entry):
        return None
    # A partition's directory is inside its disk's. There is no second step: partitions of
    # partitions do not exist.
    if os.path.exists(os.path.join(entry, "partition")):
        entry = os.path.dirname(entry)
        device = _number_of(entry)
    return Disk(device, os.path.basename(entry))


def btrfs_members(number: int, *, sysfs: str = "/sys") -> tuple[Disk, ...]:
    """The disks of the btrfs that a device is part of; none when it is part of none.

    From /sys/fs/btrfs/UUID/devices, whose entries are links to the devices.
    """
    device = f"{os.major(number)}:{os.minor(number)}"
    name = os.path.basename(os.path.realpath(os.path.join(sysfs, "dev/block", device)))
    top = os.path.join(sysfs, "fs/btrfs")
    for file_system in _listed(top):
        directory = os.path.join(top, file_system, "devices")
        if name in (members := _listed(directory)):
            return _disks([os.path.join(directory, member) for member in members], sysfs)
    return ()


def _disks(entries: list[str], sysfs: str) -> tuple[Disk, ...]:
    """The disks of sysfs entries, each once: two partitions may be on the same one."""
    found = {}
    for entry in entries:
        major, _, minor = _number_of(os.path.realpath(entry)).partition(":")
        disk = whole_disk(os.makedev(int(major), int(minor)), sysfs=sysfs)
        if disk is not None:
            found[disk.device] = disk
    return tuple(found.values())


def _number_of(entry: str) -> str:
    with open(os.path.join(entry, "dev"), encoding="ascii") as file:
        return file.read().strip()


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
