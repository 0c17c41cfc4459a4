"""Mounts that show the submitter's files as those of a job in a user namespace. Lean.

The map is a user namespace that the daemon made (`isolation.user_namespaces`): ids on disk on
its inside, ids that the job has outside of its own namespace on its outside. Only detached
mounts can be mapped, and only of file systems that know how. See mount_setattr(2).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from isolation.syscalls.mounts import MountAttributes, mount_setattr, new_mount
from isolation.user_paths import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

# EINVAL: not by this file system, or mapped already. EPERM: somebody else's namespace.
_CANNOT: Final = frozenset({errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP})


def map_if_possible(mount_fd: int, idmap_fd: int, *, recursive: bool = False) -> bool:
    """Map a detached mount; False when its file system, or one below it, cannot be mapped."""
    try:
        mount_setattr(mount_fd, MountAttributes.IDMAP, recursive=recursive, userns_fd=idmap_fd)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def map_or_refuse(mount_fd: int, idmap_fd: int, path: bytes, *, recursive: bool = False) -> None:
    """Map a detached mount of what the user called `path`. Raises OSError: EOPNOTSUPP."""
    if not map_if_possible(mount_fd, idmap_fd, recursive=recursive):
        raise no_map(path, b"its file system")


def no_map(path: bytes, kind: bytes) -> OSError:
    """The refusal of a path on a kind of file system that cannot be mapped."""
    name = kind.decode("utf-8", "backslashreplace")
    why = f"{name} cannot show files as another user's, which --userns needs: use another place"
    return refusal(errno.EOPNOTSUPP, path, why)


def ids_outside(uid: int, gid: int, idmap_fd: int) -> tuple[int, int]:
    """The ids that a job has outside of its user namespace: what the map makes of its user's.

    Seen on a file of that user, in memory. Raises OSError: EOPNOTSUPP where a tmpfs cannot be
    mapped (before Linux 6.3), EINVAL for a map that leaves the user out.
    """
    options = {"uid": str(uid), "gid": str(gid), "mode": "0700", "size": "4k"}
    probe = new_mount("tmpfs", options, MountAttributes.NOSUID | MountAttributes.NODEV)
    try:
        map_or_refuse(probe, idmap_fd, b"tmpfs")
        status = os.fstat(probe)
    finally:
        os.close(probe)
    if _overflowing() & {status.st_uid, status.st_gid}:
        raise OSError(errno.EINVAL, f"the user namespace has no place for the ids {uid}, {gid}")
    return status.st_uid, status.st_gid


def _overflowing() -> set[int]:
    """What ids without a place are shown as. user_namespaces(7)."""
    found = set()
    for name in ("overflowuid", "overflowgid"):
        fd = os.open(f"/proc/sys/kernel/{name}", os.O_RDONLY | os.O_CLOEXEC)
        found.add(int(os.read(fd, 32)))
        os.close(fd)
    return found


def outside(
    uid: int, gid: int, groups: Sequence[int], idmap_fd: int | None
) -> tuple[int, int, Sequence[int]]:
    """The ids of the job that count on mounts which are not mapped: uid, gid, other groups."""
    if idmap_fd is None:
        return uid, gid, groups
    return (*ids_outside(uid, gid, idmap_fd), ())
