"""Processes and namespaces: clone3, unshare, setns, descriptors over an exec. Lean."""

from __future__ import annotations

import ctypes
from enum import IntFlag
from typing import TYPE_CHECKING, Final

from isolation.syscalls.common import check, failed, libc, libc_unlocked, long

if TYPE_CHECKING:
    from collections.abc import Iterable

_python: Final = ctypes.pythonapi

_SYS_CLONE3: Final = 435
_SYS_CLOSE_RANGE: Final = 436


class CloneFlags(IntFlag):
    """CLONE_* of clone(2) and unshare(2), linux/sched.h."""

    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    PIDFD = 0x00001000
    INTO_CGROUP = 0x200000000


class _CloneArgs(ctypes.Structure):
    """struct clone_args, linux/sched.h (CLONE_ARGS_SIZE_VER2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("pidfd", ctypes.c_uint64),
        ("child_tid", ctypes.c_uint64),
        ("parent_tid", ctypes.c_uint64),
        ("exit_signal", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("stack_size", ctypes.c_uint64),
        ("tls", ctypes.c_uint64),
        ("set_tid", ctypes.c_uint64),
        ("set_tid_size", ctypes.c_uint64),
        ("cgroup", ctypes.c_uint64),
    )


libc_unlocked.unshare.argtypes = (ctypes.c_int,)
libc_unlocked.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_python.PyOS_BeforeFork.restype = None
_python.PyOS_AfterFork_Parent.restype = None
_python.PyOS_AfterFork_Child.restype = None


def _fork(args: _CloneArgs) -> int:
    """clone3 inside CPython's own fork protocol, so that the child's interpreter is whole."""
    _python.PyOS_BeforeFork()
    pid: int = libc.syscall(
        long(_SYS_CLONE3), ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args))
    )
    errno = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise failed(errno, f"clone3(flags={args.flags:#x})")
    return pid


def clone3(flags: CloneFlags, cgroup_fd: int, exit_signal: int) -> tuple[int, int]:
    """Fork into a cgroup: (pid, pidfd) in the parent, (0, -1) in the child. clone3(2).

    `cgroup_fd` is a descriptor of a cgroup2 directory; the child starts in it, so that no
    moment exists in which it is charged elsewhere. The pidfd is close-on-exec.

    Raises OSError: EBUSY when controllers are enabled for the cgroup's children, EOPNOTSUPP
    for a threaded cgroup, EAGAIN at a process limit.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(
        flags=int(flags | CloneFlags.INTO_CGROUP | CloneFlags.PIDFD),
        pidfd=ctypes.addressof(pidfd),
        exit_signal=exit_signal,
        cgroup=cgroup_fd,
    )
    pid = _fork(args)
    # Without CLONE_VM the kernel writes the pidfd to the parent's memory only.
    return pid, pidfd.value if pid else -1


def unshare(flags: CloneFlags) -> None:
    """Leave namespaces for new ones. unshare(2). Acts on the calling thread."""
    check(libc_unlocked.unshare(int(flags)), f"unshare({flags!r})")


def setns(fd: int, nstype: CloneFlags) -> None:
    """Enter the namespace that `fd` names. setns(2). Acts on the calling thread."""
    check(libc_unlocked.setns(fd, int(nstype)), f"setns({fd}, {nstype!r})")


def close_all_except(keep: Iterable[int]) -> None:
    """Close every descriptor that is not in `keep`. close_range(2)."""
    first = 0
    for fd in sorted(set(keep)):
        if fd > first:
            _close_range(first, fd - 1)
        first = fd + 1
    _close_range(first, 2**32 - 1)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on as close-on-exec. close_range(2)."""
    close_range_cloexec = 1 << 2
    _close_range(first, 2**32 - 1, close_range_cloexec)


def _close_range(first: int, last: int, flags: int = 0) -> None:
    result = libc.syscall(
        long(_SYS_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags)
    )
    check(result, f"close_range({first}, {last}, {flags})")
