"""The state directory, and the locks that keep two daemons apart.

flock(2) says whose the place is: the launcher inherits it, so that nobody begins while an
old launcher may still fork. A record lock beside it (F_SETLK, fcntl(2)), which no child
inherits, says that a runnerd lives: whoever finds it need not wait. It would be lost when its
process closed any descriptor of the same file, so nothing else opens the lock file, and a
directory, which others list, has none.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from typing import Final

# An old launcher lets go when it has read the end of its socket: after the launches that it was
# told already, which may be many on a machine that is busy with them.
_LAUNCHER_SECONDS: Final = 15.0
# Of a lock that cannot say whether who holds it lives, and is asked for after the other.
_PATIENCE_SECONDS: Final = 3.0
# A runnerd that was just killed may still be on its way out of the kernel.
_LIVING_SECONDS: Final = 0.3
_RETRY_SECONDS: Final = 0.05
# struct flock with its padding: l_type, l_whence, l_start, l_len, l_pid.
_RECORD_LOCK: Final = struct.Struct("hh4xqqi4x")


class InUseError(Exception):
    """Another runnerd holds it. The text says what, and what to do."""


def prepare(path: str) -> None:
    """Make the state directory, or check the one that is there. Raises OSError.

    It holds environments and output of every user: root's, and closed to all others.
    """
    os.makedirs(path, 0o700, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != 0:
            raise PermissionError(1, "it must belong to root", path)
        if status.st_mode & 0o077:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def lock_file(path: str) -> int:
    """Hold a lock for as long as the descriptor, or an inherited copy, is open: flock(2)."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fd = _lock(opened, path, _LAUNCHER_SECONDS)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def lock_directory(path: str) -> int:
    """The same on a directory: that of a cgroup, where no file can be made."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return _lock(opened, path, _PATIENCE_SECONDS)


def about_to_let_go(fd: int) -> None:
    """The holder of a lock file ends soon: whoever wants it next may wait for that."""
    fcntl.lockf(fd, fcntl.LOCK_UN)


def _lock(fd: int, path: str, patience: float) -> int:
    try:
        _wait_for(fd, path, patience)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _wait_for(fd: int, path: str, patience: float) -> None:
    began = time.monotonic()
    while not _try(fd):
        if time.monotonic() - began >= (_LIVING_SECONDS if _holder_lives(fd) else patience):
            raise InUseError(
                f"{path} is held by another runnerd; stop it, or choose another directory"
            )
        time.sleep(_RETRY_SECONDS)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder_lives(fd: int) -> bool:
    """Whether a process has the record lock: who asks would not get one for writing."""
    asked = _RECORD_LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    found = _RECORD_LOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return bool(found[0] != fcntl.F_UNLCK)
