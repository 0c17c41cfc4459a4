"""Ending a cgroup: who is in it, killing them one by one, removing it and all below it.

Works on any cgroup and knows no jobs. Where the kernel has cgroup.kill, that is used
instead (`isolation.cgroups.tree`); this is also for the kernels before 5.14.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isolation.cgroups.nodes import Cgroup, optional
from isolation.errors import CgroupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_KILL_ROUNDS: Final = 100
# A cgroup that is empty may still be busy while its last process is torn down.
_BUSY_RETRY_SECONDS: Final = 0.005
_EVENTS_BYTES: Final = 4096


def pids_of(cgroup: Cgroup) -> list[int]:
    """The pids in this one cgroup; none when it is gone. Raises CgroupError."""
    return optional(lambda: cgroup.core.procs) or []


def walk(cgroup: Cgroup) -> Iterator[Cgroup]:
    """A cgroup and all below it, parents first; whatever a job called those it made."""
    directories = [cgroup.directory]
    while directories:
        directory = directories.pop()
        found = Cgroup(directory)
        yield found
        names = optional(found.child_names) or []
        directories += [os.path.join(directory, name) for name in names]


def remove(cgroup: Cgroup, known: Iterable[Cgroup], timeout_seconds: float) -> None:
    """Remove a cgroup with all below it, waiting while processes are in it.

    `known`, children first, is tried at once: listing directories costs more than that.
    Raises CgroupError, EBUSY when processes are left after `timeout_seconds`.
    """
    if _remove_each((*known, cgroup)) is None:
        return
    deadline = time.monotonic() + timeout_seconds
    while (error := _remove_each(reversed(list(walk(cgroup))))) is not None:
        remaining = deadline - time.monotonic()
        if error.errno != errno.EBUSY or remaining <= 0:
            raise error
        wait_for_change(cgroup, remaining)


def _remove_each(cgroups: Iterable[Cgroup]) -> CgroupError | None:
    """Remove them in this order. The first failure, or None; gone already is none."""
    for cgroup in cgroups:
        try:
            os.rmdir(cgroup.directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            return CgroupError(error.errno or 0, "rmdir", cgroup.directory)
    return None


def wait_for_change(cgroup: Cgroup, timeout_seconds: float) -> None:
    """Until its last process is gone, or a moment only when none seems to be left.

    Returns early and late for other reasons too: look again after it.
    """
    path = cgroup.core.path("cgroup.events")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        # Reading arms the poll: it reports changes since this descriptor was last read.
        populated = b"populated 1" in os.read(fd, _EVENTS_BYTES)
        seconds = timeout_seconds if populated else min(timeout_seconds, _BUSY_RETRY_SECONDS)
        poller.poll(seconds * 1000)
    finally:
        os.close(fd)


def kill_each(cgroup: Cgroup) -> None:
    """SIGKILL to all in a cgroup and below it: frozen first, so that nothing forks meanwhile.

    A frozen process ends on SIGKILL as any other (cgroup-v2.rst, cgroup.freeze).
    """
    with suppress(CgroupError):
        cgroup.core.freeze = True
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        found = {pid: member for member in walk(cgroup) for pid in pids_of(member)}
        new = found.keys() - killed
        if not new:
            return
        for pid in new:
            _kill_member(found[pid], pid)
        killed |= new


def _kill_member(cgroup: Cgroup, pid: int) -> None:
    """Kill a pid of a cgroup, and nobody who got its number since: membership is asked twice."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            if pid in pids_of(cgroup):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
