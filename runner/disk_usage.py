"""What is taken of a disk, and what is free: a job's directory, the store, the file system.

Looks only, follows no symbolic link and enters no mount. All of it waits for the disk, so
it is called in threads. Who is told is `runner.server.handlers.doctor`'s.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.message_logs import MOST_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of st_blocks, whatever the file system's own are: stat(2), inode(7).
_BLOCK_BYTES: Final = 512
# A segment is two files, twice as many for a moment while it is compressed; and as much again.
MOST_ENTRIES: Final = 8 * MOST_SEGMENTS
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# SQLite's: the write-ahead log beside the database, and the log's index.
_STORE_SUFFIXES: Final = ("", "-wal", "-shm")


class Space(NamedTuple):
    """A file system: bytes and inodes in all, and what an ordinary user may still take.

    No inodes in all: it makes them as it needs them.
    """

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int


def space(path: str) -> Space:
    """The file system that `path` is on. Raises OSError (statvfs(3))."""
    found = os.statvfs(path)
    return Space(
        found.f_blocks * found.f_frsize,
        found.f_bavail * found.f_frsize,
        found.f_files,
        found.f_favail,
    )


def tree_bytes(path: str, most: int = MOST_ENTRIES) -> int:
    """What a directory takes with all that it holds; 0 when it is not there.

    What goes away meanwhile is left out, and so is what comes after `most` entries. Raises
    OSError.
    """
    total, left = 0, most
    device: int | None = None
    waiting = [path]
    while waiting and left > 0:
        place = waiting.pop()
        with suppress(FileNotFoundError), _opened(place) as fd:
            here = os.fstat(fd)
            device = here.st_dev if device is None else device
            if here.st_dev != device:
                continue
            total += here.st_blocks * _BLOCK_BYTES
            for name in os.listdir(fd)[:left]:
                left -= 1
                size, is_directory = _entry(fd, name)
                total += size
                if is_directory:
                    waiting.append(os.path.join(place, name))
    return total


def store_bytes(path: str) -> int:
    """What the store's files take. Raises OSError."""
    total = 0
    for suffix in _STORE_SUFFIXES:
        with suppress(FileNotFoundError):
            total += os.lstat(path + suffix).st_blocks * _BLOCK_BYTES
    return total


def _entry(dir_fd: int, name: str) -> tuple[int, bool]:
    """What something takes by itself, and whether it is a directory, which counts itself."""
    try:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return 0, False
    if stat.S_ISDIR(found.st_mode):
        return 0, True
    return found.st_blocks * _BLOCK_BYTES, False


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
