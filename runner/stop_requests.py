"""Stops that somebody asks for: of one job in whatever state it is, of many, of all that run.

Queued jobs end here and now; how a monitor is told, and insisted upon, is `runner.stopping`'s. Who
may ask was decided before a call gets here.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from runner import outcome
from runner.lifecycle import GOING, State
from runner.store import StoreError
from runner.turns import Turns
from runner.work import in_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.ending import Ending
    from runner.group_rows import Group
    from runner.pausing import Pausing
    from runner.queueing import Queueing
    from runner.realm import Realm
    from runner.rows import Job
    from runner.stopping import Stopping

_logger: Final = logging.getLogger(__name__)

# Read, and asked: the loop goes on in between.
_AT_ONCE: Final = 100


class StopRequests:
    """The stops of one daemon's jobs."""

    def __init__(
        self,
        realm: Realm,
        queueing: Queueing,
        stopping: Stopping,
        pausing: Pausing,
        ending: Ending,
    ) -> None:
        self._store, self._changes, self._work = realm.store, realm.changes, realm.work
        self._queueing = queueing
        self._stopping, self._pausing, self._ending = stopping, pausing, ending
        self._turns = Turns()

    async def close(self) -> None:
        """Wait a while for what is under way."""
        await self._turns.close()

    async def one(self, job: Job, uid: int, grace_seconds: float) -> State:
        """Ask a job to end; SIGKILL after the grace. The state that it was found in."""
        begun = await self._begun(job)
        return State.ENDED if begun is None else self._stop(begun, uid, grace_seconds)

    async def many(
        self, listed: Callable[[], Sequence[tuple[str, State]]], uid: int, grace_seconds: float
    ) -> Sequence[tuple[str, State]]:
        """Ask the jobs to end that are `listed` when it is the user's turn; these.

        Queued ones end at once. Raises what `listed` does, StoreError: some are left then.
        """
        stop = partial(self._many, listed, uid, grace_seconds)
        return await self._turns.take(f"user {uid}", stop)

    async def group(
        self, group: Group, uid: int, grace_seconds: float
    ) -> Sequence[tuple[str, State]]:
        """Ask the jobs of a group to end that have not when it is its turn; these, as `many`."""
        stop = partial(self._many, partial(self._left_of, group.id), uid, grace_seconds)
        return await self._turns.share(group.id, (uid, grace_seconds), stop)

    def _left_of(self, group_id: str) -> list[tuple[str, State]]:
        states = self._store.member_states(group_id)
        return [(job_id, state) for job_id, state in states if state is not State.ENDED]

    async def _many(
        self, listed: Callable[[], Sequence[tuple[str, State]]], uid: int, grace_seconds: float
    ) -> Sequence[tuple[str, State]]:
        jobs = listed()
        # Queued ones first, so that the ends of the others start none of them.
        queued = [job_id for job_id, state in jobs if state is State.QUEUED]
        gone = await self._queueing.stop(queued, uid)
        for batch in in_batches((each for each, _ in jobs if each not in gone), _AT_ONCE):
            for job in filter(None, map(self._store.get, batch)):
                if job.state is not State.ENDED:
                    self._work.spawn(self._stop_begun(job, uid, grace_seconds))
            await asyncio.sleep(0)
        return jobs

    def all_going(self, uid: int, grace_seconds: float) -> None:
        """Ask every job that is under way to end; those that wait stay queued."""
        for job in self._store.launched():
            self._work.spawn(self._stop_begun(job, uid, grace_seconds, GOING))

    async def _begun(self, job: Job) -> Job | None:
        """The job once it is not starting any more; None when it is gone."""
        # As it is now: it may have begun since it was listed, and nothing more is heard of it then.
        while (now := self._store.get(job.id)) is not None and now.state is State.STARTING:
            # Its monitor is being made; a moment later it can be told.
            await self._changes.next(job.id)
        return now

    async def _stop_begun(
        self, job: Job, uid: int, grace_seconds: float, only: frozenset[State] = frozenset(State)
    ) -> None:
        begun = await self._begun(job)
        if begun is not None and begun.state in only:
            self._stop(begun, uid, grace_seconds)

    def _stop(self, job: Job, uid: int, grace_seconds: float) -> State:
        if job.state is State.ENDED:
            return job.state
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
