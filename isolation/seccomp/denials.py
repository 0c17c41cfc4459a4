"""What a job's filter refused: the monitor's side of a seccomp listener. Lean.

A reporting program (`isolation.seccomp.profiles`) answers a refusal with USER_NOTIF and the
errno in the low bits, which the kernel does not look at. So the same program, run here on
what the kernel tells of a call, gives the errno. Nothing is ever allowed from here: reading
a job's memory to decide would be a race. See seccomp_unotify(2).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import socket
import struct
from typing import Final

from isolation import syscalls
from isolation.seccomp import bpf_machine

MOST_KINDS: Final = 64

# _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp).
_NOTIF_RECV: Final = 0xC0502100
_NOTIF_SEND: Final = 0xC0182101
_NOTIF: Final = struct.Struct("=QII64s")
_RESPONSE: Final = struct.Struct("=QqiI")
_NUMBER: Final = struct.Struct("=i")
_SIZES: Final = (_NOTIF.size, _RESPONSE.size, 64)
_ERRNO_BITS: Final = 0xFFFF


def receive_listener(socket_fd: int) -> int | None:
    """The listener that `seccomp.send_listener` sent, close-on-exec.

    None when the other end was closed without: the set-up failed before. Raises OSError.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=socket_fd)
    fds = array.array("i")
    try:
        _, ancillary, _, _ = channel.recvmsg(
            1, socket.CMSG_SPACE(fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return None
    finally:
        channel.detach()
    for _level, _kind, data in ancillary:
        fds.frombytes(data)
    return fds[0] if fds else None


class Denials:
    """Answers what the listener tells, and counts it by system call.

    `program` is the reporting program that the job runs under. Poll `fileno()` for reading;
    `on_readable` then answers. Close it when the job has ended.
    """

    def __init__(self, listener: int, program: bytes) -> None:
        self._listener = listener
        self._program = program
        self._counts: dict[int, int] = {}
        sizes = syscalls.seccomp_notification_sizes()
        # A newer kernel may tell and take more; it fits, and the rest stays zero.
        self._notif_bytes = max(sizes[0], _SIZES[0])
        self._response_bytes = max(sizes[1], _SIZES[1])

    def fileno(self) -> int:
        """The listener."""
        return self._listener

    def on_readable(self) -> bool:
        """Answer one call. False when there is nothing more to come: close it then."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        ready = poll.poll(0)
        # Older kernels wait for ever for a notification of processes that are all gone.
        if ready and not ready[0][1] & select.POLLIN:
            return False
        if ready:
            self._answer_one()
        return True

    def counts(self) -> list[dict[str, int]]:
        """Number of the system call and how often it was refused, the most refused first."""
        order = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return [{"number": number, "count": count} for number, count in order]

    def close(self) -> None:
        """Whoever still waits for an answer gets ENOSYS from the kernel."""
        os.close(self._listener)

    def _answer_one(self) -> None:
        # The kernel wants zeros, and writes into it.
        notification = bytearray(self._notif_bytes)
        try:
            fcntl.ioctl(self._listener, _NOTIF_RECV, notification)
        except InterruptedError:
            return
        except OSError as error:
            # ENOENT: whoever called was killed before we looked.
            if error.errno == errno.ENOENT:
                return
            raise
        identity, _pid, _flags, data = _NOTIF.unpack_from(notification)
        self._count(_NUMBER.unpack_from(data)[0])
        self._respond(identity, bpf_machine.run(self._program, data) & _ERRNO_BITS)

    def _respond(self, identity: int, number: int) -> None:
        response = bytearray(self._response_bytes)
        _RESPONSE.pack_into(response, 0, identity, 0, -number, 0)
        try:
            fcntl.ioctl(self._listener, _NOTIF_SEND, response)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _count(self, number: int) -> None:
        # No more kinds than fit into a result.
        if number in self._counts or len(self._counts) < MOST_KINDS:
            self._counts[number] = self._counts.get(number, 0) + 1
