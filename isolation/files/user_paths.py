"""Opening what a user named, as that user, for a job's file tree. Lean.

Everything here runs with the user's file identity (`Tree.open`), answers descriptors, and
changes nothing but the directory for kept changes. What is done with a descriptor is for
`files.overlays` and `files.places`; the daemon's own questions, asked when a job is
submitted, are `isolation.caller_paths`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from isolation.syscalls.mounts import AT_FDCWD, ResolveFlags, check_access, openat2

# No link of /proc is followed: they lead where the permissions of a path don't count.
_PLAIN: Final = ResolveFlags.NO_MAGICLINKS
_BENEATH: Final = _PLAIN | ResolveFlags.BENEATH
MAX_SECRET_BYTES: Final = 1024 * 1024
_DEVICES: Final = b"/dev/"
# What the job has of its own there: another's terminal or queue is no device.
_OWN_IN_DEV: Final = frozenset(
    (b"pts", b"shm", b"mqueue", b"ptmx", b"fd", b"stdin", b"stdout", b"stderr", b"core")
)


_NEEDED: Final = {
    stat.S_IFDIR: os.R_OK | os.X_OK,
    stat.S_IFREG: os.R_OK,
    stat.S_IFSOCK: os.W_OK,
    stat.S_IFIFO: os.W_OK,
}


class _ClosedIfRefused:
    """The daemon asks these questions too, and must not keep what it then refuses."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            os.close(self._fd)


class Opened(NamedTuple):
    """A file or directory of the host: its real path, without links, and an O_PATH descriptor."""

    path: bytes
    fd: int
    is_directory: bool


def refusal(number: int, path: bytes, why: str) -> OSError:
    """The OSError for an errno, with a text that says more than the errno's own."""
    return OSError(number, why, path)


def real_path(fd: int) -> bytes:
    """Where an open descriptor is now, in the caller's mount namespace."""
    return os.readlink(b"/proc/self/fd/%d" % fd)


def open_existing(path: bytes, flags: int = 0) -> Opened:
    """What `path` leads to, reached with the user's rights. Raises OSError."""
    fd = openat2(AT_FDCWD, path, os.O_PATH | flags, _PLAIN)
    return Opened(real_path(fd), fd, stat.S_ISDIR(os.fstat(fd).st_mode))


def open_target(path: bytes) -> Opened:
    """What is to be covered, reached with the user's rights over no link. Raises OSError: ELOOP."""
    fd = openat2(AT_FDCWD, path, os.O_PATH, _PLAIN | ResolveFlags.NO_SYMLINKS)
    return Opened(real_path(fd), fd, stat.S_ISDIR(os.fstat(fd).st_mode))


def open_directory(path: bytes) -> Opened:
    """A directory that the user can reach. Raises OSError: ENOTDIR for anything else."""
    return open_existing(path, os.O_DIRECTORY)


def open_source(path: bytes) -> Opened:
    """What is to be bound: the user must be able to read it. Raises OSError.

    A socket or FIFO is of use to whoever may write it.
    """
    opened = open_existing(path)
    with _ClosedIfRefused(opened.fd):
        needed = _NEEDED.get(stat.S_IFMT(os.fstat(opened.fd).st_mode))
        if needed is None:
            why = "neither a file nor a directory; devices have an option"
            raise refusal(errno.EINVAL, path, why)
        _require_access(path, opened.fd, needed)
    return opened


def open_readable_file(path: bytes) -> int:
    """A regular file, opened for reading. Raises OSError."""
    # Not waiting: it could be a FIFO that nobody writes to.
    fd = openat2(AT_FDCWD, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, _PLAIN)
    if path.startswith(b"/proc/") or real_path(fd).startswith(b"/proc/"):
        os.close(fd)
        raise refusal(errno.EPERM, path, "what /proc tells there is of runnerd itself")
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise refusal(errno.EINVAL, path, "it is not a regular file")
    return fd


def read_secret(path: bytes) -> bytes:
    """The content of a regular file of at most MAX_SECRET_BYTES. Raises OSError: EFBIG."""
    fd = open_readable_file(path)
    chunks, left = [], MAX_SECRET_BYTES + 1
    try:
        while left and (chunk := os.read(fd, left)):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(fd)
    if not left:
        raise refusal(errno.EFBIG, path, f"it is longer than {MAX_SECRET_BYTES} bytes")
    return b"".join(chunks)


class Device(NamedTuple):
    """A node of the host's /dev that the job is given: its name there, and a descriptor."""

    name: bytes
    fd: int


def open_device(path: bytes) -> Device:
    """A device node below /dev, as `/dev/NAME` with or without ":r", ":w", ":rw". Raises OSError.

    Links are followed as long as they stay in /dev. That the user may open it is asked now.
    """
    path, _, access = path.partition(b":")
    name = path.removeprefix(_DEVICES).strip(b"/")
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if not path.startswith(_DEVICES) or b".." in parts or not parts or parts[0] in _OWN_IN_DEV:
        raise refusal(errno.EINVAL, path, "it is no device node below /dev")
    top = os.open(_DEVICES, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = openat2(top, name, os.O_PATH, _BENEATH)
    finally:
        os.close(top)
    with _ClosedIfRefused(fd):
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            raise refusal(errno.EINVAL, path, "it is no device node")
        wanted = access or b"rw"
        needed = (os.R_OK if b"r" in wanted else 0) | (os.W_OK if b"w" in wanted else 0)
        _require_access(path, fd, needed)
    return Device(b"/".join(parts), fd)


def open_own_directory(path: bytes, uid: int) -> Opened:
    """A directory that belongs to the user, to keep things in. Raises OSError."""
    opened = open_directory(path)
    with _ClosedIfRefused(opened.fd):
        if os.fstat(opened.fd).st_uid != uid:
            raise refusal(errno.EPERM, path, "it belongs to somebody else")
        _require_access(path, opened.fd, os.R_OK | os.W_OK | os.X_OK)
    return opened


def make_beneath(directory: Opened, name: bytes) -> None:
    """A directory in `directory`, made with the user's own rights unless it is there."""
    try:
        os.mkdir(name, 0o700, dir_fd=directory.fd)
    except FileExistsError:
        pass
    except OSError as error:
        raise refusal(
            error.errno or errno.EIO, directory.path + b"/" + name, _text(error)
        ) from None


def open_beneath(fd: int, path: bytes, name: bytes) -> int:
    """The directory `name` of an open one, which is no link; `path` is for the error's text."""
    try:
        return openat2(fd, name, os.O_PATH | os.O_DIRECTORY, _BENEATH | ResolveFlags.NO_SYMLINKS)
    except OSError as error:
        raise refusal(error.errno or errno.EIO, path + b"/" + name, _text(error)) from None


def _require_access(path: bytes, fd: int, mode: int) -> None:
    try:
        check_access(fd, mode)
    except OSError as error:
        words = [word for bit, word in _WORDS if mode & bit]
        why = f"its user may not {' and '.join(words)} it"
        raise refusal(error.errno or errno.EACCES, path, why) from None


_WORDS: Final = ((os.R_OK, "read"), (os.W_OK, "write"), (os.X_OK, "enter"))


def _text(error: OSError) -> str:
    return error.strerror or str(error)
