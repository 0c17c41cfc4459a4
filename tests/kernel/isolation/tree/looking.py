"""What tests do as the job, with nothing that would have to be imported in its tree."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from tests.kernel.isolation.tree.in_tree import ALICE

if TYPE_CHECKING:
    from pathlib import Path


def give(path: Path, uid: int = ALICE) -> Path:
    """An existing file becomes somebody's."""
    os.chown(path, uid, uid)
    return path


def give_new(path: Path, uid: int = ALICE) -> Path:
    """A new directory of somebody's."""
    path.mkdir()
    return give(path, uid)


def give_file(path: Path, text: str = "", uid: int = ALICE) -> Path:
    """A new file of somebody's."""
    path.write_text(text)
    return give(path, uid)


def names(path: str) -> list[str]:
    """What a directory holds."""
    return sorted(os.listdir(path))


def refused(action: Any, *arguments: Any) -> str:
    """The name of the errno, or "" when it was allowed."""
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def write(path: str | bytes, text: str = "x") -> str:
    """Make or overwrite a file; see `refused`."""

    def attempt() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(fd, text.encode())
        os.close(fd)

    return refused(attempt)


def read(path: str | bytes) -> str:
    """The beginning of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 65536).decode()
    finally:
        os.close(fd)
