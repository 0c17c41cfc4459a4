"""Moves jobs through their lives: admission, launch, watching. The shell of the daemon.

In the event loop's thread. What may happen is decided by `lifecycle` and `admission`; every
change is committed by the store before anybody hears of it. Ends are `runner.ending`'s, a
restart `runner.restart`'s, pauses and changed limits `runner.pausing`'s and
`runner.updating`'s. Who may ask for what was decided before a call gets here.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from runner import outcome
from runner.admission import admit
from runner.changes import Changes
from runner.disk_usage import RunningSizes
from runner.ending import Ending
from runner.hooks import Hooks
from runner.launcher_client import LauncherGoneError
from runner.launching import CannotLaunchError
from runner.lifecycle import GOING, State
from runner.pausing import Pausing
from runner.pruning import Pruning
from runner.realm import Realm
from runner.reconcile import boot_id
from runner.refusal import Refusal
from runner.restart import Restart
from runner.running import Running
from runner.shutdown import when_to_ask_again
from runner.stopping import Stopping
from runner.store import StoreError
from runner.turns import Turns
from runner.updating import Updating
from runner.work import RETRY_SECONDS, Work

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor

    from isolation.cgroups.tree import CgroupTree
    from runner.config import Config
    from runner.draining import Draining, Pulse
    from runner.jobdirs import JobDirectories
    from runner.launching import Launching
    from runner.message_limits import LimitsUpdate
    from runner.problems import Problems
    from runner.rows import Job, NewJob
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)


class Supervisor:
    """Every job of one daemon."""

    def __init__(  # noqa: PLR0913  the parts that it joins
        self,
        *,
        config: Config,
        store: Store,
        directories: JobDirectories,
        tree: CgroupTree,
        launching: Launching,
        pool: Executor,
        draining: Draining,
        pulse: Pulse,
        problems: Problems,
        hooks: Hooks | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.directories = directories
        self.tree = tree
        self.changes = Changes()
        # Beats when a job has ended, and when it is decided anew whether jobs are started.
        self.pulse = pulse
        self._draining = draining
        self._launching = launching
        self._work = Work(pool)
        realm = Realm(
            store, directories, tree, self.changes, self._work, hooks or Hooks(), problems
        )
        self._turns = Turns()
        self._running = Running(realm, self._on_monitor_end)
        self._stopping = Stopping(self._work.loop, directories, tree, self._running)
        self._ending = Ending(realm, self._on_end)
        self.pruning = Pruning(realm, self._ending, config.retention)
        self.sizes = RunningSizes(directories.path)
        self._pausing = Pausing(realm, self._stopping)
        self._updating = Updating(realm)
        self._restart = Restart(
            realm,
            ending=self._ending,
            pausing=self._pausing,
            updating=self._updating,
            running=self._running,
            on_room=self._on_room,
            problems=problems,
        )
        # Told to end: what runs is watched on for as long as the policy says.
        self._shutting_down = False
        # Until it is known what runs, nothing is started.
        self._reconciling = True
        self._again: asyncio.TimerHandle | None = None

    # Requests

    def submit(self, new: NewJob) -> Job:
        """Commit a job as queued; it starts as soon as there is room. Raises Refusal."""
        self._refuse_unless_open()
        limit = self.config.jobs.max_queued
        if self.store.counts()[State.QUEUED] >= limit:
            raise Refusal("too-many-jobs", allowed=f"{limit} queued jobs")
        job = self.store.insert(new)
        _logger.info("job %s submitted by uid %d", job.id, job.submitted_by_uid)
        self._admit()
        return job

    def _refuse_unless_open(self) -> None:
        self.refuse_if_ending()
        if self.draining:
            raise Refusal("draining")

    def refuse_if_ending(self) -> None:
        """Raises Refusal when the daemon was told to end."""
        if self._shutting_down:
            raise Refusal("shutting-down", detail=when_to_ask_again(self.config.shutdown))

    async def stop(self, job: Job, uid: int, grace_seconds: float) -> State:
        """Ask a job to end; SIGKILL after the grace. The state that it was found in."""
        begun = await self._begun(job)
        return State.ENDED if begun is None else self._stop(begun, uid, grace_seconds)

    async def _begun(self, job: Job) -> Job | None:
        """The job once it is not starting any more; None when it is gone."""
        now: Job | None = job
        while now is not None and now.state is State.STARTING:
            # Its monitor is being made; a moment later it can be told.
            await self.changes.next(job.id)
            now = self.store.get(job.id)
        return now

    def _stop(self, job: Job, uid: int, grace_seconds: float) -> State:
        if job.state is State.QUEUED:
            self._ending.end(job.id, outcome.stopped_in_queue(uid), {})
        elif job.state in GOING:
            self._stopping.ask(job.id, uid, grace_seconds)
        if job.state is State.PAUSED:
            self._go_on(job.id, uid)
        _logger.info("job %s: stop asked by uid %d while %s", job.id, uid, job.state.value)
        return job.state

    def _go_on(self, job_id: str, uid: int) -> None:
        """A paused job that is stopped goes on, into its grace: its monitor sees to that."""
        try:
            self._pausing.resumed(job_id, uid)
        except StoreError as error:
            _logger.error("job %s stays paused in the store: %s", job_id, error)  # noqa: TRY400

    async def pause(self, job: Job, uid: int) -> State:
        """Freeze a running job. Its state afterwards. Raises Refusal, and it runs on."""
        return await self._turns.take(job.id, partial(self._pausing.pause, job.id, uid))

    async def resume(self, job: Job, uid: int) -> State:
        """Let a paused job go on. Its state afterwards. Raises Refusal, and it stays paused."""
        return await self._turns.take(job.id, partial(self._pausing.resume, job.id, uid))

    async def update(self, job: Job, uid: int, limits: LimitsUpdate) -> Job:
        """Change limits of a job, all of these or none. The job then. Raises Refusal."""
        return await self._turns.take(job.id, partial(self._updating.update, job.id, uid, limits))

    async def wait_ended(self, job_id: str) -> Job | None:
        """The job once it has ended; None when it was removed meanwhile."""
        while (job := self.store.get(job_id)) is not None and job.state is not State.ENDED:
            await self.changes.next(job_id)
        return job

    async def remove(self, job: Job, uid: int) -> None:
        """Forget an ended job and its output. Raises Refusal for another."""
        await self._turns.take(job.id, partial(self._ending.remove, job, uid))

    def usage(self, job: Job) -> dict[str, int | None] | None:
        """What a running or paused job has used so far."""
        cgroup = self.tree.job(job.id) if job.state in GOING else None
        if cgroup is None:
            return None
        usage = cgroup.usage()
        names = ("cpu_usec", "memory_bytes", "memory_peak_bytes", "pids")
        return {name: getattr(usage, name) for name in names}

    # Draining and the end

    @property
    def draining(self) -> bool:
        """Whether no job is taken and started, by an admin's word that outlives the daemon."""
        return self._draining.on

    @property
    def under_way(self) -> int:
        """How many jobs are starting, running or paused."""
        counts = self.store.counts()
        return sum(counts[state] for state in (State.STARTING, *GOING))

    def drain(self, uid: int) -> None:
        """Take and start no more jobs, until `take_again`. Raises OSError, and nothing changed."""
        was_on = self.draining
        self._draining.begin()
        if not was_on:
            _logger.warning("draining, asked by uid %d: no more jobs are taken or started", uid)

    def take_again(self, uid: int) -> None:
        """Take and start jobs again. Raises OSError, and nothing changed."""
        was_on = self.draining
        self._draining.cancel()
        if was_on:
            _logger.warning("draining cancelled by uid %d: jobs are taken and started again", uid)
        self._on_room()

    def stop_all(self, uid: int) -> None:
        """Ask every job that is under way to end, with its grace; those that wait stay queued."""
        for job in self.store.launched():
            self._work.spawn(self._stop_begun(job, uid))

    async def _stop_begun(self, job: Job, uid: int) -> None:
        begun = await self._begun(job)
        if begun is not None and begun.state in GOING:
            self._stop(begun, uid, self.config.jobs.stop_grace_seconds)

    def shut_down(self) -> None:
        """Take and start no more jobs, because the daemon ends."""
        self._shutting_down = True
        if self._again is not None:
            self._again.cancel()

    # The life of a job

    def _on_end(self) -> None:
        """A job has ended: there is room, and one more of which retention may have to think."""
        self._on_room()
        self.pruning.soon()

    def _on_room(self) -> None:
        """A job has ended, or waits again: others may start, and somebody may wait for that."""
        self.pulse.beat()
        self._admit()

    def _admit(self) -> None:
        """Start what may start now; when the store cannot be written, a moment later."""
        if self.draining or self._shutting_down or self._reconciling:
            return
        try:
            self._admit_now()
        except StoreError as error:
            _logger.error("no job can be started: %s", error)  # noqa: TRY400 - the text says it
            if self._again is None:
                self._again = self._work.loop.call_later(RETRY_SECONDS, self._admit_again)

    def _admit_again(self) -> None:
        self._again = None
        self._admit()

    def _admit_now(self) -> None:
        # A paused job keeps its place: it may go on at any moment.
        running = self.under_way
        free = max(0, self.config.jobs.max_running - running)
        for job_id in admit(self.store.queued(free), running, self.config.jobs.max_running):
            job = self.store.mark_starting(job_id, time.time_ns(), boot_id())
            self._work.spawn(self._launch(job))

    async def _launch(self, job: Job) -> None:
        try:
            started = await self._launching.launch(job)
        except CannotLaunchError as error:
            _logger.warning("job %s could not be launched: %s", job.id, error)
            verdict = outcome.never_started(str(error))
            await self._work.surely(lambda: self._ending.end(job.id, verdict, {}))
            return
        except LauncherGoneError as error:
            _logger.warning("job %s: %s; looking for its monitor", job.id, error)
            await self._restart.settle(job)
            return
        except Exception:
            # A defect of ours must not keep a job starting for ever, nor start it for ever.
            _logger.exception("a defect in the launch of job %s; looking for its monitor", job.id)
            await self._restart.settle(job, may_requeue=False)
            return
        await self._running.begin(job.id, *started.monitor, started.limits)

    def _on_monitor_end(self, job_id: str) -> None:
        self._stopping.forget(job_id)
        self._work.spawn(self._ending.finish(job_id))

    # The beginning and the end of the daemon

    async def reconcile(self) -> None:
        """Find out what became of the jobs that were under way, and go on."""
        await self._restart.reconcile()
        self._reconciling = False
        self._admit()
        self.pruning.begin()

    async def close(self) -> None:
        """Start nothing more, let what is under way settle, and let go of every job."""
        self.shut_down()
        self._stopping.close()
        await self.pruning.close()
        await self._turns.close()
        await self._work.close()
        self._running.close()
