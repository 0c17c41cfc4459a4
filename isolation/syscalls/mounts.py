"""Mounts and paths: mount, open_tree, move_mount, openat2. Lean. See mount(2)."""

from __future__ import annotations

import ctypes
import os
from enum import IntFlag
from typing import Final

from isolation.syscalls.common import AT_EMPTY_PATH, check, libc, long

_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_OPENAT2: Final = 437

# For openat2: a relative path starts from the working directory.
AT_FDCWD: Final = -100


class MountFlags(IntFlag):
    """MS_* of mount(2), linux/mount.h."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    REC = 16384
    PRIVATE = 1 << 18


class ResolveFlags(IntFlag):
    """RESOLVE_* of openat2(2), linux/openat2.h."""

    NO_MAGICLINKS = 0x02
    BENEATH = 0x08


class OpenTreeFlags(IntFlag):
    """OPEN_TREE_* of open_tree(2), linux/mount.h."""

    CLONE = 1
    CLOEXEC = os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    """struct open_how, linux/openat2.h."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
)  # fmt: skip


def mount(
    source: str | None, target: str, fstype: str | None, flags: MountFlags, data: str | None = None
) -> None:
    """Mount, remount or change propagation; None passes a null pointer. See mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    check(
        libc.mount(*encoded, int(flags), None if data is None else os.fsencode(data)),
        f"mount({source!r}, {target!r}, {fstype!r}, {flags!r}, {data!r})",
        target,
    )


def open_tree(dir_fd: int, flags: OpenTreeFlags) -> int:
    """A detached copy of the mount that `dir_fd` lies on, rooted at it. open_tree(2)."""
    call = f"open_tree({dir_fd}, {flags!r})"
    result = libc.syscall(
        long(_SYS_OPEN_TREE), long(dir_fd), b"", ctypes.c_uint(int(flags) | AT_EMPTY_PATH)
    )
    return check(result, call)


def move_mount(tree_fd: int, target: str) -> None:
    """Attach what `open_tree` gave at the absolute path `target`. move_mount(2)."""
    from_empty_path = 0x00000004
    result = libc.syscall(
        long(_SYS_MOVE_MOUNT), long(tree_fd), b"", long(-1),
        os.fsencode(target), ctypes.c_uint(from_empty_path),
    )  # fmt: skip
    check(result, f"move_mount({tree_fd}, {target!r})", target)


def openat2(
    dir_fd: int, path: str | bytes, flags: int, resolve: ResolveFlags, mode: int = 0
) -> int:
    """Open with the kernel's own limits on how the path may be walked. openat2(2).

    Raises OSError: EXDEV for a path that leaves a BENEATH directory, ELOOP for a refused link.
    """
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=int(resolve))
    result = libc.syscall(
        long(_SYS_OPENAT2), long(dir_fd), os.fsencode(path),
        ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
    )  # fmt: skip
    return check(result, f"openat2({dir_fd}, {path!r}, {resolve!r})", path)
