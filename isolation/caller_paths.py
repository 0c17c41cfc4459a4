"""What a user may do with the paths of a request: questions for `isolation.caller.ask_as`.

They run with the user's identity and nothing else, open what is named without following
the links of /proc, and change nothing. What is found now may be gone when the job starts:
its payload opens everything again, as the same user.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from isolation.syscalls import AT_FDCWD, ResolveFlags, openat2

# Kinds of a wanted path.
ANY: Final = "a file or directory that {} may read"
DIRECTORY: Final = "a directory that {} may enter and read"
OWN_DIRECTORY: Final = "a directory of {}'s own"
FILE: Final = "a file that {} may read"
DEVICE: Final = "a device node below /dev"
EXISTING: Final = "an existing path that {} may reach"
ROOT: Final = "a directory, tar archive or squashfs image that {} may read"

_SQUASHFS_MAGIC: Final = b"hsqs"


class Wanted(NamedTuple):
    """A path of a request, the field that named it, and what it has to be."""

    field: str
    path: bytes
    kind: str


class Wrong(NamedTuple):
    """Why one of them will not do."""

    wanted: Wanted
    why: str


def first_wrong(wanted: list[Wanted]) -> Wrong | None:
    """The first path that is not what it should be; None when all are."""
    for item in wanted:
        try:
            _check(item)
        except OSError as error:
            return Wrong(item, error.strerror or str(error))
    return None


def is_squashfs(path: bytes) -> bool:
    """Whether a file begins as a squashfs image does. Raises OSError."""
    fd = openat2(AT_FDCWD, path, os.O_RDONLY | os.O_NONBLOCK, ResolveFlags.NO_MAGICLINKS)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        return os.pread(fd, len(_SQUASHFS_MAGIC), 0) == _SQUASHFS_MAGIC
    finally:
        os.close(fd)


def read_file(path: bytes, most: int) -> bytes:
    """The content of a regular file. Raises OSError: EFBIG when it is longer than `most`."""
    # Not waiting: it could be a FIFO that nobody writes to.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    fd = openat2(AT_FDCWD, path, flags, ResolveFlags.NO_MAGICLINKS)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is longer than {most} bytes")
    return data


def _check(wanted: Wanted) -> None:
    fd = openat2(AT_FDCWD, wanted.path, os.O_PATH, ResolveFlags.NO_MAGICLINKS)
    try:
        status = os.fstat(fd)
        is_directory = stat.S_ISDIR(status.st_mode)
        if wanted.kind == EXISTING:
            return
        if wanted.kind == DEVICE:
            _require(stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode), "no device node")
            return
        if wanted.kind in {DIRECTORY, OWN_DIRECTORY}:
            _require(is_directory, "it is not a directory")
        if wanted.kind == FILE:
            _require(stat.S_ISREG(status.st_mode), "it is not a regular file")
        if wanted.kind == OWN_DIRECTORY:
            _require(status.st_uid == _file_uid(), "it belongs to somebody else")
        _open_again(fd, directory=is_directory)
    finally:
        os.close(fd)


def _open_again(fd: int, *, directory: bool) -> None:
    """Ask for the permission to read, and for a directory to search: O_PATH asks for none."""
    link = f"/proc/self/fd/{fd}"
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    opened = os.open(link, flags | (os.O_DIRECTORY if directory else 0))
    try:
        if directory:
            os.close(os.open(".", os.O_PATH | os.O_CLOEXEC, dir_fd=opened))
    finally:
        os.close(opened)


def _file_uid() -> int:
    """The thread's own file identity: /proc/thread-self/status, "Uid:" real to file system."""
    with open("/proc/thread-self/status", "rb") as file:
        line = next(line for line in file if line.startswith(b"Uid:"))
    return int(line.split()[4])


def _require(fine: object, why: str) -> None:
    if not fine:
        raise OSError(errno.EINVAL, why)
