"""Copies of the host's mounts for a job's tree, detached from everything. Lean.

Called in the payload, as root, while the host's tree is still there. What is copied was opened
as the user (`isolation.files.user_paths`), so a copy shows no more than the user may reach.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from isolation.files.host_mounts import kind_of, read
from isolation.files.idmaps import map_if_possible, no_map
from isolation.syscalls.mounts import MountAttributes, OpenTreeFlags, mount_setattr, open_tree

if TYPE_CHECKING:
    from isolation.files.user_paths import Opened

SAFE: Final = MountAttributes.NOSUID | MountAttributes.NODEV
INERT: Final = SAFE | MountAttributes.NOEXEC
_ONE: Final = OpenTreeFlags.CLONE | OpenTreeFlags.CLOEXEC
_ALL: Final = _ONE | OpenTreeFlags.RECURSIVE


class IdMap:
    """Whose files are to be shown as the job's: those of `uid`, by the namespace `fd`.

    Nobody's when that is None: the job of a submitter who is root.
    """

    def __init__(self, fd: int | None, uid: int) -> None:
        self._fd = fd
        self._uid = uid

    def apply(self, opened: Opened, copy: int, *, recursive: bool) -> int:
        """`copy`, mapped; without the mounts below it when those cannot be.

        Where nothing can be, files of others look the same without a map, and it is left
        out; then nothing can be written, or the disk would hold files of ids that are another
        job's tomorrow. Raises OSError: EOPNOTSUPP for files of the user's own, which would be
        nobody's.
        """
        if self._fd is not None:
            if map_if_possible(copy, self._fd, recursive=recursive):
                return copy
            os.close(copy)
            copy = open_tree(opened.fd, _ONE)
            if map_if_possible(copy, self._fd):
                return copy
            if os.fstat(copy).st_uid == self._uid:
                raise no_map(opened.path, kind_of(opened.fd, read()))
        mount_setattr(copy, MountAttributes.RDONLY, recursive=recursive)
        return copy


def clone(opened: Opened, attributes: MountAttributes, idmap: IdMap | None) -> int:
    """A detached copy of what was opened and of the mounts below it: a descriptor of its root."""
    flags = _ALL if opened.is_directory else _ONE
    copy = open_tree(opened.fd, flags)
    if idmap is not None:
        copy = idmap.apply(opened, copy, recursive=opened.is_directory)
    if attributes:
        mount_setattr(copy, attributes, recursive=opened.is_directory)
    return copy


def clone_one(fd: int) -> int:
    """A detached copy of the one mount that an open descriptor lies on, rooted at it."""
    return open_tree(fd, _ONE)
