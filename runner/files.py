"""Files and directories by descriptor, for the daemon's state directory.

Every name is a single component below an open directory, or the kernel is told to stay below
it (`read_within`), so that nobody can turn a path into another one in between (openat(2),
"Rationale"). No symbolic link is followed, no mount is entered. What the files mean is their
owner's business (`runner.records`, `runner.spec`); the monitor, which must stay small, has its
own few lines.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import Final

from isolation.host.mountinfo import mount_id_of
from isolation.syscalls.mounts import ResolveFlags, openat2

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO for reading would wait for a writer.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WITHIN: Final = ResolveFlags.BENEATH | ResolveFlags.NO_SYMLINKS
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def remove_tree(dir_fd: int, name: str) -> None:
    """Remove `name` below `dir_fd`: a directory with all it holds, or anything else alone.

    A symbolic link is removed, never followed. Uses three descriptors and no recursion
    however deep the tree is. Needs /proc. Raises ValueError when `name` is not a plain
    name, OSError as the calls do; EXDEV or EBUSY when something is mounted within the tree:
    what is mounted is not touched.
    """
    _check_name(name)
    if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=dir_fd)
        return
    top = _open_same_mount(dir_fd, name)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=dir_fd)


def read_bounded(dir_fd: int, name: str, max_bytes: int) -> bytes:
    """The whole content of the regular file `name` below `dir_fd`.

    Raises ValueError when `name` is not a plain name, OSError as the calls do; EFBIG when
    it is longer than `max_bytes`, ELOOP for a symbolic link, EINVAL for what is neither
    that nor a file.
    """
    _check_name(name)
    fd = os.open(name, _READ, dir_fd=dir_fd)
    try:
        _size_of_regular(fd, name)
        return _read_all(fd, name, max_bytes)
    finally:
        os.close(fd)


def write_new(dir_fd: int, name: str, data: bytes) -> None:
    """Make the file `name` below `dir_fd`, mode 0600, with all of `data`; not synced.

    Raises OSError as the calls do, FileExistsError where anything has that name.
    """
    fd = os.open(name, _NEW, 0o600, dir_fd=dir_fd)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
    finally:
        os.close(fd)


def read_within(dir_fd: int, path: str, max_bytes: int) -> bytes:
    """`read_bounded` of a file some directories below: no link is followed on the way either."""
    fd = openat2(dir_fd, path, _READ, _WITHIN)
    try:
        size = _size_of_regular(fd, path)
        data = os.read(fd, min(size, max_bytes) + 1)
    finally:
        os.close(fd)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"longer than {max_bytes} bytes", path)
    return data


def write_synced(dir_fd: int, name: str, data: bytes) -> None:
    """All of `data` in the file `name`, which may be there, and on disk. Raises OSError."""
    # O_NONBLOCK: opening a FIFO that lies in its place would wait for a reader.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=dir_fd), "wb") as file:
        _size_of_regular(file.fileno(), name)
        file.truncate(0)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _size_of_regular(fd: int, name: str) -> int:
    """Its length. Raises OSError (EINVAL) for what is no regular file."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    return found.st_size


def _read_all(fd: int, name: str, max_bytes: int) -> bytes:
    content = b""
    while piece := os.read(fd, max_bytes + 1 - len(content)):
        content += piece
        if len(content) > max_bytes:
            raise OSError(errno.EFBIG, f"longer than {max_bytes} bytes", name)
    return content


def _empty(top: int) -> None:
    """Remove everything below `top`.

    The directories within a child are moved up beside it before the child is removed, so
    the tree becomes flat instead of the stack deep. A pass may add names: repeat until
    nothing is left.
    """
    while names := os.listdir(top):
        for name in names:
            if not _unlinked(top, name):
                _flatten(top, name)
                os.rmdir(name, dir_fd=top)


def _flatten(top: int, name: str) -> None:
    """Empty the directory `name` of `top`: its files go, its directories move to `top`."""
    child = _open_same_mount(top, name)
    try:
        for inner in os.listdir(child):
            if not _unlinked(child, inner):
                # A random name, since whoever filled the tree may have guessed any other.
                moved = f".{secrets.token_hex(16)}"
                os.rename(inner, moved, src_dir_fd=child, dst_dir_fd=top)
    finally:
        os.close(child)


def _unlinked(dir_fd: int, name: str) -> bool:
    """Unlink it; False when it is a directory (EISDIR is Linux's word for that, unlink(2))."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except IsADirectoryError:
        return False
    return True


def _open_same_mount(dir_fd: int, name: str) -> int:
    """Open the directory, having made sure that nothing is mounted on it.

    st_dev alone would miss a bind mount of the same file system; the kernel's mount id
    (proc(5), fdinfo) does not.
    """
    fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
    same = False
    try:
        same = mount_id_of(fd) == mount_id_of(dir_fd)
    finally:
        if not same:
            os.close(fd)
    if not same:
        raise OSError(errno.EXDEV, "a mount point; unmount it first", name)
    return fd


def _check_name(name: str) -> None:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"not a name within a directory: {name!r}")
