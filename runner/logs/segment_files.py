"""One segment of a log as files: made, written and put on disk. Lean, for the writer alone.

A segment is there for readers when its data is. So the index is created before it and removed
after it, and data without an index is never seen, even after a crash between. When a segment
begins or goes is `runner.logs.writer`'s business, what is in it `runner.logs.format`'s.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from isolation.syscalls.mounts import start_writing_back
from runner.logs.format import index_name, log_name

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# What a try that failed half-way left is taken up by the next one.
_AGAIN: Final = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_SYNC: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MODE: Final = 0o600


def create_segment(dir_fd: int, start: int) -> tuple[int, int]:
    """The data and the index of a new segment, open for writing.

    Raises OSError of open(2), FileExistsError where a file that holds something is in its place;
    readers see no segment then.
    """
    index_fd = _create_file(index_name(start), dir_fd)
    try:
        return _create_file(log_name(start), dir_fd), index_fd
    except OSError:
        os.close(index_fd)
        # Should it stay, the next try takes it up.
        with suppress(OSError):
            os.unlink(index_name(start), dir_fd=dir_fd)
        raise


def remove_file(name: str, dir_fd: int) -> None:
    """Absent is well: an earlier try may have removed one file and failed at the other."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


def write_at(fd: int, data: bytes | bytearray | memoryview, position: int) -> None:
    """Write all of `data` at `position`. pwrite(2) stops short where a disk or limit is full.

    A position and not O_APPEND, so that a try after a failure overwrites instead of repeating.
    Raises OSError of pwrite(2).
    """
    written = os.pwrite(fd, data, position)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], position + written)


def start_writing(*fds: int) -> None:
    """Have these files on their way to the disk, without waiting if it can be helped.

    sync_file_range(2) submits the writes itself and blocks where the device's queue is full.
    What fails, or a file system that cannot, is seen by the sync at the end.
    """
    for fd in fds:
        with suppress(OSError):
            start_writing_back(fd)


def sync_file(name: str, dir_fd: int) -> None:
    """Wait until the data of a file is on disk. Raises OSError of open(2) and fdatasync(2)."""
    fd = os.open(name, _SYNC, dir_fd=dir_fd)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _create_file(name: str, dir_fd: int) -> int:
    """A new file, or an empty one that is there. Raises OSError, FileExistsError for others."""
    try:
        return os.open(name, _CREATE, _MODE, dir_fd=dir_fd)
    except FileExistsError:
        fd = os.open(name, _AGAIN, dir_fd=dir_fd)
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and not found.st_size:
            return fd
        os.close(fd)
        raise
