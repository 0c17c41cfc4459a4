"""runnerd's end of one launcher: starts it, asks it for processes, starts it again if it dies.

The descriptors of a request are borrowed: the caller closes its own. Asking takes no task: the
answer is given where it is read (`runner.launch_answers`). What a launcher does is told in
`runner.launcher`; nothing is decided here. Which of two a job goes to, and what becomes of jobs
without the native one, is `runner.launchers`'s.
"""

from __future__ import annotations

import array
import asyncio
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from runner import records
from runner.launch_answers import (
    Answer,
    Answers,
    Done,
    Launched,
    LauncherGoneError,
    LaunchError,
    launch_request,
    let_go,
    tell_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runner.entering import Doors
    from runner.handles import Given, Handles

_logger: Final = logging.getLogger(__name__)

# Modules are found by these paths alone: the launcher runs without `site`, in isolation.
_PATHS: Final = tuple(
    dict.fromkeys(
        os.path.dirname(os.path.dirname(os.path.abspath(file)))
        for file in (__file__, msgpack.__file__)
    )
)
_PROGRAM: Final = (
    "import sys; sys.path[:0] = sys.argv[2:]; "
    "from runner.launcher import main; main(int(sys.argv[1]))"
)
# A launcher that ends sooner than this is broken, and the next waits a moment.
_SOON_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 30.0
# Of a start in vain, where the next may work.
PASSING: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
# Whoever sends these means the process: they say nothing of the program.
_FROM_OUTSIDE: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM})
# So many ends in a row, with no launch that worked among them, are the program's own fault.
_MOST_CRASHES: Final = 3


class UnfitError(Exception):
    """The program of a launcher is not there, or is not the right one. The text says why."""


class Program(NamedTuple):
    """What a launcher is started as.

    `command` is given the number of its end of the socket; raises OSError or UnfitError. Without
    a program that `is_needed` there can be no job, so it is tried for ever; another is given up.
    """

    name: str
    command: Callable[[int], list[str]]
    is_needed: bool


def python_command(socket_fd: int) -> list[str]:
    """That of `runner.launcher`."""
    return [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, str(socket_fd), *_PATHS]


PYTHON: Final = Program("launcher", python_command, is_needed=True)


class LauncherClient:
    """One launcher process of a runnerd. Used from the event loop's thread only.

    Raises OSError or UnfitError where it cannot be started at all.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keep_open: Sequence[int],
        program: Program = PYTHON,
    ) -> None:
        self._loop = loop
        self._keep_open = tuple(keep_open)
        self._program = program
        self._crashes = 0
        # Why it was given up: then it is started no more.
        self.why_gone: str | None = None
        self._answers = Answers(loop, self._on_late)
        self._seq = 0
        self._sending = asyncio.Lock()
        self._running = asyncio.Event()
        self._room: asyncio.Future[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._start()

    @property
    def pid(self) -> int:
        """The launcher's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is one now; if not, there may be soon, but for one that was given up."""
        return self._running.is_set() and self.why_gone is None

    async def launch(
        self,
        job_id: str,
        handles: Handles,
        given: Given | None = None,
        native: Mapping[str, Any] | None = None,
        *,
        sync_begin: bool,
    ) -> Launched:
        """Fork the monitor of a job. Raises LaunchError or LauncherGoneError.

        The files that are given may have 4 KiB in all. `native` is for the native launcher alone
        (`runner.native_jobs`). `sync_begin`: the monitor is to have the log's beginning on disk
        before the command is executed. Waits while there is no launcher.
        """
        request = launch_request(job_id, given, native, sync_begin=sync_begin)
        return await self._ask(request, handles.present())

    async def enter(self, doors: Doors) -> int:
        """Fork the middle process of an exec (`runner.entering`); its pid, for the log.

        Raises LaunchError or LauncherGoneError. Whether it lives, its channel says.
        """
        return (await self._ask({"kind": records.LAUNCH_EXEC}, doors.present())).pid

    def begin(self, request: dict[str, Any], present: Mapping[str, int], done: Done) -> bool:
        """Ask for a monitor without waiting; `done` is given what `launch` gives or raises.

        `request` is of `launch_request`, `present` the descriptors by their names. False: nothing
        was asked, for want of a launcher just now, or of room. Raises LauncherGoneError.
        """
        if self._running.is_set() and not self._sending.locked():
            with suppress(BlockingIOError):
                self._send_now(request, present, done)
                return True
        return False

    async def _ask(self, request: dict[str, Any], present: dict[str, int]) -> Launched:
        await self._running.wait()
        if self.why_gone is not None:
            raise LauncherGoneError(self.why_gone)
        answer: asyncio.Future[Launched] = self._loop.create_future()

        def done(given: Answer) -> None:
            if answer.done():
                # Its asker was cancelled just now.
                let_go(given)
            elif isinstance(given, Exception):
                answer.set_exception(given)
            else:
                answer.set_result(given)

        seq = None
        try:
            async with self._sending:
                seq = await self._send(request, present, done)
            return await answer
        finally:
            if seq is not None:
                self._answers.forget(seq)

    def close(self) -> None:
        """Let the launcher end; its monitors go on."""
        if self._again is not None:
            self._again.cancel()
        elif self.is_running:
            self._hang_up()
            self._process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003 - its only spelling
        with theirs:
            try:
                self._process = self._begin(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._hung = False
        self._started = self._loop.time()
        self._loop.add_reader(ours, self._on_readable)
        self._running.set()

    def _begin(self, socket_fd: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._program.command(socket_fd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(socket_fd, *self._keep_open),
            env={},
            cwd="/",
            # A Ctrl-C at runnerd's terminal is not meant for it.
            start_new_session=True,
        )

    async def _send(self, request: dict[str, Any], present: dict[str, int], done: Done) -> int:
        while True:
            try:
                return self._send_now(request, present, done)
            except BlockingIOError:
                await self._writable()

    def _send_now(self, request: dict[str, Any], present: Mapping[str, int], done: Done) -> int:
        """The number of the request. Raises BlockingIOError or LauncherGoneError: it has none."""
        seq = self._seq + 1
        message = records.pack({**request, "seq": seq, "handles": list(present)})
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", present.values()))
        try:
            self._socket.sendmsg((message,), (rights,))
        except BlockingIOError:
            raise
        except OSError as error:
            raise LauncherGoneError(f"it cannot be reached: {error.strerror}") from None
        self._seq = seq
        self._answers.add(seq, _ANSWER_SECONDS, done)
        return seq

    def _on_late(self) -> None:
        self._hung = True
        self._process.kill()

    async def _writable(self) -> None:
        self._room = self._loop.create_future()
        self._loop.add_writer(self._socket, _set_done, self._room)
        try:
            await self._room
        finally:
            self._room = None
            if self.is_running:
                self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        fds = array.array("i")
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                records.MAX_LAUNCH_MESSAGE_BYTES,
                socket.CMSG_SPACE(fds.itemsize),
                socket.MSG_CMSG_CLOEXEC,
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for _level, _kind, rights in ancillary:
            fds.frombytes(rights[: fds.itemsize])
        if data:
            self._settle(records.unpack(data), fds[0] if fds else -1)
        else:
            self._on_end()

    def _settle(self, answer: dict[str, Any], pidfd: int) -> None:
        is_whole = pidfd >= 0 or answer.get("kind") == records.LAUNCH_EXEC
        if is_whole and "pid" in answer:
            self._crashes = 0
            told: Answer = Launched(answer["pid"], pidfd)
        elif "pid" in answer:
            # It runs, but runnerd had no descriptor left for its pidfd (MSG_CTRUNC, recvmsg(2)).
            told = LauncherGoneError("its monitor's pidfd did not arrive")
        else:
            text, number = answer.get("text", "no reason was given"), answer.get("errno", 0)
            told = LaunchError(text, number)
        self._answers.give(answer["seq"], told)

    def _on_end(self) -> None:
        self._hang_up()
        # It has closed its end, so it is of no use any more, whether or not it still lives.
        self._process.kill()
        status = self._process.wait()
        waiting = self._answers.take_all()
        self._crashes += self._hung or status not in _FROM_OUTSIDE
        self._have_another(status)
        tell_all(waiting, "it ended before it answered")

    def _have_another(self, status: int) -> None:
        if self._crashes >= _MOST_CRASHES and not self._program.is_needed:
            self._give_up(f"it ended with status {status}, {self._crashes} times in a row")
            return
        lived = self._loop.time() - self._started
        # Never at once in a circle: one that cannot start at all would spin.
        delay = 0.0 if lived > _SOON_SECONDS else _PATIENCE_SECONDS
        self._start_in(delay, f"ended with status {status}")

    def _start_in(self, delay: float, why: str) -> None:
        name = self._program.name
        _logger.error("the %s %s; another starts in %g s", name, why, delay)
        self._again = self._loop.call_later(delay, self._start_again)

    def _start_again(self) -> None:
        self._again = None
        try:
            self._start()
        except (OSError, UnfitError) as error:
            may_pass = isinstance(error, OSError) and error.errno in PASSING
            if self._program.is_needed or may_pass:
                self._start_in(_PATIENCE_SECONDS, f"cannot be started: {error}")
            else:
                self._give_up(f"it cannot be started again: {error}")

    def _give_up(self, why: str) -> None:
        """For good. Whoever waits for it hears of that."""
        _logger.error("the %s is given up until runnerd starts again: %s", self._program.name, why)
        self.why_gone = why
        self._running.set()

    def _hang_up(self) -> None:
        self._running.clear()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._room is not None:
            # Whoever waits for room tries once more, and hears that nobody is there.
            _set_done(self._room)
        self._socket.close()


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
