"""What a process gives up for good: seccomp filters and Landlock rules. Lean.

The programs and the rights are those of `isolation.seccomp.filters` and `isolation.landlock`. Both
calls act on the calling thread, and both ask for no_new_privs or CAP_SYS_ADMIN.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from enum import IntFlag
from typing import Any, Final

from isolation.syscalls.common import by_machine, check, failed, libc, long

_SYS_SECCOMP: Final = by_machine(x86_64=317, aarch64=277, riscv64=277)
_SYS_LANDLOCK_CREATE_RULESET: Final = 444
_SYS_LANDLOCK_ADD_RULE: Final = 445
_SYS_LANDLOCK_RESTRICT_SELF: Final = 446


class SeccompFlags(IntFlag):
    """SECCOMP_FILTER_FLAG_*, linux/seccomp.h."""

    NEW_LISTENER = 1 << 3
    WAIT_KILLABLE_RECV = 1 << 5


class _Program(ctypes.Structure):
    """struct sock_fprog, linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr, linux/landlock.h."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def seccomp_set_filter(program: bytes, flags: SeccompFlags) -> int:
    """Filter every later system call of this thread. 0, or with NEW_LISTENER its descriptor.

    `program` is an array of struct sock_filter. seccomp(2), SECCOMP_SET_MODE_FILTER.

    Raises OSError: EINVAL for a program or a flag that the kernel does not take, EACCES
    without no_new_privs, EBUSY when there is a listener already.
    """
    set_mode_filter = 1
    argument = _Program(len(program) // 8, program)
    return _seccomp(set_mode_filter, int(flags), argument, f"SET_MODE_FILTER, {flags!r}")


def seccomp_notification_sizes() -> tuple[int, int, int]:
    """Bytes of a notification, of an answer and of the call's data. seccomp(2)."""
    get_notif_sizes = 3
    buffer = (ctypes.c_uint16 * 3)()
    _seccomp(get_notif_sizes, 0, buffer, "GET_NOTIF_SIZES")
    return buffer[0], buffer[1], buffer[2]


def _seccomp(operation: int, flags: int, argument: Any, name: str) -> int:  # noqa: ANN401
    call = f"seccomp({name})"
    if _SYS_SECCOMP is None:
        raise failed(errno.ENOSYS, call)
    result = libc.syscall(
        long(_SYS_SECCOMP), ctypes.c_uint(operation), ctypes.c_uint(flags), ctypes.byref(argument)
    )
    return check(result, call)


def landlock_abi() -> int:
    """The version of Landlock that this kernel has. landlock_create_ruleset(2).

    Raises OSError: ENOSYS where it is not built in, EOPNOTSUPP where it is not enabled.
    """
    create_ruleset_version = 1
    result = libc.syscall(
        long(_SYS_LANDLOCK_CREATE_RULESET),
        None,
        ctypes.c_size_t(0),
        ctypes.c_uint(create_ruleset_version),
    )
    return check(result, "landlock_create_ruleset(VERSION)")


def landlock_create_ruleset(handled_fs: int, scoped: int | None) -> int:
    """A descriptor of rules that refuse `handled_fs` until allowed. landlock_create_ruleset(2).

    `scoped` None leaves that field out: kernels before ABI 6 do not know it.
    """
    words = (handled_fs,) if scoped is None else (handled_fs, 0, scoped)
    attributes = struct.pack(f"={len(words)}Q", *words)
    result = libc.syscall(
        long(_SYS_LANDLOCK_CREATE_RULESET), attributes, ctypes.c_size_t(len(attributes)),
        ctypes.c_uint(0),
    )  # fmt: skip
    return check(result, f"landlock_create_ruleset({handled_fs:#x}, {scoped})")


def landlock_allow_beneath(ruleset_fd: int, allowed: int, parent_fd: int) -> None:
    """Allow these rights below a directory, or on a file. landlock_add_rule(2).

    Raises OSError: EINVAL for rights that the ruleset does not handle, or that a file
    cannot have; EBADFD for a descriptor without a path.
    """
    path_beneath = 1
    rule = _PathBeneath(allowed, parent_fd)
    result = libc.syscall(
        long(_SYS_LANDLOCK_ADD_RULE), long(ruleset_fd), long(path_beneath), ctypes.byref(rule),
        ctypes.c_uint(0),
    )  # fmt: skip
    check(result, f"landlock_add_rule({ruleset_fd}, {allowed:#x}, {parent_fd})")


def landlock_restrict_self(ruleset_fd: int) -> None:
    """Hold this thread, and what it starts, to the rules for good. landlock_restrict_self(2)."""
    result = libc.syscall(long(_SYS_LANDLOCK_RESTRICT_SELF), long(ruleset_fd), ctypes.c_uint(0))
    check(result, f"landlock_restrict_self({ruleset_fd})")
