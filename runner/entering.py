"""The middle process of an exec: forked by the launcher, it brings a command into a job. Lean.

Theory of operation. It stays on the host, in runnerd's cgroup, and only lets its child be born
in the job: in its PID namespace (setns(2) counts for children) and its cgroup, so that the
job's limits and `cgroup.kill` hold from the first moment. The child enters the rest
(`isolation.entry`). It then passes on signals that come over `channel`, a SEQPACKET pair with
runnerd, reaps the child, tells how it ended, and ends. When runnerd hangs up, the command is
killed: nobody is left who asked for it.

It must reap without delay: a job's PID namespace, and with it the monitor, cannot end before.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from isolation import entry, payload, privileges, syscalls
from isolation.entry import Entry
from isolation.payload import Command, Streams
from isolation.syscalls import CloneFlags
from runner import records

if TYPE_CHECKING:
    from collections.abc import Iterable


class Doors(NamedTuple):
    """The descriptors of an exec: the request as a file, our end of the pair, the job's.

    `target` and `userns` are those of `isolation.entry.Entry`, `stdout` and `stderr` the write
    ends that the command gets.
    """

    request: int
    channel: int
    payload_cgroup: int
    target: int
    stdout: int
    stderr: int
    userns: int | None = None

    def present(self) -> dict[str, int]:
        """Those that there are, by name."""
        return {name: fd for name, fd in self._asdict().items() if fd is not None}


class _Child(NamedTuple):
    pid: int
    pidfd: int
    report: int


def main(doors: Doors) -> None:
    """See one command through, from its fork to the message that says how it ended."""
    _keep([*doors.present().values()])
    _detach()
    try:
        child = _start(doors, records.unpack(_whole(doors.request)))
    except OSError as error:
        if error.errno == errno.EAGAIN:
            why = "the job is at its limit of processes; `runctl update JOB --pids N` raises it"
            error = OSError(errno.EAGAIN, why)
        _tell(doors.channel, None, payload.report_of("enter the job", error))
        return
    _keep([doors.channel, *child[1:]])
    status = _see_through(child, doors.channel)
    _tell(doors.channel, status, os.read(child.report, 2 * payload.MAX_REPORT_BYTES))


def _keep(descriptors: Iterable[int]) -> None:
    """Nothing of the launcher's: its locks would keep the next runnerd from starting."""
    syscalls.close_all_except([0, 1, 2, *descriptors])


def _detach() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd, inheritable=False)
    os.close(null)
    # Ignored, as the launcher has it, the child's end would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    syscalls.set_process_name("runnerd-exec")
    privileges.become_killable()


def _whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _start(doors: Doors, request: dict[str, Any]) -> _Child:
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    streams = Streams(stdin, doors.stdout, doors.stderr, report_write)
    syscalls.setns(doors.target, CloneFlags.NEWPID)
    pid, pidfd = syscalls.clone3(CloneFlags(0), doors.payload_cgroup, signal.SIGCHLD)
    if pid == 0:
        where = Entry(doors.target, doors.userns, **request["entry"])
        entry.execute(Command(**request["command"]), streams, where)
    return _Child(pid, pidfd, report_read)


def _see_through(child: _Child, channel: int) -> int:
    """Its wait status. Obeys the channel meanwhile."""
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    poll.register(channel, select.POLLIN)
    while child.pidfd not in (ready := [fd for fd, _events in poll.poll()]):
        if ready and not _obey(child.pid, channel):
            poll.unregister(channel)
    return os.waitpid(child.pid, 0)[1]


def _obey(pid: int, channel: int) -> bool:
    """Each byte is the number of a signal. False when runnerd has hung up."""
    try:
        numbers = os.read(channel, 64)
    except OSError:
        numbers = b""
    for number in numbers or (signal.SIGKILL,):
        _signal(pid, number)
    return bool(numbers)


def _signal(pid: int, number: int) -> None:
    """To the command and what it started, but for what left its process group.

    The number is the command's own until it is reaped, which is done here.
    """
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # It has not made its session yet.
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _tell(channel: int, wait_status: int | None, report: bytes) -> None:
    with suppress(OSError):
        os.write(channel, records.pack({"wait_status": wait_status, "report": report}))
