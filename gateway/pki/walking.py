"""Directories that nobody else could lead elsewhere: opened step by step, each step looked at.

Whoever may write a directory may put a symbolic link in the place of what is in it. So each
directory on the way has to be root's or ours and closed to others, and each link root's or ours, in
such a directory. What is done afterwards is done by the descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINKS: Final = 40  # as the kernel, path_resolution(7)
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@contextlib.contextmanager
def entered(directory: str) -> Iterator[int]:
    """The descriptor of an absolute path. Raises PkiError: not there, or others could lead it."""
    try:
        fd = _walked(directory)
    except OSError as error:
        raise PkiError(
            f"cannot enter the directory {directory}: {error.strerror}; --out says where the files"
            " go"
        ) from None
    try:
        yield fd
    finally:
        os.close(fd)


def _walked(directory: str) -> int:
    steps, links, way = _steps(directory), 0, "/"
    at = os.open("/", _OPEN)
    try:
        while steps:
            name = steps.pop()
            way = os.path.normpath(os.path.join(way, name))
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
            _check(way, found, is_last=not steps)
            if not stat.S_ISLNK(found.st_mode):
                at = _stepped(at, name)
                continue
            target, links = os.readlink(name, dir_fd=at), links + 1
            if links > _MOST_LINKS:
                raise PkiError(f"{directory} leads through too many symbolic links")
            steps += _steps(target)
            way = "/" if target.startswith("/") else os.path.dirname(way)
            at = _stepped(at, "/") if target.startswith("/") else at
        return os.open(".", _OPEN, dir_fd=at)
    finally:
        os.close(at)


def _steps(path: str) -> list[str]:
    """The last first, to be taken from the end."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _stepped(at: int, name: str) -> int:
    """Into a directory below, in the place of the descriptor before."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    os.close(at)
    return fd


def _check(way: str, found: os.stat_result, *, is_last: bool) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise PkiError(
            f"{way} belongs to somebody else (uid {found.st_uid}), who could lead the files"
            " elsewhere; --out names a directory of your own, from where they are carried"
        )
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & _OTHERS_WRITE:
        return
    # In a sticky directory others cannot take the place of what is ours or root's.
    if is_last or not found.st_mode & stat.S_ISVTX:
        raise PkiError(
            f"{way} can be written by others (mode {stat.S_IMODE(found.st_mode):04o}), who could"
            f" lead the files elsewhere; chmod go-w {way}, or --out names another directory"
        )
