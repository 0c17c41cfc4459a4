"""A user namespace whose first process has ended before anything ran in it. Not lean.

unshare(2) refuses CLONE_NEWUSER to a process with threads, and a fork of the daemon costs
milliseconds; here nothing is copied. See clone(2) and user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from isolation.syscalls.common import check, libc
from isolation.syscalls.process import CloneFlags

# __WALL of waitpid(2): without it a child that sends no SIGCHLD is not waited for.
WAIT_ALL: Final = 0x40000000
_CLONE_VM: Final = 0x100
_STACK_BYTES: Final = 16 * 1024
_STACK_ALIGNMENT: Final = 16

libc.clone.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def clone_ended_in_new_user_namespace() -> int:
    """The pid of a zombie that is alone in a new user namespace; waitpid(pid, WAIT_ALL) frees it.

    Until then /proc/PID/uid_map, gid_map and ns/user are those of the namespace. The child
    shares our memory, has a stack of its own and runs one function of the C library, which
    touches neither memory nor errno, and returns into exit(2). It sends no signal: no
    handler of ours hears of it, and no wait without __WALL or __WCLONE can reap it.

    Raises OSError: ENOSPC beyond the limit of namespaces, EPERM where they are forbidden.
    """
    stack = ctypes.create_string_buffer(_STACK_BYTES)
    top = (ctypes.addressof(stack) + _STACK_BYTES) & -_STACK_ALIGNMENT
    flags = int(CloneFlags.NEWUSER) | _CLONE_VM
    function = ctypes.cast(libc.getppid, ctypes.c_void_p)
    pid = check(libc.clone(function, top, flags, None), "clone(CLONE_NEWUSER | CLONE_VM)")
    # It may still be running on the stack, which is freed when this function returns.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | WAIT_ALL)
    return pid
