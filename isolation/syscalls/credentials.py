"""Identity and privileges: prctl, capabilities, file identity, keyrings, a peer's groups. Lean."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

from isolation.syscalls.common import by_machine, check, libc, long

if TYPE_CHECKING:
    from collections.abc import Sequence

_SYS_KEYCTL: Final = by_machine(x86_64=250, aarch64=219, riscv64=219)
# The C library's setgroups would change every thread.
_SYS_SETGROUPS: Final = by_machine(x86_64=116, aarch64=159, riscv64=159)
_CAPABILITY_VERSION_3: Final = 0x20080522


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


libc.prctl.argtypes = (
    ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong,
)  # fmt: skip
libc.capset.argtypes = (ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData))
libc.setfsuid.argtypes = (ctypes.c_uint32,)
libc.setfsgid.argtypes = (ctypes.c_uint32,)


def _prctl(option: int, argument: int, name: str) -> int:
    return check(libc.prctl(option, argument, 0, 0, 0), f"prctl({name}, {argument})")


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


def keep_capabilities_over_setuid() -> None:
    """Leaving uid 0 empties the permitted set no more, until the next exec. PR_SET_KEEPCAPS."""
    _prctl(8, 1, "PR_SET_KEEPCAPS")


def raise_ambient_capability(capability: int) -> None:
    """Let it survive the exec of an ordinary program. PR_CAP_AMBIENT_RAISE(2const).

    Raises OSError: EPERM unless it is both permitted and inheritable.
    """
    check(libc.prctl(47, 2, capability, 0, 0), f"prctl(PR_CAP_AMBIENT, RAISE, {capability})")


def set_capabilities(permitted: int, inheritable: int = 0) -> None:
    """Effective and permitted become the bit set `permitted`. capset(2)."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    words = [(permitted >> shift) & 0xFFFFFFFF for shift in (0, 32)]
    inherited = [(inheritable >> shift) & 0xFFFFFFFF for shift in (0, 32)]
    sets = [_CapData(word, word, kept) for word, kept in zip(words, inherited, strict=True)]
    data = (_CapData * 2)(*sets)
    call = f"capset({permitted:#x}, inheritable={inheritable:#x})"
    check(libc.capset(ctypes.byref(header), data), call)


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
    result = libc.syscall(long(_SYS_SETGROUPS), long(len(groups)), array)
    check(result, f"setgroups({list(groups)})")
    for name, wanted in (("setfsgid", gid), ("setfsuid", uid)):
        call = getattr(libc, name)
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
    result = libc.syscall(long(_SYS_KEYCTL), long(join_session_keyring), None)
    check(result, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)")


def peer_groups(socket_fd: int) -> list[int]:
    """The supplementary groups of a Unix socket's peer when it connected. SO_PEERGROUPS, socket(7).

    Not by `socket.getsockopt`, whose buffer of 1,024 bytes ends at 256 groups.
    """
    so_peergroups, most = 59, 65536  # asm-generic/socket.h; NGROUPS_MAX
    groups = (ctypes.c_uint32 * most)()
    length = ctypes.c_uint32(ctypes.sizeof(groups))
    sol_socket = 1
    result = libc.getsockopt(
        socket_fd, sol_socket, so_peergroups, ctypes.byref(groups), ctypes.byref(length)
    )
    check(result, f"getsockopt({socket_fd}, SO_PEERGROUPS)")
    return list(groups[: length.value // 4])
