"""Mounts and paths: mount, the calls on detached mounts, openat2, pivot_root. Lean.

See mount(2), mount_setattr(2), open_tree(2), openat2(2). Nothing here decides what is mounted.
"""

from __future__ import annotations

import ctypes
import os
import struct
from enum import IntFlag
from typing import Final

from isolation.syscalls.common import (
    AT_EMPTY_PATH,
    by_machine,
    check,
    failed,
    libc,
    libc_unlocked,
    long,
)

_SYS_PIVOT_ROOT: Final = by_machine(x86_64=155, aarch64=41, riscv64=41)
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_FSPICK: Final = 433
_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_SYS_OPENAT2: Final = 437
_SYS_FACCESSAT2: Final = 439
_SYS_MOUNT_SETATTR: Final = 442

# For openat2: a relative path starts from the working directory.
AT_FDCWD: Final = -100
_AT_EACCESS: Final = 0x200
_AT_RECURSIVE: Final = 0x8000


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


class MountAttributes(IntFlag):
    """MOUNT_ATTR_* of mount_setattr(2) and fsmount(2), linux/mount.h."""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    IDMAP = 0x00100000


class ResolveFlags(IntFlag):
    """RESOLVE_* of openat2(2), linux/openat2.h."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10
    # EAGAIN where something would have to be waited for. Linux 5.12.
    CACHED = 0x20


class OpenTreeFlags(IntFlag):
    """OPEN_TREE_* of open_tree(2), linux/mount.h; RECURSIVE is its AT_RECURSIVE."""

    CLONE = 1
    RECURSIVE = _AT_RECURSIVE
    CLOEXEC = os.O_CLOEXEC


# struct open_how, linux/openat2.h: flags, mode, resolve.
_OPEN_HOW: Final = struct.Struct("=QQQ")


class _MountAttr(ctypes.Structure):
    """struct mount_attr, linux/mount.h (MOUNT_ATTR_SIZE_VER0)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
)  # fmt: skip
libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def mount(
    source: str | None,
    target: str | bytes,
    fstype: str | None,
    flags: MountFlags,
    data: str | None = None,
) -> None:
    """Mount, remount or change propagation; None passes a null pointer. See mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    check(
        libc.mount(*encoded, int(flags), None if data is None else os.fsencode(data)),
        f"mount({source!r}, {target!r}, {fstype!r}, {flags!r}, {data!r})",
        target,
    )


def sync_file_system(fd: int) -> None:
    """Wait until all that was written to the file system of `fd` is on disk. syncfs(2)."""
    check(libc_unlocked.syncfs(fd), f"syncfs({fd})")


def start_writing_back(fd: int) -> None:
    """Start to write what is dirty of a file to the disk; wait for nothing but room in its queue.

    Nothing is promised but that a later fdatasync has less to do. sync_file_range(2). Raises
    OSError, also for what is no file of a disk.
    """
    sync_file_range_write = 2
    whole = ctypes.c_longlong(0)
    result = libc_unlocked.sync_file_range(fd, whole, whole, sync_file_range_write)
    check(result, f"sync_file_range({fd})")


def detach_mount(target: str | bytes) -> None:
    """Take a mount and what is below it out of the tree; it ends with its last user. umount2(2)."""
    mnt_detach = 2
    check(libc.umount2(os.fsencode(target), mnt_detach), f"umount2({target!r})", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """`new_root` becomes the root of this mount namespace, the old one goes to `put_old`.

    With "." twice the old root lies on top of the new one, to be unmounted. pivot_root(2).
    Raises OSError: EINVAL when `new_root` is no mount, or the old root is the initramfs.
    """
    if _SYS_PIVOT_ROOT is None:
        raise OSError(f"pivot_root: its number is not known on {os.uname().machine}")
    result = libc.syscall(long(_SYS_PIVOT_ROOT), os.fsencode(new_root), os.fsencode(put_old))
    check(result, f"pivot_root({new_root!r}, {put_old!r})", new_root)


def open_tree(dir_fd: int, flags: OpenTreeFlags) -> int:
    """A detached copy of the mount that `dir_fd` lies on, rooted at it. open_tree(2).

    With RECURSIVE the mounts below it are copied along.
    """
    call = f"open_tree({dir_fd}, {flags!r})"
    result = libc.syscall(
        long(_SYS_OPEN_TREE), long(dir_fd), b"", ctypes.c_uint(int(flags) | AT_EMPTY_PATH)
    )
    return check(result, call)


def move_mount(tree_fd: int, target: str | bytes | int) -> None:
    """Attach what `open_tree` or `new_mount` gave at an absolute path, or at an open descriptor.

    A descriptor (O_PATH is enough) is the very file or directory that was opened: no name is
    walked again. move_mount(2).
    """
    from_empty_path, to_empty_path = 0x00000004, 0x00000040
    at = target if isinstance(target, int) else -1
    name = b"" if isinstance(target, int) else os.fsencode(target)
    flags = from_empty_path | (to_empty_path if isinstance(target, int) else 0)
    result = libc.syscall(
        long(_SYS_MOVE_MOUNT), long(tree_fd), b"", long(at), name, ctypes.c_uint(flags)
    )
    path = None if isinstance(target, int) else target
    check(result, f"move_mount({tree_fd}, {target!r})", path)


def mount_setattr(
    mount_fd: int, attributes: MountAttributes, *, recursive: bool = False, userns_fd: int = 0
) -> None:
    """Set properties of the mount that `mount_fd` is the root of. mount_setattr(2).

    They belong to the mount, not to the file system behind it. `userns_fd` is for IDMAP alone.
    Raises OSError: EINVAL when the file system cannot be id-mapped, or the descriptor is not
    the root of a mount; EPERM for an id-map of a mount that is not detached.
    """
    attr = _MountAttr(attr_set=int(attributes), userns_fd=userns_fd)
    flags = AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    result = libc.syscall(
        long(_SYS_MOUNT_SETATTR), long(mount_fd), b"", ctypes.c_uint(flags),
        ctypes.byref(attr), ctypes.c_size_t(ctypes.sizeof(attr)),
    )  # fmt: skip
    check(result, f"mount_setattr({mount_fd}, {attributes!r}, recursive={recursive})")


def new_mount(fstype: str, options: dict[str, str], attributes: MountAttributes) -> int:
    """A new file system, mounted nowhere yet: a descriptor of its root for `move_mount`.

    fsopen(2), fsconfig(2), fsmount(2). Raises OSError: ENODEV for an unknown file system.
    """
    fsopen_cloexec, fsmount_cloexec, set_string, create = 1, 1, 1, 6
    call = f"fsopen({fstype!r})"
    context = check(
        libc.syscall(long(_SYS_FSOPEN), fstype.encode(), ctypes.c_uint(fsopen_cloexec)), call
    )
    try:
        for name, value in options.items():
            _configure(context, set_string, name, value)
        _configure(context, create, None, None)
        result = libc.syscall(
            long(_SYS_FSMOUNT), long(context), ctypes.c_uint(fsmount_cloexec),
            ctypes.c_uint(int(attributes)),
        )  # fmt: skip
        return check(result, f"fsmount({fstype!r}, {attributes!r})")
    finally:
        os.close(context)


def reconfigure(mount_fd: int, options: dict[str, str]) -> None:
    """Change options of the file system whose mount `mount_fd` is the root of. fspick(2).

    Raises OSError: EINVAL for the root of no mount, or an option that it does not have.
    """
    cloexec, empty_path, set_string, change = 1, 8, 1, 7
    flags = ctypes.c_uint(cloexec | empty_path)
    context = check(libc.syscall(long(_SYS_FSPICK), long(mount_fd), b"", flags), "fspick")
    try:
        for name, value in options.items():
            _configure(context, set_string, name, value)
        _configure(context, change, None, None)
    finally:
        os.close(context)


def _configure(context: int, command: int, name: str | None, value: str | None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (name, value)]
    result = libc.syscall(
        long(_SYS_FSCONFIG), long(context), ctypes.c_uint(command), *encoded, ctypes.c_int(0)
    )
    check(result, f"fsconfig({command}, {name!r}, {value!r})")


def openat2(
    dir_fd: int, path: str | bytes, flags: int, resolve: ResolveFlags, mode: int = 0
) -> int:
    """Open with the kernel's own limits on how the path may be walked. openat2(2).

    Raises OSError: EXDEV for a path that leaves a BENEATH directory, ELOOP for a refused link.
    """
    # Some for each job: a structure, and a text that nobody reads, are dear.
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    result: int = libc.syscall(
        long(_SYS_OPENAT2), long(dir_fd), os.fsencode(path), how, ctypes.c_size_t(len(how))
    )
    if result < 0:
        number = ctypes.get_errno()
        raise failed(number, f"openat2({dir_fd}, {path!r}, {resolve!r})", path)
    return result


def check_access(fd: int, mode: int) -> None:
    """Whether this thread's file identity may use the open file so: `mode` of os.R_OK and others.

    faccessat2(2) with AT_EACCESS; an O_PATH descriptor is enough. Raises OSError: EACCES,
    EROFS for W_OK on a mount that may not be written.
    """
    result = libc.syscall(
        long(_SYS_FACCESSAT2), long(fd), b"", ctypes.c_int(mode),
        ctypes.c_int(AT_EMPTY_PATH | _AT_EACCESS),
    )  # fmt: skip
    check(result, f"faccessat2({fd}, {mode})")
