"""Landlock: the paths that a job may reach, held by the kernel beside permissions. Lean.

Knows rights and rules; which paths are allowed is `isolation.files.tree`'s, and the calls are
`isolation.syscalls.security`'s. Nothing here opens a path: rules are made on descriptors.
See landlock(7).
"""

from __future__ import annotations

import errno
import os
import stat
from enum import IntFlag
from typing import TYPE_CHECKING, Final

from isolation import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence


class Access(IntFlag):
    """LANDLOCK_ACCESS_FS_*, linux/landlock.h."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    RESOLVE_UNIX = 1 << 16


# LANDLOCK_SCOPE_*: no abstract socket and no signal leads out of the job.
_SCOPE_ABSTRACT_SOCKETS: Final = 1 << 0
_SCOPE_SIGNALS: Final = 1 << 1
_SCOPES_SINCE_ABI: Final = 6

_OF_ABI_1: Final = Access(Access.REFER - 1)
_ADDED: Final = (
    (2, Access.REFER),
    (3, Access.TRUNCATE),
    (5, Access.IOCTL_DEV),
    (9, Access.RESOLVE_UNIX),
)

_READING: Final = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
# Making device nodes is handled and never allowed.
_MAKING_DEVICES: Final = Access.MAKE_CHAR | Access.MAKE_BLOCK
# Others on a file are refused with EINVAL.
_ON_FILES: Final = (
    Access.EXECUTE
    | Access.WRITE_FILE
    | Access.READ_FILE
    | Access.TRUNCATE
    | Access.IOCTL_DEV
    | Access.RESOLVE_UNIX
)


def abi() -> int:
    """The version of Landlock that this kernel has; 0 where it is missing or not enabled."""
    try:
        return syscalls.landlock_abi()
    except OSError:
        return 0


def handled(version: int) -> Access:
    """Every right that a kernel of this version can refuse, as far as it is known here."""
    rights = _OF_ABI_1
    for since, added in _ADDED:
        if version >= since:
            rights |= added
    return rights


def allowed(version: int, *, writable: bool, directory: bool) -> Access:
    """The rights below a directory, or on a file, that a job may read or may change."""
    rights = handled(version) & ~_MAKING_DEVICES if writable else _READING
    return rights if directory else rights & _ON_FILES


def restrict(readable: Sequence[int], writable: Sequence[int]) -> None:
    """Refuse this process, and what it starts, every path but those below the descriptors.

    Readable includes executing; writable includes reading, and the ioctls of devices, so
    /dev belongs there. Named sockets answer below writable paths alone (Linux 7.1), signals
    and abstract sockets stay within the job (6.12). Descriptors that are open already, and
    chdir(2), are not held. Asks for no_new_privs; the descriptors may be O_PATH ones.

    Raises OSError; then the caller must not execute anything.
    """
    version = abi()
    if version == 0:
        why = "this kernel has no Landlock, or it is not enabled (lsm= at boot)"
        raise OSError(errno.EOPNOTSUPP, why)
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= _SCOPES_SINCE_ABI else None
    rules = syscalls.landlock_create_ruleset(handled(version), scoped)
    try:
        for fds, may_write in ((readable, False), (writable, True)):
            for fd in fds:
                is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
                rights = allowed(version, writable=may_write, directory=is_directory)
                syscalls.landlock_allow_beneath(rules, rights, fd)
        syscalls.landlock_restrict_self(rules)
    finally:
        os.close(rules)
