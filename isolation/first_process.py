"""The process that a job began with: found by what the kernel says of it, and held by a pidfd.

For the daemon. Which cgroup is the job's is the caller's to know; entering where the process
is happens in `isolation.entry`.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The monitor is 1.
_NUMBER_IN_JOB: Final = b"2"
# include/linux/sched.h; shown by proc(5), stat, field 9.
_FORKED_WITHOUT_EXEC: Final = 0x40
_FLAGS_BEHIND_NAME: Final = 6
_NS_GET_PARENT: Final = 0xB702  # linux/nsfs.h


class FirstProcess(NamedTuple):
    """Its pid as we see it, which is its own for as long as the pidfd says that it lives."""

    pid: int
    pidfd: int

    def has_ended(self) -> bool:
        """Whether it is gone, or a zombie."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))


def find(list_pids: Callable[[], Sequence[int]]) -> FirstProcess | None:
    """The first process of a job whose processes are those listed; the caller closes the pidfd.

    None when there is none, or it does not execute its command yet: until then it is a fork
    of ours that is half in the host's namespaces. A process of a PID namespace that the job
    made has a number more. Blocks for as long as /proc takes. Raises OSError.
    """
    for pid in sorted(list_pids()):
        if not _is_first_and_executes(pid):
            continue
        try:
            first = FirstProcess(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return None
        # Once more, now that the number cannot become another's unseen.
        if pid in list_pids() and _is_first_and_executes(pid) and not first.has_ended():
            return first
        os.close(first.pidfd)
        return None
    return None


def _is_first_and_executes(pid: int) -> bool:
    # NSpid: the number in our PID namespace, then in each one below it.
    if _line(_read(pid, "status"), b"NSpid:")[1:] != [_NUMBER_IN_JOB]:
        return False
    # Behind the command's name, which may hold anything.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    flags = int(fields[_FLAGS_BEHIND_NAME]) if fields else _FORKED_WITHOUT_EXEC
    return not flags & _FORKED_WITHOUT_EXEC


def _line(status: bytes, name: bytes) -> list[bytes]:
    for line in status.splitlines():
        if line.startswith(name):
            return line.split()[1:]
    return []


def _read(pid: int, name: str) -> bytes:
    """A file of /proc/PID; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def open_user_namespace(first: FirstProcess) -> int:
    """A descriptor of the job's own user namespace, the one that was made in ours.

    Not always that which the process is in: the job may have made others in it. Raises
    OSError; ProcessLookupError when the process has ended.
    """
    fd = os.open(f"/proc/{first.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # The number was its own all the while: ESRCH otherwise.
        signal.pidfd_send_signal(first.pidfd, 0)
        ours = os.stat("/proc/self/ns/user")
        # EPERM above ours: it is no descendant of it.
        while not os.path.samestat(os.fstat(parent := fcntl.ioctl(fd, _NS_GET_PARENT)), ours):
            os.close(fd)
            fd = parent
        os.close(parent)
    except BaseException:
        os.close(fd)
        raise
    return fd
