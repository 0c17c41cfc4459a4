"""The files that TLS stands on, read once and whole, and only if nobody else could write them.

What is checked here is what is used: everything after it works on the bytes. A key that others may
read is refused, as ssh(1) does. What the bytes say is `trust`'s and `tls`'s.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final, NamedTuple

from gateway.config import default_directory

MAX_PEM: Final = 1 << 20
MAX_LIST: Final = 16 << 20

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BEYOND_GROUP_READ: Final = _OTHERS & ~stat.S_IRGRP


class TlsError(Exception):
    """A certificate, key or list cannot be used. A sentence: which file, why, what to do."""


class TlsFiles(NamedTuple):
    """Paths, all PEM. Without `crl` no revocation list is asked for."""

    certificate: str
    key: str
    ca: str
    crl: str | None = None


class Read(NamedTuple):
    """Their content."""

    certificate: bytes
    key: bytes
    ca: bytes
    crl: bytes | None


Mark = tuple[tuple[int, int, int, int] | None, ...]


def mark_pair(files: TlsFiles) -> Mark:
    """Something that differs once certificate or key was replaced or written; nothing is read."""
    return _mark(files.certificate), _mark(files.key)


def mark_trust(files: TlsFiles) -> Mark:
    """The same of authorities and lists."""
    return _mark(files.ca), None if files.crl is None else _mark(files.crl)


def read(files: TlsFiles) -> Read:
    """All of them. Raises TlsError."""
    if not any(os.path.lexists(path) for path in (files.certificate, files.key, files.ca)):
        raise TlsError(
            f"there is no {files.certificate}, and no key and no authority either;"
            f" `runner-gateway init{_option(os.path.dirname(files.ca), '')}` makes all that a"
            " gateway needs"
        )
    return Read(**read_pair(files), **read_trust(files))


def read_pair(files: TlsFiles) -> dict[str, Any]:
    """The server's own, `certificate` and `key`. Raises TlsError."""
    verb = "issue --server --force"
    return {
        "certificate": _read(files.certificate, verb),
        "key": _read(files.key, verb, secret=True),
    }


def read_trust(files: TlsFiles) -> dict[str, Any]:
    """Whom it trusts, `ca` and `crl`. Raises TlsError."""
    crl = None if files.crl is None else _read(files.crl, "crl", most=MAX_LIST)
    return {"ca": _read(files.ca, "crl"), "crl": crl}


def _mark(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


def _read(path: str, verb: str, *, secret: bool = False, most: int = MAX_PEM) -> bytes:
    """`verb` of `pki` makes it where it is missing."""
    try:
        # A FIFO would let us wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TlsError(
            f"cannot open {path}: {error.strerror}{_advice(error, path, verb)}"
        ) from None
    with os.fdopen(fd, "rb") as file:
        _check(path, os.fstat(fd), secret=secret)
        content = file.read(most + 1)
    if len(content) > most:
        raise TlsError(f"{path} has more than {most} bytes")
    return content


def _check(path: str, found: os.stat_result, *, secret: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise TlsError(f"{path} is not a regular file")
    if found.st_uid not in {0, os.geteuid()}:
        raise TlsError(
            f"{path} belongs to uid {found.st_uid}; it must be root's or the gateway's own"
        )
    if found.st_mode & _OTHERS_WRITE:
        raise TlsError(f"{path} can be written by others; run chmod go-w {path}")
    if secret and not _kept(found):
        raise TlsError(
            f"{path} is a key that others can read (mode {stat.S_IMODE(found.st_mode):04o}); run"
            f" chmod 0600 {path}, or let it be root's with the gateway's group and mode 0640"
        )


def _kept(found: os.stat_result) -> bool:
    """0600; or 0640 of root with a group of ours, the usual way to hand a key to a service."""
    if not found.st_mode & _OTHERS:
        return True
    ours = found.st_gid == os.getegid() or found.st_gid in os.getgroups()
    return found.st_uid == 0 and ours and not found.st_mode & _BEYOND_GROUP_READ


def _advice(error: OSError, path: str, verb: str) -> str:
    if isinstance(error, FileNotFoundError):
        directory = os.path.dirname(path)
        if os.path.isdir(os.path.join(directory, "authority")):
            return f"; `runner-gateway pki {verb}{_option(directory, 'pki')}` makes it"
        return f"; it comes from where the authority is: `runner-gateway pki {verb}` there makes it"
    if isinstance(error, PermissionError):
        return "; the gateway's user must be able to read it"
    return ""


def _option(directory: str, within: str) -> str:
    """`--dir`, where the command would look elsewhere without it."""
    if not within:  # that of the whole gateway, which is above `pki`
        directory = os.path.dirname(directory)
    usual = os.path.join(default_directory(), within).rstrip("/")
    return "" if directory == usual else f" --dir {directory}"
