"""Mounts that show the submitter's files as those of a job in a user namespace. Lean.

The map is a user namespace that the daemon made (`isolation.user_namespaces`): ids on disk on
its inside, ids that the job has outside of its own namespace on its outside. Only detached
mounts can be mapped, and only of file systems that know how. See mount_setattr(2).
"""

from __future__ import annotations

import errno
from typing import Final

from isolation.files.user_paths import refusal
from isolation.syscalls.mounts import MountAttributes, mount_setattr

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
