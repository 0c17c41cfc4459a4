"""One command that is executed in a job: our ends of its pipes, and of its channel.

Moves its output to the client's stream as far as the client grants credit, signals to the middle
process (`runner.entering`), and what that tells of the end back. Where the job is, and what is
asked of the launcher, is `runner.execing`'s.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isolation import payload
from runner import records, usage
from runner.outcome import Facts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import ExitStack

    from isolation.first_process import FirstProcess
    from runner.server.stream import Stream

_READ_BYTES: Final = 65536
_F_GETPIPE_SZ: Final = 1032  # linux/fcntl.h


class ExecCommand:
    """One command under way. What it opens goes into the stacks that it is given."""

    def __init__(self, first: FirstProcess, payload_cgroup: int) -> None:
        self.first = first
        self.payload_cgroup = payload_cgroup
        self._outputs: dict[int, int] = {}
        self._kills = usage.out_of_memory(payload_cgroup).kills
        self._channel: socket.socket

    def open_channel(self, opened: ExitStack, given: ExitStack) -> int:
        """Make the pair; the other end, which is closed with what was given."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = opened.enter_context(ours)
        given.enter_context(theirs)
        ours.setblocking(False)  # noqa: FBT003 - its only spelling
        return theirs.fileno()

    def open_output(
        self, stream: int, ids: tuple[int, int], opened: ExitStack, given: ExitStack
    ) -> int:
        """Make a pipe; its write end, which the job's user may open again as /dev/stdout."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        opened.callback(os.close, read_fd)
        given.callback(os.close, write_fd)
        os.set_blocking(read_fd, False)
        os.fchown(write_fd, *ids)
        self._outputs[read_fd] = stream
        return write_fd

    async def see_through(self, stream: Stream) -> dict[str, Any] | None:
        """Send all output until the end; what the middle process tells of it, None if it died."""
        stream.listen(self._signal)
        while True:
            # Nothing is read, and so nothing held, before it may be sent.
            await stream.ready()
            await _readable([*self._outputs, self._channel.fileno()])
            for fd in list(self._outputs):
                await self._pass_on(fd, stream)
            with suppress(BlockingIOError):
                # All that the command itself wrote was in the pipes before this was sent.
                answer = _answer(self._channel)
                break
        for fd in list(self._outputs):
            await self._drain(fd, stream)
        return answer

    async def _pass_on(self, fd: int, stream: Stream) -> int:
        """One event of what is there; the bytes sent."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            del self._outputs[fd]
            return 0
        await stream.send({"stream": self._outputs[fd], "data": data})
        return len(data)

    async def _drain(self, fd: int, stream: Stream) -> None:
        """What a pipe holds, but not what those in the background go on to write."""
        left = fcntl.fcntl(fd, _F_GETPIPE_SZ)
        while left > 0 and fd in self._outputs and (sent := await self._pass_on(fd, stream)):
            left -= sent

    def _signal(self, number: int) -> None:
        # No middle process any more: the end is on its way.
        with suppress(OSError):
            self._channel.send(bytes((number,)))

    def facts(self, wait_status: int | None, failure: payload.SetupFailure | None) -> Facts:
        """What the verdict is made from."""
        memory = usage.out_of_memory(self.payload_cgroup)
        facts = Facts(wait_status, memory.kills - self._kills, memory.hit_own_limit)
        if failure is None:
            return facts
        return facts._replace(
            failed_step=failure.step,
            failed_errno=failure.errno,
            failed_text=failure.text,
            is_exec_step=failure.step == payload.EXEC_STEP,
        )


async def _readable(fds: Iterable[int]) -> None:
    """Until one of them has something to read, or has ended."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def mark() -> None:
        if not ready.done():
            ready.set_result(None)

    # Only for this long: what is not read stays readable, and would wake the loop for ever.
    watched = list(fds)
    for fd in watched:
        loop.add_reader(fd, mark)
    try:
        await ready
    finally:
        for fd in watched:
            loop.remove_reader(fd)


def _answer(channel: socket.socket) -> dict[str, Any] | None:
    """The last and only message of the middle process. Raises BlockingIOError before it came."""
    try:
        data = channel.recv(records.MAX_LAUNCH_MESSAGE_BYTES)
    except ConnectionResetError:
        data = b""
    return records.unpack(data) if data else None
