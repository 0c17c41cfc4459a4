"""Files of the authority on the disk: whole or not at all, and never over one that is there.

A file appears under its name when all of it is on the disk (temporary name, fsync, link or rename,
fsync of the directory). Keys are 0600 from the first moment on. A file is made and put in its place
by the descriptor of its directory, so nobody can lead it elsewhere meanwhile. What is in them is
not known here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, Final

from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_MAX_BYTES: Final = 64 << 20
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_SECONDS: Final = 10.0
_LOCK_LOOK_SECONDS: Final = 0.05


def make_directory(path: str, mode: int = 0o700, gid: int | None = None) -> None:
    """A directory of that mode, parents 0755. One that is there stays as it is. Raises PkiError."""
    parent = os.path.dirname(path)
    try:
        if parent:
            os.makedirs(parent, 0o755, exist_ok=True)
        os.mkdir(path, 0o700)
        _give(path, mode, gid)
        _sync_directory(parent or ".")
    except FileExistsError:
        if not os.path.isdir(path):
            raise PkiError(f"cannot make the directory {path}: it is there, and is none") from None
    except OSError as error:
        raise PkiError(f"cannot make the directory {path}: {error.strerror}") from None


def share_directory(path: str, gid: int) -> None:
    """Lets a group enter: 0750. Raises PkiError."""
    try:
        _give(path, 0o750, gid)
    except OSError as error:
        raise PkiError(f"cannot give {path} to group {gid}: {error.strerror}") from None


def write(
    path: str,
    content: bytes,
    mode: int,
    *,
    replace: bool = False,
    gid: int | None = None,
    at: int | None = None,
) -> None:
    """A file, at once. Without `replace` one that is there is left alone.

    `at`: the descriptor of its directory, which `path` then only names. Raises PkiError: it is
    there, or the disk or the rights say no.
    """
    name = os.path.basename(path)
    temporary = f"{name}.{secrets.token_hex(4)}.new"
    try:
        with _directory(path, at) as fd:
            try:
                _write_new(temporary, content, mode, gid, fd)
                _take_place(temporary, name, fd, replace=replace)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=fd)
            os.fsync(fd)
    except FileExistsError:
        raise PkiError(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise PkiError(f"cannot write {path}: {error.strerror}") from None


def read(path: str, *, secret: bool = False, at: int | None = None) -> bytes:
    """Its content. Raises PkiError; also for a key that others than its owner can read.

    `at`: the descriptor of its directory; then no symbolic link is followed.
    """
    try:
        with open(path, "rb", opener=_opener(at)) as file:
            if secret:
                _check_secret(path, os.fstat(file.fileno()))
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise PkiError(f"cannot read {path}: {error.strerror}") from None


def refuse_existing(*paths: str) -> None:
    """Raises PkiError when one of them is there: before anything is made that would be in vain."""
    for path in paths:
        if os.path.lexists(path):
            raise PkiError(f"{path} is there already; --force replaces it")


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """One at a time. flock(2). Raises PkiError after ten seconds, or where it cannot be opened."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise PkiError(f"cannot open {path}: {error.strerror}") from None
    try:
        _lock(fd, path)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, path: str) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise PkiError(f"cannot lock {path}: {error.strerror}") from None
            if time.monotonic() > deadline:
                raise PkiError(f"{path} is locked: another `pki` is at work here") from None
            time.sleep(_LOCK_LOOK_SECONDS)
        else:
            return


def _opener(at: int | None) -> Callable[[str, int], int] | None:
    if at is None:
        return None
    return lambda path, flags: os.open(
        os.path.basename(path), flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at
    )


@contextlib.contextmanager
def _directory(path: str, at: int | None) -> Iterator[int]:
    if at is not None:
        yield at
        return
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_new(path: str, content: bytes, mode: int, gid: int | None, at: int) -> None:
    fd = os.open(path, _NEW, PRIVATE, dir_fd=at)
    with os.fdopen(fd, "wb") as file:
        if gid is not None:
            os.fchown(fd, -1, gid)
        os.fchmod(fd, mode)
        file.write(content)
        file.flush()
        os.fsync(fd)


def _take_place(temporary: str, path: str, at: int, *, replace: bool) -> None:
    """link(2) fails where a file is already, however late it came; rename(2) would not."""
    if replace:
        os.replace(temporary, path, src_dir_fd=at, dst_dir_fd=at)
    else:
        os.link(temporary, path, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _give(path: str, mode: int, gid: int | None) -> None:
    """By descriptor: in a directory of somebody else the name may be another's by now."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to somebody else")
        if gid is not None:
            os.fchown(fd, -1, gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _check_secret(path: str, found: os.stat_result) -> None:
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PkiError(
            f"{path} is a key that others than its owner may read or write"
            f" (mode {stat.S_IMODE(found.st_mode):04o}); who has it can be anybody."
            f" If nobody had: chmod 0600 {path}"
        )
