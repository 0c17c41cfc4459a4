"""Moves jobs through their lives: admission, launch, watching, end. The shell of the daemon.

In the event loop's thread. What may happen is decided by `lifecycle`, `admission` and
`reconcile`; every change is committed by the store before anybody hears of it. Who may ask
for what was decided before a call gets here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import CgroupError
from runner import outcome, records, stored
from runner.admission import admit
from runner.changes import Changes
from runner.launcher_client import LauncherGoneError
from runner.launching import CannotLaunchError
from runner.lifecycle import State
from runner.reconcile import Facts, Verdict, boot_id, examine, is_passing, judge
from runner.refusal import Refusal
from runner.stopping import Stopping
from runner.store import StoreError
from runner.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

    from isolation.cgroups import CgroupTree
    from runner.config import Config
    from runner.jobdirs import JobDirectories
    from runner.launching import Launching
    from runner.outcome import Outcome
    from runner.rows import Job, NewJob
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)

# A store that cannot be written (a full disk) is tried again until it can.
_RETRY_SECONDS: Final = 1.0
# Said at once and then every minute, not every second.
_TRIES_A_COMPLAINT: Final = 60
_SETTLE_SECONDS: Final = 10.0


class Supervisor:
    """Every job of one daemon."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        directories: JobDirectories,
        tree: CgroupTree,
        launching: Launching,
        pool: Executor,
    ) -> None:
        self.config = config
        self.store = store
        self.directories = directories
        self.tree = tree
        self.changes = Changes()
        self._launching = launching
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._pidfds: dict[str, int] = {}
        self._stopping = Stopping(self._loop, directories, tree, self._pidfds)
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        # Until it is known what runs, nothing is started.
        self._reconciling = True
        self._again: asyncio.TimerHandle | None = None

    # Requests

    def submit(self, new: NewJob) -> Job:
        """Commit a job as queued; it starts as soon as there is room. Raises Refusal."""
        if self._draining:
            raise Refusal("shutting-down", detail="runnerd is stopping; try again in a moment")
        limit = self.config.jobs.max_queued
        if self.store.counts()[State.QUEUED] >= limit:
            raise Refusal("too-many-jobs", allowed=f"{limit} queued jobs")
        job = self.store.insert(new)
        _logger.info("job %s submitted by uid %d", job.id, job.submitted_by_uid)
        self._admit()
        return job

    async def stop(self, job: Job, uid: int, grace_seconds: float) -> State:
        """Ask a job to end; SIGKILL after the grace. The state that it was found in."""
        while job.state is State.STARTING:
            # Its monitor is being made; a moment later it can be told.
            await self.changes.next(job.id)
            now = self.store.get(job.id)
            if now is None:
                return State.ENDED
            job = now
        if job.state is State.QUEUED:
            self._end(job.id, outcome.stopped_in_queue(uid), {})
        elif job.state is State.RUNNING:
            self._stopping.ask(job.id, uid, grace_seconds)
        _logger.info("job %s: stop asked by uid %d while %s", job.id, uid, job.state.value)
        return job.state

    async def wait_ended(self, job_id: str) -> Job | None:
        """The job once it has ended; None when it was removed meanwhile."""
        while (job := self.store.get(job_id)) is not None and job.state is not State.ENDED:
            await self.changes.next(job_id)
        return job

    async def remove(self, job: Job, uid: int) -> None:
        """Forget an ended job and its output. Raises Refusal for another."""
        if job.state is not State.ENDED:
            raise Refusal(
                "job-active", given=job.id[:8], detail=f"it is {job.state.value}; stop it first"
            )
        self.directories.doom(job.id)
        try:
            self.store.delete(job.id, time.time_ns(), uid)
        except StoreError:
            # A full disk: what is removed makes the room to say so.
            await self._remove_doomed(job.id)
            self.store.delete(job.id, time.time_ns(), uid)
        self.changes.announce(job.id)
        await self._remove_doomed(job.id)

    async def _remove_doomed(self, job_id: str) -> None:
        try:
            await self._blocking(self.directories.remove_doomed, job_id)
        except OSError as error:
            _logger.error(  # noqa: TRY400 - the text says it
                "job %s: its directory stays until the next start: %s", job_id, error
            )

    def usage(self, job: Job) -> dict[str, int | None] | None:
        """What a running job has used so far."""
        cgroup = self.tree.job(job.id) if job.state is State.RUNNING else None
        if cgroup is None:
            return None
        usage = cgroup.usage()
        names = ("cpu_usec", "memory_bytes", "memory_peak_bytes", "pids")
        return {name: getattr(usage, name) for name in names}

    # The life of a job

    def _admit(self) -> None:
        """Start what may start now; when the store cannot be written, a moment later."""
        if self._draining or self._reconciling:
            return
        try:
            self._admit_now()
        except StoreError as error:
            _logger.error("no job can be started: %s", error)  # noqa: TRY400 - the text says it
            if self._again is None:
                self._again = self._loop.call_later(_RETRY_SECONDS, self._admit_again)

    def _admit_again(self) -> None:
        self._again = None
        self._admit()

    def _admit_now(self) -> None:
        counts = self.store.counts()
        running = counts[State.STARTING] + counts[State.RUNNING]
        free = max(0, self.config.jobs.max_running - running)
        for job_id in admit(self.store.queued(free), running, self.config.jobs.max_running):
            job = self.store.mark_starting(job_id, time.time_ns(), boot_id())
            self._spawn(self._launch(job))

    async def _launch(self, job: Job) -> None:
        try:
            started = await self._launching.launch(job)
        except CannotLaunchError as error:
            _logger.warning("job %s could not be launched: %s", job.id, error)
            verdict = outcome.never_started(str(error))
            await self._surely(lambda: self._end(job.id, verdict, {}))
            return
        except LauncherGoneError as error:
            _logger.warning("job %s: %s; looking for its monitor", job.id, error)
            await self._settle(job)
            return
        except Exception:
            # A defect of ours must not keep a job starting for ever, nor start it for ever.
            _logger.exception("a defect in the launch of job %s; looking for its monitor", job.id)
            await self._settle(job, may_requeue=False)
            return
        await self._run(job.id, *started.monitor, started.limits)

    async def _run(self, job_id: str, pid: int, pidfd: int, limits: bytes | None) -> None:
        now = time.time_ns()
        await self._surely(lambda: self.store.mark_running(job_id, pid, now, limits))
        _logger.info("job %s running, monitor pid %d", job_id, pid)
        self._watch(job_id, pidfd)
        self.changes.announce(job_id)

    def _watch(self, job_id: str, pidfd: int) -> None:
        """A pidfd becomes readable when its process ends (pidfd_open(2))."""
        self._pidfds[job_id] = pidfd
        self._loop.add_reader(pidfd, self._on_monitor_end, job_id)

    def _on_monitor_end(self, job_id: str) -> None:
        self._stopping.forget(job_id)
        pidfd = self._pidfds.pop(job_id)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._spawn(self._finish(job_id))

    async def _finish(self, job_id: str) -> None:
        """The monitor is gone: its record says how the job ended, or the job is lost."""
        try:
            record = await self._patiently(self.directories.read_exit, job_id)
            why = "its monitor ended without a record"
        except (records.RecordError, OSError) as error:
            record, why = None, f"its exit record cannot be read: {error}"
        if record is None:
            await self._lose(job_id, why)
        else:
            await self._clean_up(job_id)
            await self._end_recorded(job_id, record)

    async def _lose(self, job_id: str, why: str) -> None:
        usage = await self._blocking(self._last_usage, job_id)
        await self._clean_up(job_id)
        _logger.error("job %s is lost: %s", job_id, why)
        await self._surely(lambda: self._end(job_id, outcome.lost(why), usage))

    async def _end_recorded(self, job_id: str, record: dict[str, Any]) -> None:
        names = outcome.Outcome._fields
        verdict = outcome.Outcome(**{name: record[name] for name in names})
        rest = {name: value for name, value in record.items() if name not in names}
        await self._surely(lambda: self._end(job_id, verdict, rest))

    async def _surely(self, commit: Callable[[], object]) -> None:
        """Commit what has happened, however long the store cannot be written."""
        for attempt in count():
            try:
                commit()
            except StoreError as error:
                if attempt % _TRIES_A_COMPLAINT == 0:
                    _logger.error("what happened cannot be stored yet: %s", error)  # noqa: TRY400
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _end(self, job_id: str, verdict: Outcome, facts: dict[str, Any]) -> None:
        """Commit the end, tell whoever waits, and start what now has room."""
        result = _result(verdict, facts)
        self.store.mark_ended(
            job_id,
            facts.get("ended_ns") or time.time_ns(),
            verdict.reason,
            records.pack(result),
            started_ns=facts.get("started_ns"),
        )
        _logger.info("job %s ended: %s, status %d", job_id, verdict.reason, verdict.exit_status)
        self.changes.announce(job_id)
        self._admit()

    def _last_usage(self, job_id: str) -> dict[str, Any]:
        """What a lost job had used; a cgroup that was removed in part says nothing."""
        cgroup = self.tree.job(job_id)
        try:
            fds = None if cgroup is None else cgroup.open_fds()
        except CgroupError:
            fds = None
        if fds is None:
            return {}
        try:
            return read_usage(fds.job, fds.payload)
        finally:
            fds.close()

    async def _clean_up(self, job_id: str) -> None:
        try:
            await self._blocking(self._remove_cgroup, job_id)
        except CgroupError as error:
            _logger.error("job %s: its cgroup stays behind: %s", job_id, error)  # noqa: TRY400

    def _remove_cgroup(self, job_id: str) -> None:
        cgroup = self.tree.job(job_id)
        if cgroup is not None:
            # A monitor that was killed takes its PID namespace with it; a process that a
            # privileged job moved out of that namespace would still be here.
            cgroup.kill()
            cgroup.remove()

    # Restart

    async def reconcile(self) -> None:
        """Find out what became of the jobs that were under way, and go on."""
        for job_id in self.directories.doomed():
            job = self.store.get(job_id)
            if job is not None and job.state is State.ENDED:
                self.store.delete(job_id, time.time_ns(), 0)
            await self._remove_doomed(job_id)
        for job in self.store.launched():
            await self._settle(job)
        await self._report_strangers()
        self._reconciling = False
        self._admit()

    async def _settle(self, job: Job, *, may_requeue: bool = True) -> None:
        facts = await self._patiently(examine, job, self.tree, self.directories)
        verdict = judge(job.state, facts)
        _logger.info("job %s was %s: %s", job.id, job.state.value, verdict.value)
        if verdict is Verdict.WATCH:
            await self._adopt(job, facts)
            return
        if facts.pidfd is not None:
            os.close(facts.pidfd)
        if verdict is Verdict.FINISH:
            await self._finish(job.id)
        elif verdict is Verdict.LOST or not may_requeue:
            await self._lose(job.id, facts.damage or "its monitor is gone and left no record")
        else:
            await self._clean_up(job.id)
            now = time.time_ns()
            await self._surely(lambda: self.store.mark_requeued(job.id, now, "it never ran"))
            self.changes.announce(job.id)
            self._admit()

    async def _adopt(self, job: Job, facts: Facts) -> None:
        assert facts.pidfd is not None  # noqa: S101 - what the verdict says
        assert facts.pid is not None  # noqa: S101
        if job.state is State.STARTING:
            await self._run(job.id, facts.pid, facts.pidfd, None)
        else:
            self._watch(job.id, facts.pidfd)

    async def _report_strangers(self) -> None:
        """Cgroups of no running job: those of ended jobs go, a stranger's when it is empty."""
        for job_id in await self._blocking(self.tree.jobs):
            if job_id in self._pidfds:
                continue
            cgroup = self.tree.job(job_id)
            is_known = self.store.get(job_id) is not None
            if cgroup is not None and not is_known and cgroup.populated():
                _logger.warning("the cgroup of job %s, which is not in the store, has processes; "
                                "left alone: end them by its cgroup.kill", job_id)  # fmt: skip
            else:
                await self._clean_up(job_id)

    # The end of the daemon

    async def close(self) -> None:
        """Start nothing more, let launches under way settle, and let go of every job."""
        self._draining = True
        if self._again is not None:
            self._again.cancel()
        self._stopping.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_SETTLE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        for pidfd in self._pidfds.values():
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a defect in the supervision of a job", exc_info=error)

    async def _patiently(self, function: Any, *args: Any) -> Any:  # noqa: ANN401
        """`_blocking`, again while the host is short of descriptors or memory."""
        while True:
            try:
                return await self._blocking(function, *args)
            except OSError as error:
                if not is_passing(error):
                    raise
                _logger.error("tried again in %g s: %s", _RETRY_SECONDS, error)  # noqa: TRY400
                await asyncio.sleep(_RETRY_SECONDS)

    async def _blocking(self, function: Any, *args: Any) -> Any:  # noqa: ANN401
        return await self._loop.run_in_executor(self._pool, function, *args)


def _result(verdict: Outcome, facts: dict[str, Any]) -> dict[str, Any]:
    """The `result` of docs/PROTOCOL.md."""
    return {**{name: facts.get(name) for name in stored.RESULT_FIELDS}, **verdict._asdict()}
