"""Pausing a job and letting it go on: the monitor is told, the kernel asked, the store committed.

The monitor freezes the job's cgroup and stops its clock, so that both hold while runnerd is
away. What the store says is what the kernel shows; after a crash in between `settle` makes
it so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from runner import records
from runner.lifecycle import GOING, State
from runner.queues import HOOKS
from runner.reconcile import is_frozen
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.realm import Realm
    from runner.rows import Job
    from runner.stopping import Stopping

_logger: Final = logging.getLogger(__name__)

# A process that waits for a disk or a network file system freezes when it returns from there.
FREEZE_SECONDS: Final = 5.0
_FIRST_LOOK_SECONDS: Final = 0.001
_LONGEST_LOOK_SECONDS: Final = 0.05


def not_now(job: Job | None, detail: str, field: str = "job") -> Refusal:
    """The refusal of what a job's state does not allow."""
    state = "removed" if job is None else job.state.value
    return Refusal("job-state", field=field, given=state, detail=detail)


def state_of(job: Job | None) -> str:
    """What to say first of a job that is in the wrong state: "it has ended"."""
    if job is None:
        return "it is removed"
    return "it has ended" if job.state is State.ENDED else f"it is {job.state.value}"


class Pausing:
    """The pauses of one daemon's jobs. One call for a job at a time (`runner.turns`)."""

    def __init__(self, realm: Realm, stopping: Stopping) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._stopping = stopping

    async def pause(self, job_id: str, uid: int) -> State:
        """Freeze a running job. Its state then; Raises Refusal, and it runs on."""
        job = self._going(job_id)
        if job.state is State.PAUSED:
            return State.PAUSED
        if job.queue == HOOKS:
            # Its clock would stand still, and it would keep its place from other users' hooks.
            raise not_now(job, "it is the job of a hook, which is not paused; stop it instead")
        self._refuse_when_stopped(job_id)
        self._tell(job_id, records.CONTROL_PAUSE)
        try:
            await self._wait(job_id, frozen=True)
            self._going(job_id)
            self._refuse_when_stopped(job_id)
            self._store.mark_paused(job_id, time.time_ns(), uid)
        except BaseException:
            self._take_back(job_id)
            raise
        _logger.info("job %s paused by uid %d", job_id, uid)
        self._changes.announce(job_id)
        return State.PAUSED

    async def resume(self, job_id: str, uid: int) -> State:
        """Let a paused job go on. Its state then; Raises Refusal, and it stays paused."""
        if self._going(job_id).state is State.RUNNING:
            return State.RUNNING
        self._tell(job_id, records.CONTROL_RESUME)
        await self._wait(job_id, frozen=False)
        self.resumed(job_id, uid)
        self._going(job_id)
        return State.RUNNING

    def resumed(self, job_id: str, uid: int) -> None:
        """Commit that a job goes on, be it because it was stopped. Again is harmless."""
        job = self._store.get(job_id)
        if job is not None and job.state is State.PAUSED:
            self._store.mark_resumed(job_id, time.time_ns(), uid)
            _logger.info("job %s goes on, by uid %d", job_id, uid)
            self._changes.announce(job_id)

    def settle(self, job: Job, *, frozen: bool) -> None:
        """After a restart: make store and monitor agree with what the kernel was told."""
        now = self._store.get(job.id)
        if now is None or now.state not in GOING:
            return
        if frozen and now.state is State.RUNNING:
            self._store.mark_paused(job.id, time.time_ns(), 0)
        elif not frozen and now.state is State.PAUSED:
            self._store.mark_resumed(job.id, time.time_ns(), 0)
        # A record of the last runnerd may still wait for the monitor; this one comes after it.
        kind = records.CONTROL_PAUSE if frozen else records.CONTROL_RESUME
        try:
            self._directories.send(job.id, kind)
        except OSError as error:
            _logger.error("job %s: its monitor cannot be told: %s", job.id, error)  # noqa: TRY400

    def _going(self, job_id: str) -> Job:
        """The job as it is now, running or paused. Raises Refusal for another."""
        job = self._store.get(job_id)
        if job is None or job.state not in GOING:
            why = f"{state_of(job)}; only a running or paused job can be paused and resumed"
            raise not_now(job, why)
        return job

    def _refuse_when_stopped(self, job_id: str) -> None:
        if self._stopping.is_asked(job_id):
            raise not_now(self._store.get(job_id), "it is being stopped")

    def _tell(self, job_id: str, kind: int) -> None:
        try:
            self._directories.send(job_id, kind)
        except OSError as error:
            why = f"its monitor cannot be told: {error.strerror}"
            raise not_now(self._store.get(job_id), why) from None

    def _take_back(self, job_id: str) -> None:
        try:
            self._directories.send(job_id, records.CONTROL_RESUME)
        except OSError as error:
            _logger.error("job %s may stay frozen: %s", job_id, error)  # noqa: TRY400

    async def _wait(self, job_id: str, *, frozen: bool) -> None:
        """Until the kernel says so. Raises Refusal when it does not, or the job has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FREEZE_SECONDS
        pause = _FIRST_LOOK_SECONDS
        while (cgroup := self._tree.job(job_id)) is not None and is_frozen(cgroup) != frozen:
            self._going(job_id)
            if loop.time() > deadline:
                raise not_now(self._store.get(job_id), _why_not(frozen=frozen))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK_SECONDS)


def _why_not(*, frozen: bool) -> str:
    if not frozen:
        return f"it did not go on within {FREEZE_SECONDS:g} s; `stop --kill` ends it all the same"
    return (
        f"it did not stand still within {FREEZE_SECONDS:g} s and goes on: a process of it waits "
        "for a disk or a network file system, or it is ending; try again"
    )
