"""Further commands in jobs that run: from a request to the answer that says how one ended.

Finds where the job is, has the launcher make the process (`runner.entering`), sees it through
(`runner.exec_command`), and judges its end. Nothing of it is stored; a command ends with the
connection that asked for it, with runnerd, and with its job. Who may ask was decided before.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from client.protocol import STDERR, STDOUT
from isolation import first_process, payload
from isolation.errors import CgroupError, LimitUnavailable
from runner import outcome, records, stored
from runner.entering import Doors
from runner.exec_command import ExecCommand
from runner.launch_answers import LauncherGoneError, LaunchError
from runner.lifecycle import State
from runner.pausing import not_now
from runner.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isolation.cgroups.tree import CgroupTree, JobCgroup
    from isolation.first_process import FirstProcess
    from runner.launchers import Launchers
    from runner.messages import Exec
    from runner.outcome import Outcome
    from runner.provisions import Provisioning
    from runner.rows import Job
    from runner.server.stream import Stream
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 16
# A job that is running may still unpack its root.
_SET_UP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.02
# After the end of a command, whether that of its job follows.
_LOOKS: Final = 12


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
            running = ExecCommand(first, _open_payload(place, opened))
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

    async def _start(
        self, job: Job, request: Exec, running: ExecCommand, opened: ExitStack
    ) -> None:
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
        self, job_id: str, running: ExecCommand, answer: dict[str, Any] | None
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


async def _ends_soon(first: FirstProcess) -> bool:
    """Whether the job is ending, too: who is killed together does not go in any order."""
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK_SECONDS)
        if first.has_ended():
            return True
    return False


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
