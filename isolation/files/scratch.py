"""The size of a running job's private directories in memory. For the daemon.

They are reached through the root of one of the job's processes, by descriptor, without
following a link; what is there must be the root of a mount that has a size, as a tmpfs has
and no file system on a disk, and of a file system that this process has mounted nowhere: in
a mount namespace of its own a job may put one of the host's in that place. How they are made
is `isolation.files.mounts`.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import Final

from isolation.errors import LimitBelowUse
from isolation.host import mountinfo
from isolation.syscalls.mounts import ResolveFlags, openat2, reconfigure

_PLACES: Final = ("tmp", "dev/shm")
# What the kernel gives a tmpfs that is not told: half of the memory. tmpfs(5).
_DEFAULT: Final = "50%"
_INSIDE: Final = ResolveFlags.IN_ROOT | ResolveFlags.NO_SYMLINKS | ResolveFlags.NO_MAGICLINKS


def resize(pid: int, size_bytes: int | None) -> None:
    """Give /tmp and /dev/shm of the tree that process `pid` sees this size, each.

    None: the kernel's default. Raises LimitBelowUse when one of them holds more, before any
    is changed; OSError: ESRCH when the process has ended.
    """
    with ExitStack() as opened:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, root)
        places = [openat2(root, name, os.O_PATH | os.O_DIRECTORY, _INSIDE) for name in _PLACES]
        for fd in places:
            opened.callback(os.close, fd)
        _require_private(places)
        used = max(_used_bytes(fd) for fd in places)
        if size_bytes is not None and used > size_bytes:
            raise LimitBelowUse("scratch", size_bytes, used)
        _resize_all(places, _DEFAULT if size_bytes is None else str(size_bytes))


def _resize_all(places: list[int], size: str) -> None:
    """All, or none: what one of them had before it gets back."""
    with ExitStack() as undo:
        for fd in places:
            status = os.fstatvfs(fd)
            before = str(status.f_blocks * status.f_frsize)
            reconfigure(fd, {"size": size})
            undo.callback(reconfigure, fd, {"size": before})
        undo.pop_all()


def _require_private(places: list[int]) -> None:
    # A tmpfs has a device number that no other file system has.
    ours = {mount.device for mount in mountinfo.read()}
    for name, fd in zip(_PLACES, places, strict=True):
        device = os.fstat(fd).st_dev
        if f"{os.major(device)}:{os.minor(device)}" in ours:
            raise PermissionError(errno.EPERM, f"/{name} in the job is not its own")


def _used_bytes(fd: int) -> int:
    status = os.fstatvfs(fd)
    return (status.f_blocks - status.f_bfree) * status.f_frsize
