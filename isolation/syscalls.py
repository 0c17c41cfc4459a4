"""The only module that touches ctypes: one thin function a system call, nothing decided here.

Typed arguments in, None or a descriptor or pid out. A failing call raises the OSError that
fits its errno, with a note that names the call and its arguments. Lean: part of every fork.
"""

from __future__ import annotations

import ctypes
import os
from enum import IntFlag
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# PyDLL keeps the interpreter lock during the call: the calls between a clone3 and its exec,
# and those that change one thread's credentials, must not let another thread run between.
_libc: Final = ctypes.PyDLL(None, use_errno=True)
# CDLL lets go of it: making a network namespace takes half a millisecond, in a thread.
_libc_unlocked: Final = ctypes.CDLL(None, use_errno=True)
_python: Final = ctypes.pythonapi

# Numbers from 424 on are the same on every architecture (asm-generic/unistd.h); an older
# call without a wrapper in the C library that serves needs its number by architecture.
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_CLONE3: Final = 435
_SYS_CLOSE_RANGE: Final = 436
_SYS_OPENAT2: Final = 437
_SYS_KEYCTL: Final = {"x86_64": 250, "aarch64": 219, "riscv64": 219}.get(os.uname().machine)
_SYS_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159, "riscv64": 159}.get(os.uname().machine)

# For openat2: a relative path starts from the working directory.
AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000


class CloneFlags(IntFlag):
    """CLONE_* of clone(2) and unshare(2), linux/sched.h."""

    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    PIDFD = 0x00001000
    INTO_CGROUP = 0x200000000


class MountFlags(IntFlag):
    """MS_* of mount(2), linux/mount.h."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    REC = 16384
    PRIVATE = 1 << 18


class ResolveFlags(IntFlag):
    """RESOLVE_* of openat2(2), linux/openat2.h."""

    NO_MAGICLINKS = 0x02
    BENEATH = 0x08


class OpenTreeFlags(IntFlag):
    """OPEN_TREE_* of open_tree(2), linux/mount.h."""

    CLONE = 1
    CLOEXEC = os.O_CLOEXEC


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


class _OpenHow(ctypes.Structure):
    """struct open_how, linux/openat2.h."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _CapHeader(ctypes.Structure):
    """struct __user_cap_header_struct, linux/capability.h."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    """struct __user_cap_data_struct, linux/capability.h; two of them hold 64 capabilities."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_CAPABILITY_VERSION_3: Final = 0x20080522

_long = ctypes.c_long
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
)  # fmt: skip
_libc_unlocked.unshare.argtypes = (ctypes.c_int,)
_libc_unlocked.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.prctl.argtypes = (
    ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong,
)  # fmt: skip
_libc.capset.argtypes = (ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData))
_libc.setfsuid.argtypes = (ctypes.c_uint32,)
_libc.setfsgid.argtypes = (ctypes.c_uint32,)
_python.PyOS_BeforeFork.restype = None
_python.PyOS_AfterFork_Parent.restype = None
_python.PyOS_AfterFork_Child.restype = None


def _failed(errno: int, call: str, path: str | bytes | None = None) -> OSError:
    """The OSError for an errno, of the subclass that Python has for it."""
    text = os.strerror(errno)
    error = OSError(errno, text) if path is None else OSError(errno, text, path)
    error.add_note(call)
    return error


def _check(result: int, call: str, path: str | bytes | None = None) -> int:
    if result < 0:
        raise _failed(ctypes.get_errno(), call, path)
    return result


def _fork(args: _CloneArgs) -> int:
    """clone3 inside CPython's own fork protocol, so that the child's interpreter is whole."""
    _python.PyOS_BeforeFork()
    pid: int = _libc.syscall(
        _long(_SYS_CLONE3), ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args))
    )
    errno = ctypes.get_errno()
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise _failed(errno, f"clone3(flags={args.flags:#x})")
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
    _check(_libc_unlocked.unshare(int(flags)), f"unshare({flags!r})")


def setns(fd: int, nstype: CloneFlags) -> None:
    """Enter the namespace that `fd` names. setns(2). Acts on the calling thread."""
    _check(_libc_unlocked.setns(fd, int(nstype)), f"setns({fd}, {nstype!r})")


def mount(
    source: str | None, target: str, fstype: str | None, flags: MountFlags, data: str | None = None
) -> None:
    """Mount, remount or change propagation; None passes a null pointer. See mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype)]
    _check(
        _libc.mount(*encoded, int(flags), None if data is None else os.fsencode(data)),
        f"mount({source!r}, {target!r}, {fstype!r}, {flags!r}, {data!r})",
        target,
    )


def open_tree(dir_fd: int, flags: OpenTreeFlags) -> int:
    """A detached copy of the mount that `dir_fd` lies on, rooted at it. open_tree(2)."""
    call = f"open_tree({dir_fd}, {flags!r})"
    result = _libc.syscall(
        _long(_SYS_OPEN_TREE), _long(dir_fd), b"", ctypes.c_uint(int(flags) | _AT_EMPTY_PATH)
    )
    return _check(result, call)


def move_mount(tree_fd: int, target: str) -> None:
    """Attach what `open_tree` gave at the absolute path `target`. move_mount(2)."""
    from_empty_path = 0x00000004
    result = _libc.syscall(
        _long(_SYS_MOVE_MOUNT), _long(tree_fd), b"", _long(-1),
        os.fsencode(target), ctypes.c_uint(from_empty_path),
    )  # fmt: skip
    _check(result, f"move_mount({tree_fd}, {target!r})", target)


def openat2(
    dir_fd: int, path: str | bytes, flags: int, resolve: ResolveFlags, mode: int = 0
) -> int:
    """Open with the kernel's own limits on how the path may be walked. openat2(2).

    Raises OSError: EXDEV for a path that leaves a BENEATH directory, ELOOP for a refused link.
    """
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=int(resolve))
    result = _libc.syscall(
        _long(_SYS_OPENAT2), _long(dir_fd), os.fsencode(path),
        ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
    )  # fmt: skip
    return _check(result, f"openat2({dir_fd}, {path!r}, {resolve!r})", path)


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
    result = _libc.syscall(
        _long(_SYS_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags)
    )
    _check(result, f"close_range({first}, {last}, {flags})")


def _prctl(option: int, argument: int, name: str) -> int:
    return _check(_libc.prctl(option, argument, 0, 0, 0), f"prctl({name}, {argument})")


def set_no_new_privs() -> None:
    """No execve grants privileges from here on, for good. PR_SET_NO_NEW_PRIVS(2const)."""
    _prctl(38, 1, "PR_SET_NO_NEW_PRIVS")


def set_dumpable(*, dumpable: bool) -> None:
    """Whether others may trace this process or read its /proc files. PR_SET_DUMPABLE(2const)."""
    _prctl(4, int(dumpable), "PR_SET_DUMPABLE")


def set_process_name(name: str) -> None:
    """What ps shows as the command name, at most 15 bytes. PR_SET_NAME(2const)."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(15, ctypes.addressof(buffer), "PR_SET_NAME")


def drop_bounding_capability(capability: int) -> None:
    """Remove one from the bounding set; EINVAL beyond the last one. PR_CAPBSET_DROP(2const)."""
    _prctl(24, capability, "PR_CAPBSET_DROP")


def clear_ambient_capabilities() -> None:
    """Empty the ambient set. PR_CAP_AMBIENT_CLEAR_ALL(2const)."""
    _prctl(47, 4, "PR_CAP_AMBIENT_CLEAR_ALL")


def set_capabilities(permitted: int) -> None:
    """Effective and permitted become the bit set `permitted`, inheritable none. capset(2)."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    words = [(permitted >> shift) & 0xFFFFFFFF for shift in (0, 32)]
    data = (_CapData * 2)(*[_CapData(word, word, 0) for word in words])
    _check(_libc.capset(ctypes.byref(header), data), f"capset({permitted:#x})")


def set_thread_file_identity(uid: int, gid: int, groups: Sequence[int]) -> None:
    """The calling thread's file accesses are checked as this user from here on.

    setfsuid(2), and the bare setgroups system call: the C library's would change every
    thread. Leaving fsuid 0 also takes the capabilities that override file permissions out
    of the thread's effective set (capabilities(7)). Both calls answer the old value and no
    error, so they are made twice: the second answers what the first achieved.
    """
    if _SYS_SETGROUPS is None:
        raise OSError(f"setgroups: its number is not known on {os.uname().machine}")
    array = (ctypes.c_uint32 * len(groups))(*groups)
    result = _libc.syscall(_long(_SYS_SETGROUPS), _long(len(groups)), array)
    _check(result, f"setgroups({list(groups)})")
    for name, wanted in (("setfsgid", gid), ("setfsuid", uid)):
        call = getattr(_libc, name)
        call(wanted)
        if call(wanted) != wanted:
            raise PermissionError(f"{name}({wanted}) was refused")


def join_new_session_keyring() -> None:
    """Leave the session keyring that was inherited for a new, empty one. keyctl(2).

    Raises OSError: ENOSYS where the kernel has no keyrings; EDQUOT.
    """
    if _SYS_KEYCTL is None:
        raise OSError(f"keyctl: its number is not known on {os.uname().machine}")
    join_session_keyring = 1
    result = _libc.syscall(_long(_SYS_KEYCTL), _long(join_session_keyring), None)
    _check(result, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)")


def peer_groups(socket_fd: int) -> list[int]:
    """The supplementary groups of a Unix socket's peer when it connected. SO_PEERGROUPS, socket(7).

    Not by `socket.getsockopt`, whose buffer of 1,024 bytes ends at 256 groups.
    """
    so_peergroups, most = 59, 65536  # asm-generic/socket.h; NGROUPS_MAX
    groups = (ctypes.c_uint32 * most)()
    length = ctypes.c_uint32(ctypes.sizeof(groups))
    sol_socket = 1
    result = _libc.getsockopt(
        socket_fd, sol_socket, so_peergroups, ctypes.byref(groups), ctypes.byref(length)
    )
    _check(result, f"getsockopt({socket_fd}, SO_PEERGROUPS)")
    return list(groups[: length.value // 4])
