"""The mount table of this process, parsed, and kinds of file systems. Decides nothing.

Which mount is meant by a cgroup root, a device or a state directory is for
`isolation.cgroups.root`, `isolation.host.devices` and `isolation.host.probe`.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# Kinds of file systems, as `Mount.fstype` has them.
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
ON_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "fuse.sshfs"})
# With a disk below them, whose cached pages can be written out.
ON_DISK: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"})
# That write out a job's pages in its own name (cgroup-v2.rst, "Writeback"); ext3 is ext4's code.
CGROUP_WRITEBACK: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})

_ESCAPE = re.compile(r"\\([0-7]{3})")
_FIELDS_BEFORE_TAGS = 6
_FIELDS_AFTER_DASH = 3


class Mount(NamedTuple):
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5)); names are unescaped.

    `device` is "MAJ:MIN" of the file system, `root` the part of it that is mounted,
    `options` belong to this mount and `super_options` to the file system.
    """

    mount_id: int
    device: str
    root: str
    point: str
    options: frozenset[str]
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def read_only(self) -> bool:
        """True when either the mount or the file system may not be written."""
        return "ro" in self.options or "ro" in self.super_options


def _unescape(text: str) -> str:
    """Spaces, tabs, newlines and backslashes come as three octal digits."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _parse_line(line: str) -> Mount | None:
    before, dash, after = line.partition(" - ")
    head, tail = before.split(" "), after.split(" ")
    if not dash or len(head) < _FIELDS_BEFORE_TAGS or len(tail) < _FIELDS_AFTER_DASH:
        return None
    return Mount(
        mount_id=int(head[0]),
        device=head[2],
        root=_unescape(head[3]),
        point=_unescape(head[4]),
        options=frozenset(head[5].split(",")),
        fstype=tail[0],
        source=_unescape(tail[1]),
        super_options=tuple(_unescape(option) for option in tail[2].split(",")),
    )


def parse(text: str) -> list[Mount]:
    """Every mount of a mountinfo text, in its order: a later one may cover an earlier."""
    # Not splitlines: a mount point may hold any other character that ends lines there.
    parsed = (_parse_line(line) for line in text.split("\n"))
    return [mount for mount in parsed if mount is not None]


def read(path: str = "/proc/self/mountinfo") -> list[Mount]:
    """The mounts that this process sees. Raises OSError when /proc is not there."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def mount_id_of(fd: int) -> int:
    """The mount that an open descriptor lives on (proc_pid_fdinfo(5), `mnt_id`).

    Exact where st_dev is not: every btrfs subvolume has an st_dev of its own.
    """
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise OSError(errno.ENOTSUP, f"/proc/self/fdinfo/{fd} has no mnt_id")


def is_served(fstype: str) -> bool:
    """Whether somebody outside of this kernel does the reading and writing: FUSE, a host."""
    return fstype.partition(".")[0] in {"fuse", "fuseblk", "virtiofs", "hostfs"}


def by_id(mounts: Iterable[Mount], mount_id: int) -> Mount | None:
    """The mount with that id; None when it is not visible in this mount namespace."""
    return next((mount for mount in mounts if mount.mount_id == mount_id), None)
