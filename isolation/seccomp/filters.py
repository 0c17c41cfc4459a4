"""Seccomp in the payload: installing a filter, and handing its listener to the monitor. Lean.

Programs are made by `isolation.seccomp.profiles`, in the daemon. What a listener tells is
answered by `isolation.seccomp.denials`, in the monitor. See seccomp(2), seccomp_unotify(2).
"""

from __future__ import annotations

import array
import errno
import os
import socket
from typing import Final

from isolation import syscalls
from isolation.syscalls import SeccompFlags

_ONE_BYTE: Final = b"\0"
# BPF_MAXINSNS of linux/bpf_common.h, 8 bytes each.
_INSTRUCTION_BYTES: Final = 8
_MAX_PROGRAM_BYTES: Final = 4096 * _INSTRUCTION_BYTES


def read_program(fd: int) -> bytes:
    """The program in an open file, whatever its position. Raises OSError.

    EINVAL: it is longer than a filter may be, or no whole number of instructions. Never cut.
    """
    program = os.pread(fd, _MAX_PROGRAM_BYTES + 1, 0)
    if len(program) > _MAX_PROGRAM_BYTES or len(program) % _INSTRUCTION_BYTES:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return program


def install(program: bytes) -> None:
    """Filter every later system call of this process and of what it starts, for good.

    Asks for no_new_privs. Raises OSError; then the caller must not execute anything.
    """
    syscalls.seccomp_set_filter(program, SeccompFlags(0))


def install_reporting(program: bytes) -> int:
    """The same, with a close-on-exec listener that hears of what the program refuses.

    A refused call waits until it is answered: hand the listener over (`send_listener`), and
    nothing that the program refuses may be called before. Raises OSError; EBUSY under a
    filter that has a listener already.
    """
    listening = SeccompFlags.NEW_LISTENER
    try:
        # Without it, a signal during the wait makes the program call once more.
        return syscalls.seccomp_set_filter(program, listening | SeccompFlags.WAIT_KILLABLE_RECV)
    except OSError as error:
        # Linux 5.19 has it first.
        if error.errno != errno.EINVAL:
            raise
        return syscalls.seccomp_set_filter(program, listening)


def send_listener(socket_fd: int, listener: int) -> None:
    """Hand the listener to whoever has the other end of a Unix SEQPACKET pair.

    One sendmsg(2) and nothing else: a profile that reports has to allow it. Raises OSError.
    """
    # With the kind given, Python asks the kernel nothing; and it must not close our number.
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=socket_fd)
    try:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))
        channel.sendmsg([_ONE_BYTE], [rights])
    finally:
        channel.detach()
