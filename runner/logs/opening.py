"""Opens the two files of a segment of a log, hostile to whatever may lie in their place.

In the daemon, blocking. Which of them there are is `runner.logs.segment`'s to find out, what is in
them `runner.logs.compressed`'s.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runner.logs.compressed import LogFile

# O_NONBLOCK: opening a FIFO that lies in its place would wait for a writer, in everybody's loop.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_both(dir_fd: int, index: str, log: str) -> tuple[int, int] | None:
    """Both files of a segment; None when one is not there. Raises OSError of open(2)."""
    try:
        index_fd = _open_file(dir_fd, index)
    except FileNotFoundError:
        return None
    try:
        return index_fd, _open_file(dir_fd, log)
    except FileNotFoundError:
        os.close(index_fd)
        return None
    except OSError:
        os.close(index_fd)
        raise


def close_both(files: tuple[LogFile, LogFile] | None) -> None:
    """Those that were opened, if they were."""
    for file in files or ():
        file.close()


def _open_file(dir_fd: int, name: str) -> int:
    """Raises OSError, also for what is no regular file."""
    fd = os.open(name, _READ, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return fd
