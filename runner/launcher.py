"""The launcher: forks monitors, and the middle processes of execs, and does nothing else.

Theory of operation. runnerd starts it as `python -I -S` with one end of a SEQPACKET pair
and the locks of its state directory and cgroup root, which it only holds open: as long as
a launcher lives that may still fork, no other runnerd may begin. Each message asks for one
process, names its descriptors (`Handles` of a monitor, `Doors` of an exec) and carries them in
that order. The answer carries the pid, and of a monitor a pidfd, or says what failed.
End-of-file means that runnerd is gone: the launcher ends, and the monitors, which hold nothing
of it, go on.

It has one thread, imports the lean set only, and freezes its heap, so that a fork copies
few pages. SIGCHLD is ignored: the kernel reaps monitors by itself, and runnerd watches them
by pidfd.
"""

from __future__ import annotations

import array
import gc
import os
import resource
import signal
import socket
from typing import Any, Final

from isolation import syscalls
from isolation.syscalls import CloneFlags
from runner import daemon_watch, entering, monitor, records
from runner.entering import Doors
from runner.handles import Given, Handles
from runner.monitor import Syncing

_MAX_DESCRIPTORS: Final = 16
_USUAL_DESCRIPTORS: Final = 1024


def main(socket_fd: int) -> None:
    """Serve launch requests until runnerd goes away."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # A monitor inherits it. The interpreter's own handler would make SIGINT the one signal
    # that a job of root can send to pid 1 of its namespace (pid_namespaces(7)).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_descriptors()
    syscalls.set_process_name("runnerd-launch")
    syscalls.set_dumpable(dumpable=False)
    channel = socket.socket(fileno=socket_fd)
    daemon = daemon_watch.watch(channel)
    gc.collect()
    gc.freeze()
    while True:
        try:
            message, descriptors = _receive(channel)
        except ConnectionResetError:
            # End-of-file, when runnerd died with an answer unread.
            return
        if not message:
            return
        _serve(channel, message, descriptors, daemon)


def _limit_descriptors() -> None:
    """Jobs inherit the usual soft limit, not runnerd's: some programs close all below it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _USUAL_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_USUAL_DESCRIPTORS, hard)
    if soft != wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    fds = array.array("i")
    message, ancillary, _flags, _address = channel.recvmsg(
        records.MAX_LAUNCH_MESSAGE_BYTES,
        socket.CMSG_SPACE(_MAX_DESCRIPTORS * fds.itemsize),
        socket.MSG_CMSG_CLOEXEC,
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)


def _serve(
    channel: socket.socket, message: bytes, descriptors: list[int], daemon: int | None
) -> None:
    request = records.unpack(message)
    answer: dict[str, Any] = {"seq": request["seq"], "kind": request["kind"]}
    pidfd = -1
    try:
        given = dict(zip(request["handles"], descriptors, strict=True))
        if request["kind"] == records.LAUNCH_EXEC:
            answer["pid"] = _fork_middle(Doors(**given))
        else:
            answer["pid"], pidfd = _fork_monitor(Handles(**given), request, daemon)
    except OSError as error:
        answer["text"] = f"{error.strerror} ({'; '.join(getattr(error, '__notes__', ()))})"
    finally:
        for fd in descriptors:
            os.close(fd)
    _send(channel, answer, pidfd)


def _fork_monitor(handles: Handles, request: dict[str, Any], daemon: int | None) -> tuple[int, int]:
    given = Given(request["files"], request["ids"])
    syncing = Syncing(request["sync_begin"], daemon)
    pid, pidfd = syscalls.clone3(CloneFlags.NEWPID, handles.monitor_cgroup, signal.SIGCHLD)
    if pid == 0:
        status = 1
        try:
            monitor.main(handles, request["job"], given, syncing)
            status = 0
        finally:
            # Never back into the launcher's loop, whatever went wrong.
            os._exit(status)
    return pid, pidfd


def _fork_middle(doors: Doors) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            entering.main(doors)
        finally:
            os._exit(0)
    return pid


def _send(channel: socket.socket, answer: dict[str, Any], pidfd: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))]
    try:
        channel.sendmsg([records.pack(answer)], rights if pidfd >= 0 else [])
    except (BrokenPipeError, ConnectionResetError):
        # runnerd went away meanwhile; the next receive says so, and the monitor, which
        # the next runnerd finds by its cgroup, goes on.
        pass
    finally:
        if pidfd >= 0:
            os.close(pidfd)
