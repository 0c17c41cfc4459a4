"""Carries out what the scheduler decides, and tells it of everything that happens to jobs.

In the event loop's thread, and the one user of `runner.scheduling`. However many jobs come and
end, there is one decision in a turn of the loop. The scheduler is made anew from the store at
each start. What jobs come after is `runner.meeting`'s, who comes in when `runner.arrivals`', what
can never start `runner.hopeless`', what people ask of the queue `runner.queue_requests`', how a job
is launched and ends `runner.supervisor`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from runner import fates, outcome
from runner.arrivals import Arrivals
from runner.hopeless import Hopeless
from runner.late_commits import LateCommits
from runner.lifecycle import ImpossibleTransition
from runner.meeting import Meetings
from runner.promises import Promises, needs_of
from runner.ranks import Ranks
from runner.reconcile import boot_id
from runner.rows import Launch
from runner.scheduling.kinds import Going, Start
from runner.scheduling.scheduler import Scheduler
from runner.store import NoSuchJobError, StoreError
from runner.store_queue import waiting_from
from runner.work import BATCH, RETRY_SECONDS, in_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runner.fates import Meeting
    from runner.outcome import Outcome
    from runner.queues import Rules
    from runner.realm import Realm
    from runner.rows import Job, NewJob, QueueState
    from runner.scheduling.kinds import Cause, End, Explanation, Waiting

_logger: Final = logging.getLogger(__name__)

# Between two decisions of which the first had nothing to say.
_BREATH_SECONDS: Final = 0.01
# The wall clock may be set while something waits for a time.
_LOOK_SECONDS: Final = 1.0


class Queueing:
    """The queue of one daemon.

    `launch` starts a job that is committed as starting; `may_start` says whether any may be
    now; `on_end` is called when queued jobs were ended here.
    """

    def __init__(
        self,
        realm: Realm,
        rules: Rules,
        *,
        launch: Callable[[Job], None],
        may_start: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        self._store, self._changes, self._work = realm.store, realm.changes, realm.work
        self._surely = realm.work.now_or_later
        self._rules = rules
        self._launch = launch
        self._may_start = may_start
        self._on_end = on_end
        self.ranks = Ranks()
        self.scheduler = Scheduler(
            rules.capacity, rules.queues.values(), lambda uid: rules.quota_of(uid).running
        )
        self.promises = Promises(self.scheduler, rules)
        self.after = Meetings(self._store, self.scheduler, self._surely)
        self._decision: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.arrivals = Arrivals(self._work, self._let_in)
        self._hopeless = Hopeless(self._store, self._work, self._end)
        self._late_commits = LateCommits(self._store, self._work)

    def load(self) -> None:
        """Everything that waits and goes, from the store. Raises StoreError."""
        for name, state in self._store.queue_states().items():
            self.set_queue(name, state)
        for going in sorted(map(_going, self._store.launched()), key=lambda each: each.started_ns):
            self.scheduler.adopt(going)
        self._enter(self._store.waiting())

    def close(self) -> None:
        """Decide nothing more."""
        self._closed = True
        self._late_commits.close()
        for handle in (self._decision, self._timer):
            if handle is not None:
                handle.cancel()

    # What happens to jobs

    def submit(self, new: NewJob, call_seq: int | None = None) -> Job:
        """Commit a new job: as starting where it is its turn at once, else as queued.

        It is launched when the caller has returned to the loop. Raises StoreError, Refusal: it is
        not there then. `call_seq`: of the call of a hook that it is.
        """
        now_ns = time.time_ns()
        if not self._goes_at_once(new, now_ns):
            job = self._store.insert(new, self.after.by_now(new) if new.after else (), call_seq)
            self.waits(job)
            return job
        try:
            job = self._store.insert(new, launch=Launch(now_ns, boot_id()))
        except BaseException:
            self.scheduler.release(new.id)
            self.soon()
            raise
        self._work.loop.call_soon(self._launch, job)
        return job

    def _goes_at_once(self, new: NewJob, now_ns: int) -> bool:
        """Whether a new job starts now: it has its slot then."""
        is_alone = new.group_id is None and not new.after
        if not is_alone or self.arrivals or self._closed or not self._may_start():
            return False
        # Of what goes nobody asks for its place.
        return self.scheduler.start(waiting_from(new, 0), now_ns)

    def waits(self, job: Job) -> None:
        """A job is queued: a new one, or one that waits once more."""
        if self.arrivals:
            self.scheduler.release(job.id)
            self.arrivals.add([job.id])
        else:
            self._surely(partial(self._let_in, [job.id]))

    def _let_in(self, ids: Sequence[str]) -> None:
        self._enter(self._store.waiting_of(ids))

    def _enter(self, jobs: Sequence[Waiting]) -> None:
        """Jobs wait that did not. Raises StoreError."""
        self.after.enter(jobs)
        for each in jobs:
            self.ranks.put(each)
        self.soon()

    def changed(self, job: Job) -> None:
        """A job is held, released, elsewhere, or has other limits."""
        self._surely(partial(self._change, job))

    def _change(self, job: Job) -> None:
        if self.scheduler.going(job.id) is not None:
            self.scheduler.resize(job.id, needs_of(job))
            self.scheduler.retime(job.id, job.time_limit_ms)
            self.soon()
        else:
            self._change_queued([job.id])

    def all_changed(self, ids: Sequence[str]) -> None:
        """Queued jobs are held, released, or have another priority."""
        self._surely(partial(self._change_queued, ids))

    def _change_queued(self, ids: Sequence[str]) -> None:
        for waiting in self._store.waiting_of(ids):
            # Else it is on its way in, or being ended: its deadline has passed, or what it was
            # to come after failed.
            if self.scheduler.get(waiting.id) is not None:
                self.ranks.put(waiting)
                self.scheduler.change(waiting)
        self.soon()

    def cap_group(self, group_id: str, most: int | None) -> None:
        """At most so many jobs of a group go from now on, None: as many as there is room for."""
        for waiting in self.scheduler.cap_group(group_id, most):
            self.ranks.put(waiting)
        self.soon()

    def made_room(self, ranks: Mapping[str, int]) -> None:
        """Jobs have other ranks, because one was moved into their lane."""
        for job_id, rank in ranks.items():
            place, waiting = self.ranks.get(job_id), self.scheduler.get(job_id)
            if place is not None:
                self.ranks.put(place._replace(rank=rank))
            if waiting is not None:
                self.scheduler.change(waiting._replace(rank=rank))

    def began(self, job_id: str) -> None:
        """A job runs."""
        if self.after.began(job_id):
            self.soon()

    def ended(self, job: Job) -> None:
        """A job has ended for good."""
        self.after.commit(self._settle(job.id, fates.end_of(job)))
        if job.group_id is not None:
            self._surely(partial(self._settle_groups, [job.group_id]))
        self.soon()

    def _settle_groups(self, ids: Iterable[str]) -> None:
        """Jobs of these groups have ended: where none is left, that is an end as a job's is."""
        groups = [self._store.group(group_id) for group_id in ids]
        meetings: list[Meeting] = []
        for group in groups:
            if group is not None and group.ended_ns is not None:
                _logger.info("%s %s has ended, %d failed", group.kind, group.id, group.failed)
                meetings += self.after.settle(group.id, fates.end_of_group(group))
                self._changes.announce(group.id)
        self.after.commit(meetings)

    def set_queue(self, name: str, state: QueueState) -> None:
        """What an admin says of a queue, over what the configuration says."""
        queue = self._rules.queues.get(name)
        if queue is not None:
            most = queue.max_running if state.max_running is None else state.max_running
            self.scheduler.set_queue(queue._replace(paused=state.paused, max_running=most))
            self.soon()

    async def stop(self, ids: Iterable[str], uid: int) -> set[str]:
        """End jobs that are queued, because somebody asks; those that were. Raises StoreError."""
        gone: set[str] = set()
        for batch in in_batches(ids, BATCH):
            gone.update(self._end([(each, outcome.stopped_in_queue(uid)) for each in batch]))
            await asyncio.sleep(0)
        return gone

    def _end(self, ends: Sequence[tuple[str, Outcome]]) -> list[str]:
        """End a batch of those that are queued still, all at once; these. Raises StoreError."""
        packed = [(job_id, verdict.reason, fates.result_of(verdict)) for job_id, verdict in ends]
        groups = self._groups_of(job_id for job_id, _ in ends)
        gone = self._store.end_queued(packed, time.time_ns())
        meetings: list[Meeting] = []
        for job_id in gone:
            meetings += self._settle(job_id, fates.NEVER_RAN)
            self._changes.announce(job_id)
        self.after.commit(meetings)
        self._surely(partial(self._settle_groups, groups))
        if gone:
            reasons = ", ".join(sorted({verdict.reason for _, verdict in ends}))
            _logger.info("ended while they were queued (%s): %s", reasons, ", ".join(gone))
            self._on_end()
            self.soon()
        return gone

    def _groups_of(self, ids: Iterable[str]) -> set[str]:
        """The groups that some queued jobs are of."""
        found: set[str | None] = set()
        for job_id in ids:
            # One that is on its way in has no place yet.
            waiting = self.ranks.get(job_id)
            job = self._store.get(job_id) if waiting is None else None
            found |= {waiting.group if waiting else job.group_id if job else None}
        return {group_id for group_id in found if group_id is not None}

    # Questions

    def cause(self, job_id: str) -> Cause | None:
        """The first reason why a job waits, as of the last decision."""
        return self.scheduler.cause(job_id) or (None if self._may_start() else "draining")

    def explain(self, job_id: str) -> Explanation | None:
        """Why a job waits; None when it does not."""
        try:
            return self.scheduler.explain(job_id, time.time_ns(), may_start=self._may_start())
        except KeyError:
            return None

    def queued_of(self, uid: int) -> int:
        """How many jobs of a user are queued. Those of hooks bound themselves and are no part."""
        return self._store.queued_of(uid) - self.scheduler.waiting_apart(uid)

    async def settled(self) -> None:
        """Until whatever can never start by what has ended so far has ended, too."""
        self._decide()
        while not self._closed and (self._hopeless or self.scheduler.has_doomed):
            await asyncio.sleep(_BREATH_SECONDS)
            self._decide()

    # Decisions

    def soon(self) -> None:
        """Something is different: decide in the next turn of the loop, once."""
        # Of none that waits nothing is decided.
        if self._decision is None and not self._closed and self.scheduler.waiting_count():
            self._decision = self._work.loop.call_soon(self._decide)

    def _soon_again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = self._work.loop.call_later(seconds, self._decide)

    def _decide(self) -> None:
        if self._closed:
            return
        now = time.time_ns()
        if self._decision is not None:
            self._decision.cancel()
            self._decision = None
        actions = self.scheduler.decide(now, may_start=self._may_start())
        self._hopeless.add(action for action in actions if not isinstance(action, Start))
        if not self._start([action.id for action in actions if isinstance(action, Start)]):
            self._soon_again(RETRY_SECONDS)
        elif (wake := self.scheduler.wake_ns(now)) is not None:
            least = 0.0 if actions else _BREATH_SECONDS
            self._soon_again(min(max((wake - now) / 1e9, least), _LOOK_SECONDS))

    def _start(self, ids: Sequence[str]) -> bool:
        """Start jobs. False when the store cannot be written: the rest waits on."""
        for number, job_id in enumerate(ids):
            try:
                job = self._store.mark_starting(job_id, time.time_ns(), boot_id())
            except (ImpossibleTransition, NoSuchJobError) as error:
                # A defect of ours must not keep the others waiting.
                _logger.error("job %s cannot be started: %s", job_id, error)  # noqa: TRY400
                self.scheduler.release(job_id)
                continue
            except StoreError as error:
                _logger.error("no job can be started: %s", error)  # noqa: TRY400
                self._put_back(ids[number:])
                return False
            self.ranks.drop(job_id)
            self._launch(job)
        return True

    def _put_back(self, ids: Iterable[str]) -> None:
        for job_id in ids:
            waiting = self.ranks.get(job_id)
            if waiting is not None:
                self.scheduler.unstart(waiting)

    def _settle(self, job_id: str, end: End) -> list[Meeting]:
        self.ranks.drop(job_id)
        return self.after.settle(job_id, end)


def _going(job: Job) -> Going:
    """A job of the last daemon: where it is found out not to run, that is said later."""
    return Going(
        job.id, job.submitted_by_uid, job.queue, needs_of(job), job.started_ns or time.time_ns(),
        has_started=job.started_ns is not None, time_limit_ms=job.time_limit_ms,
        group=job.group_id,
    )  # fmt: skip
