"""Whether the runnerd that started a launcher lives: asked by its monitors. Lean.

While it does, an exit record need not be on the disk: runnerd commits the end, on disk, before
anybody hears of it, and a kill of runnerd leaves the record where the next one reads it. Monitors
inherit the pidfd; a job never does. The same in C: runner/native/daemon.c.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


def watch(channel: socket.socket) -> int | None:
    """A pidfd of the parent, if it is who made the other end of `channel`; else None."""
    parent = os.getppid()
    if not _is_parent(parent, channel):
        return None
    try:
        pidfd = os.pidfd_open(parent)
    except OSError:
        return None
    # A number alone could be another process's by now; behind pidfd_open it is the parent's still.
    if _is_parent(parent, channel):
        return pidfd
    os.close(pidfd)
    return None


def _is_parent(pid: int, channel: socket.socket) -> bool:
    data = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return os.getppid() == pid == int(_CREDENTIALS.unpack(data)[0])


def lives(pidfd: int | None) -> bool:
    """Whether that process has not ended. False for None: then nobody is known to take care."""
    if pidfd is None:
        return False
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)
