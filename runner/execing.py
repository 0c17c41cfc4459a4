"""Further commands in jobs that run: from a request to the answer that says how one ended.

Finds where the job is, has the launcher make the process (`runner.entering`), and moves its
output from two pipes to the client's stream, as far as the client grants credit: the pipes
are full otherwise, and the command waits. Nothing of it is stored; a command ends with the
connection that asked for it, with runnerd, and with its job. Who may ask was decided before.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from client.protocol import STDERR, STDOUT
from isolation import first_process, payload
from isolation.errors import CgroupError, LimitUnavailable
from runner import outcome, records, stored, usage
from runner.entering import Doors
from runner.launch_answers import LauncherGoneError, LaunchError
from runner.lifecycle import State
from runner.outcome import Facts
from runner.pausing import not_now
from runner.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from isolation.cgroups.tree import CgroupTree, JobCgroup
    from isolation.first_process import FirstProcess
    from runner.launchers import Launchers
    from runner.messages import Exec
    from runner.outcome import Outcome
    from runner.provisions import Provisioning
    from runner.rows import Job
    from runner.server.connection import Stream
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 16
_READ_BYTES: Final = 65536
# A job that is running may still unpack its root.
_SET_UP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02
# After the end of a command, whether that of its job follows.
_LOOKS: Final = 12
_F_GETPIPE_SZ: Final = 1032  # linux/fcntl.h


class Execs:
    """The execs of one daemon. For the event loop's thread only."""

    def __init__(
        self, store: Store, tree: CgroupTree, provisions: Provisioning, launchers: Launchers
    ) -> None:
        self._store = store
        self._tree = tree
        self._provisions = provisions
        self._launchers = launchers
        self._by_uid: Counter[int] = Counter()

    async def run(self, job: Job, uid: int, request: Exec, stream: Stream) -> dict[str, Any]:
        """Run a command to its end, its output as events. Raises Refusal.

        Cancelled, it kills the command.
        """
        with self._place(uid), ExitStack() as opened:
            place = self._require_running(job.id)
            first = await self._find(job.id, place, opened)
            running = _Running(first, _open_payload(place, opened))
            try:
                await self._start(job, request, running, opened)
            except (
                LaunchError, LauncherGoneError, LimitUnavailable, OSError, records.RecordError,
            ) as error:  # fmt: skip
                self._require_running(job.id)
                return _shown(outcome.never_started(f"it could not be started: {error}"))
            _logger.info("job %s: uid %d executes a command in it", job.id, uid)
            return await self._end(job.id, running, await running.see_through(stream))

    @contextmanager
    def _place(self, uid: int) -> Iterator[None]:
        if self._by_uid[uid] >= MAX_AT_ONCE:
            raise Refusal("too-many-requests", allowed=f"{MAX_AT_ONCE} commands at once")
        self._by_uid[uid] += 1
        try:
            yield
        finally:
            self._by_uid[uid] -= 1

    def _require_running(self, job_id: str) -> JobCgroup:
        """The cgroups of a job that runs. Raises Refusal for another."""
        job = self._store.get(job_id)
        cgroup = self._tree.job(job_id)
        if job is not None and job.state is State.PAUSED:
            detail = f"it is paused; `runctl resume {job.name or job.id[:8]}` lets it go on"
            raise not_now(job, detail)
        if job is None or job.state is not State.RUNNING or cgroup is None:
            raise not_now(job, _why_not(job))
        return cgroup

    async def _find(self, job_id: str, cgroup: JobCgroup, opened: ExitStack) -> FirstProcess:
        """The job's first process, once it executes the job's command. Raises Refusal."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SET_UP_SECONDS
        while True:
            first = await _found(cgroup)
            if first is not None:
                opened.callback(os.close, first.pidfd)
                return first
            self._require_running(job_id)
            if loop.time() > deadline:
                raise not_now(self._store.get(job_id), "it is still being set up; try again")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _start(self, job: Job, request: Exec, running: _Running, opened: ExitStack) -> None:
        spec = stored.spec(job)
        with ExitStack() as given:
            userns = None
            if spec["sandbox"]["userns"]:
                userns = first_process.open_user_namespace(running.first)
                given.callback(os.close, userns)
            ids, program = self._provisions.for_entering(job.id, spec)
            fields = _fields(job, spec, request, program)
            doors = Doors(
                request=_file_of(records.pack(fields), given),
                channel=running.open_channel(opened, given),
                payload_cgroup=running.payload_cgroup,
                target=running.first.pidfd,
                stdout=running.open_output(STDOUT, ids, opened, given),
                stderr=running.open_output(STDERR, ids, opened, given),
                userns=userns,
            )
            await self._launchers.enter(doors)

    async def _end(
        self, job_id: str, running: _Running, answer: dict[str, Any] | None
    ) -> dict[str, Any]:
        """What is told of the end. Raises Refusal when the job ended before it began."""
        if answer is None:
            return _shown(outcome.never_started("runnerd lost sight of it"))
        failure = payload.parse_report(answer["report"])
        if failure is not None and running.first.has_ended():
            raise not_now(self._store.get(job_id), "it ended before the command could start")
        verdict = outcome.judge(running.facts(answer["wait_status"], failure))
        with_job = running.first.has_ended()
        if verdict.signal == signal.SIGKILL and not with_job:
            with_job = await _ends_soon(running.first)
        return _shown(verdict, with_job=with_job)


async def _found(cgroup: JobCgroup) -> FirstProcess | None:
    """Looked for in a thread: a job may have thousands of processes."""
    looking = asyncio.ensure_future(asyncio.to_thread(first_process.find, cgroup.payload_pids))
    try:
        return await asyncio.shield(looking)
    except asyncio.CancelledError:
        looking.add_done_callback(_let_go)
        raise


def _let_go(looking: asyncio.Future[FirstProcess | None]) -> None:
    if not looking.cancelled() and looking.exception() is None:
        first = looking.result()
        if first is not None:
            os.close(first.pidfd)


def _why_not(job: Job | None) -> str:
    if job is None or job.state in (State.ENDED, State.RUNNING):
        return "it has ended; a command can be executed in a running job only"
    return "it has not started yet; a command can be executed in a running job only"


def _open_payload(cgroup: JobCgroup, opened: ExitStack) -> int:
    try:
        fds = cgroup.open_fds()
    except CgroupError:
        raise not_now(None, _why_not(None)) from None
    os.close(fds.job)
    os.close(fds.monitor)
    opened.callback(os.close, fds.payload)
    return fds.payload


def _fields(job: Job, spec: dict[str, Any], request: Exec, program: bytes | None) -> dict[str, Any]:
    """What `runner.entering` needs to know, in plain values."""
    limits = spec["limits"] if job.limits is None else stored.limits(job.limits)
    own = {} if request.clean_env else spec["env"]
    command = {
        "argv": [bytes(argument) for argument in request.argv],
        "env": {**own, **{bytes(key): bytes(value) for key, value in request.env.items()}},
        "cwd": spec["cwd"] if request.cwd is None else bytes(request.cwd),
        **{name: spec[name] for name in ("umask", "uid", "gid", "groups")},
    }
    entry = {
        "sandbox": spec["sandbox"],
        "job_cwd": spec["cwd"],
        "rlimits": limits.get("rlimits", {}),
        "program": program,
    }
    return {"command": command, "entry": entry}


def _file_of(data: bytes, given: ExitStack) -> int:
    """In memory: it is too long for a message to the launcher."""
    fd = os.memfd_create("runnerd-exec", os.MFD_CLOEXEC)
    given.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


class _Running:
    """One command under way: our ends of its pipes, and of the channel to its middle process."""

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


async def _ends_soon(first: FirstProcess) -> bool:
    """Whether the job is ending, too: who is killed together does not go in any order."""
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK_SECONDS)
        if first.has_ended():
            return True
    return False


def _answer(channel: socket.socket) -> dict[str, Any] | None:
    """The last and only message of the middle process. Raises BlockingIOError before it came."""
    try:
        data = channel.recv(records.MAX_LAUNCH_MESSAGE_BYTES)
    except ConnectionResetError:
        data = b""
    return records.unpack(data) if data else None


def _shown(verdict: Outcome, *, with_job: bool = False) -> dict[str, Any]:
    """The answer of docs/PROTOCOL.md."""
    detail = verdict.detail
    if verdict.reason == outcome.OOM:
        detail = f"the kernel killed it: {detail or 'the job is at its memory limit'}"
    elif verdict.signal is not None and with_job:
        detail = "it ended with its job"
    return {
        "exit_code": verdict.exit_code,
        "signal": verdict.signal,
        "exit_status": verdict.exit_status,
        "detail": detail,
    }
