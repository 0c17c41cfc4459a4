"""User namespaces for the tests: one to be in, one that shows a user's files as its root's."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from isolation import syscalls
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Iterator

NEWUSER = CloneFlags(0x10000000)
BASE = 200_000
_MOST = 2**32 - 1


class Maps(NamedTuple):
    """Descriptors of both namespaces."""

    userns: int
    idmap: int | None


def swapped(uid: int, base: int = BASE) -> str:
    """Every id is itself, but for the user and the job's root, which change places."""
    low, high = sorted((uid, base))
    parts = [
        (0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1),
        (high + 1, high + 1, _MOST - high - 1),
    ]  # fmt: skip
    return "\n".join(" ".join(map(str, part)) for part in parts if part[2])


@contextmanager
def maps_for(uid: int) -> Iterator[Maps]:
    """The namespaces of a job of this user. Files of root are nobody's in the job."""
    userns = _make(f"0 {BASE} 65536")
    idmap = _make(swapped(uid)) if uid else None
    try:
        yield Maps(userns, idmap)
    finally:
        for fd in (userns, idmap):
            if fd is not None:
                os.close(fd)


def _make(mapping: str) -> int:
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        syscalls.unshare(NEWUSER)
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(mapping)
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for end in (*ready, *go):
        os.close(end)
    return fd
