"""The state directory and the locks that keep two daemons apart."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

# An old launcher lets go when it has read the end of its socket: at once, or after the one
# fork that it was at.
_PATIENCE_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 0.05


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
    return _lock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), path)


def lock_directory(path: str) -> int:
    """The same on a directory: that of a cgroup, where no file can be made."""
    return _lock(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), path)


def _lock(fd: int, path: str) -> int:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise InUseError(
                    f"{path} is held by another runnerd; stop it, or choose another directory"
                ) from None
            time.sleep(_RETRY_SECONDS)
        else:
            return fd
