"""What may be asked of the jobs of a daemon, from submission to removal, and when it is closed.

In the event loop's thread. What may happen is decided by `lifecycle`; every change is committed
by the store before anybody hears of it. Which job starts is `runner.queueing`'s, what becomes of
it then `runner.launched`'s. Who may ask for what was decided before a call gets here.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from runner.disk_usage import RunningSizes
from runner.group_requests import GroupRequests
from runner.intake import Intake
from runner.launched import LaunchedJobs
from runner.lifecycle import GOING, State
from runner.pruning import Pruning
from runner.queue_requests import QueueRequests
from runner.queueing import Queueing
from runner.refusal import Refusal
from runner.removing import Removing
from runner.shortage import Shortage
from runner.shutdown import when_to_ask_again
from runner.stop_requests import StopRequests
from runner.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.config import Config
    from runner.draining import Draining, Pulse
    from runner.group_rows import Group, NewGroup
    from runner.launching import Launching
    from runner.message_limits import LimitsUpdate
    from runner.queues import Rules
    from runner.realm import Realm
    from runner.rows import Job, NewJob
    from runner.scheduling.kinds import Cause

_logger: Final = logging.getLogger(__name__)


class Supervisor:
    """Every job of one daemon."""

    def __init__(
        self,
        *,
        config: Config,
        rules: Rules,
        realm: Realm,
        launching: Launching,
        draining: Draining,
        pulse: Pulse,
    ) -> None:
        self.config = config
        self.store, self.directories, self.tree = realm.store, realm.directories, realm.tree
        self.changes = realm.changes
        # Beats when a job has ended, and when it is decided anew whether jobs are started.
        self.pulse = pulse
        self._draining = draining
        self._work = realm.work
        self._turns = Turns()
        self.queueing = Queueing(
            realm, rules,
            launch=self._launch,
            may_start=self._may_start,
            on_end=self._on_any_end,
        )  # fmt: skip
        self._shortage = Shortage(
            realm.work.loop, config.state_dir, realm.problems, self.queueing.soon
        )
        removing = self._removing = Removing(realm)
        launched = self._launched = LaunchedJobs(
            realm, rules, self.queueing, launching,
            shortage=self._shortage,
            removing=removing,
            on_end=self._on_end,
            on_again=self._on_again,
        )  # fmt: skip
        self.pruning = Pruning(realm, launched.ending, removing, config.retention)
        self._intake = Intake(
            realm.store, self.queueing, launched.ending, rules, config.jobs.max_queued,
            self._refuse_if_closed,
        )  # fmt: skip
        self._stops = StopRequests(
            realm, self.queueing, launched.stopping, launched.pausing, launched.ending
        )
        self.queue = QueueRequests(realm, self.queueing, rules)
        self.groups = GroupRequests(realm, self.queueing, rules, self._intake, self.pruning)
        self.sizes = RunningSizes(realm.directories.path)
        # Told to end: what runs is watched on for as long as the policy says.
        self._shutting_down = False
        # Until it is known what runs, nothing is started.
        self._reconciling = True

    # Requests

    def submit(self, new: NewJob) -> Job:
        """Commit a job as queued, or as starting if its turn is now. Raises Refusal."""
        return self._intake.submit(new)

    def submit_call(self, new: NewJob, call_seq: int) -> Job:
        """Commit the job of a hook's call, which is no more then. Raises Refusal."""
        return self._intake.submit_call(new, call_seq)

    def submit_group(self, new: NewGroup, jobs: Sequence[NewJob]) -> Group:
        """Commit a group with its jobs, all queued. Raises Refusal, and none of them is there."""
        return self._intake.submit_group(new, jobs)

    async def retry(self, job: Job, uid: int) -> Job:
        """Queue a job that has ended for another attempt. The job then. Raises Refusal."""
        return await self._turns.take(job.id, partial(self._retry, job, uid))

    async def _retry(self, job: Job, uid: int) -> Job:
        return self._intake.retry(job, uid)

    def refuse_unless_open(self, uid: int, more: int = 1) -> None:
        """Whether so many more jobs of the user may be queued. Raises Refusal."""
        self._intake.refuse_unless_open(uid, more)

    def _refuse_if_closed(self) -> None:
        self.refuse_if_ending()
        if self.draining:
            raise Refusal("draining")

    def queued_of(self, uid: int) -> int:
        """How many jobs that a user submitted are queued, but for those of hooks."""
        return self.queueing.queued_of(uid)

    def cause_of(self, job_id: str) -> Cause | None:
        """The first reason why a queued job waits; None when it starts soon."""
        return self.queueing.cause(job_id)

    def refuse_if_ending(self) -> None:
        """Raises Refusal when the daemon was told to end."""
        if self._shutting_down:
            raise Refusal("shutting-down", detail=when_to_ask_again(self.config.shutdown))

    async def stop(self, job: Job, uid: int, grace_seconds: float) -> State:
        """Ask a job to end; SIGKILL after the grace. The state that it was found in."""
        return await self._stops.one(job, uid, grace_seconds)

    async def pause(self, job: Job, uid: int) -> State:
        """Freeze a running job. Its state afterwards. Raises Refusal, and it runs on."""
        return await self._turns.take(job.id, partial(self._launched.pausing.pause, job.id, uid))

    async def resume(self, job: Job, uid: int) -> State:
        """Let a paused job go on. Its state afterwards. Raises Refusal, and it stays paused."""
        return await self._turns.take(job.id, partial(self._launched.pausing.resume, job.id, uid))

    async def update(
        self, job: Job, uid: int, limits: LimitsUpdate, priority: int | None = None
    ) -> Job:
        """Change limits of a job and its priority, all or nothing. The job then. Raises Refusal."""
        change = partial(self._launched.updating.update, job.id, uid, limits, priority)
        return await self._turns.take(job.id, change)

    async def stop_many(
        self, listed: Callable[[], Sequence[tuple[str, State]]], uid: int, grace_seconds: float
    ) -> Sequence[tuple[str, State]]:
        """Ask the jobs to end that are `listed` when it is the user's turn; these.

        Queued ones end at once. Raises what `listed` does, StoreError: some are left then.
        """
        return await self._stops.many(listed, uid, grace_seconds)

    async def stop_group(
        self, group: Group, uid: int, grace_seconds: float
    ) -> Sequence[tuple[str, State]]:
        """The same of what has not ended of a group when it is its turn."""
        return await self._stops.group(group, uid, grace_seconds)

    async def wait_ended(self, job_id: str) -> Job | None:
        """The job once it has ended; None when it was removed meanwhile."""
        while (job := self.store.get(job_id)) is not None and job.state is not State.ENDED:
            await self.changes.next(job_id)
        return job

    async def remove(self, job: Job, uid: int) -> None:
        """Forget an ended job and its output. Raises Refusal for another."""
        await self._turns.take(job.id, partial(self._removing.remove, job, uid))

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
        self.pulse.beat()
        self.queueing.soon()

    def stop_all(self, uid: int) -> None:
        """Ask every job that is under way to end, with its grace; those that wait stay queued."""
        self._stops.all_going(uid, self.config.jobs.stop_grace_seconds)

    def shut_down(self) -> None:
        """Take and start no more jobs, because the daemon ends."""
        self._shutting_down = True

    # The life of a job

    def _may_start(self) -> bool:
        is_closed = self._shutting_down or self._reconciling or self._shortage.lasts
        return not (is_closed or self.draining)

    def _launch(self, job: Job) -> None:
        self._launched.launches.begin(job)

    def _on_end(self, job: Job) -> None:
        """A job has ended for good: others may start, or never will."""
        self.queueing.ended(job)
        self._on_any_end()

    def _on_any_end(self) -> None:
        """One more that retention has to think of, and that somebody may wait for."""
        self.pulse.beat()
        self.pruning.soon()

    def _on_again(self, job: Job) -> None:
        """A job waits again: for another attempt, or because it never ran."""
        self.queueing.waits(job)
        self.pulse.beat()

    # The beginning and the end of the daemon

    async def reconcile(self) -> None:
        """Find out what became of the jobs that were under way, and go on."""
        self.queueing.load()
        await self._launched.restart.reconcile()
        self._reconciling = False
        self.queueing.soon()
        self.pruning.begin()

    async def close(self) -> None:
        """Start nothing more, let what is under way settle, and let go of every job."""
        self.shut_down()
        self.queueing.close()
        self._launched.stopping.close()
        await self._stops.close()
        await self.groups.close()
        await self.pruning.close()
        await self._turns.close()
        await self._launched.launches.close()
        await self._work.close()
        self._launched.running.close()
