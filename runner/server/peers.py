"""Who is at the other end of a socket, by the kernel's word alone: socket(7), unix(7)."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import struct
from typing import Final

from isolation.cgroups.root import own_cgroup
from isolation.syscalls import peer_groups
from runner.policy import Peer

_CREDENTIALS: Final = struct.Struct("iII")
_SO_PEERPIDFD: Final = 77  # asm-generic/socket.h, Linux 6.5
_IN_A_JOB: Final = re.compile(r"/job-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/|$)")


def peer_of(sock: socket.socket) -> Peer:
    """The peer when it connected: SO_PEERCRED and SO_PEERGROUPS. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(credentials)
    return Peer(uid=uid, gid=gid, pid=pid, groups=frozenset(peer_groups(sock.fileno())))


def is_in_a_job(sock: socket.socket, pid: int) -> bool:
    """Whether the peer is a process of a job, by the cgroup that the kernel names for it.

    One that is gone already cannot be told from a job's, and is taken for one. `pid` is
    that of SO_PEERCRED; from Linux 6.5 on a pidfd of the peer proves that it is no later
    process of the same number.
    """
    try:
        pidfd = _peer_pidfd(sock)
    except ProcessLookupError:
        return True
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            path = own_cgroup(file.read())
        if pidfd is not None and _has_ended(pidfd):
            return True
    except OSError:
        return True
    finally:
        if pidfd is not None:
            os.close(pidfd)
    return path is not None and _IN_A_JOB.search(path) is not None


def _peer_pidfd(sock: socket.socket) -> int | None:
    """A pidfd of the peer; None where the kernel has none to give."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENODATA):
            raise ProcessLookupError(errno.ESRCH, "the peer is gone") from None
        return None


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))
