"""What queued jobs come after, jobs and groups: judged when they begin to wait, committed once met.

Beside `runner.queueing`, which says when jobs begin, end and wait; who waits for whom is in the
scheduler's memory, what was met in the store, all that one turn of the loop has found out in
one transaction. What an end means is `runner.fates`'.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runner import fates
from runner.submission_queue import check_unmet
from runner.unmet import Unmet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from runner.fates import Meeting
    from runner.rows import Job, NewJob
    from runner.scheduling.kinds import End, Waiting
    from runner.scheduling.scheduler import Scheduler
    from runner.store import Store


class Meetings:
    """The dependencies of one queue. `surely` makes a commit now, or as soon as it can be made."""

    def __init__(
        self, store: Store, scheduler: Scheduler, surely: Callable[[Callable[[], None]], None]
    ) -> None:
        self._store, self._scheduler, self._surely = store, scheduler, surely
        self._unmet = Unmet()

    def by_now(self, new: NewJob) -> set[str]:
        """Which of the jobs that a new one comes after have become what they have to.

        Raises StoreError, Refusal: too many are waited for.
        """
        return self.all_by_now([new])

    def all_by_now(self, new: Sequence[NewJob]) -> set[str]:
        """The same of jobs that are submitted together: what has become all that is asked of it.

        They may come after each other.
        """
        asked = [each for job in new for each in job.after]
        _, meetings = self.judged(on_id for on_id, _ in asked)
        unmet = set(asked).difference(meetings)
        unready = {on_id for on_id, _ in unmet}
        met = {on_id for on_id, _ in asked if on_id not in unready}
        self._check(new[0].submitted_by_uid, sum(on_id in unready for on_id, _ in asked))
        return met

    def check_again(self, job: Job) -> None:
        """Whether an ended job may wait again for what was not met. Raises Refusal, StoreError."""
        self.check_all_again(job.submitted_by_uid, [job.id])

    def check_all_again(self, uid: int, ids: Collection[str]) -> None:
        """The same of jobs of one submitter that wait again together, also for each other."""
        together = frozenset(ids)
        unmet = sum(
            not known.met or known.on_id in together
            for job_id in together
            for known in self._store.dependencies(job_id)
        )
        self._check(uid, unmet)

    def _check(self, uid: int, more: int) -> None:
        check_unmet(uid, more, self._unmet.of(uid), self._unmet.total)

    def judged(self, ids: Iterable[str]) -> tuple[dict[str, End | None], list[Meeting]]:
        """What became of jobs, as `runner.fates.judged` has it. Raises StoreError."""
        wanted = set(ids)
        return fates.judged(wanted, self._store.became(wanted) if wanted else {})

    def enter(self, jobs: Sequence[Waiting]) -> None:
        """The scheduler is told of jobs that begin to wait. Raises StoreError, and is not."""
        ended, meetings = self.judged(after.on_id for each in jobs for after in each.after)
        for each in jobs:
            self._scheduler.release(each.id)
            self._scheduler.add(each, ended)
            known = self._scheduler.get(each.id) if each.after else None
            self._unmet.put(each.id, each.uid, len(known.after) if known else 0)
        self.commit(meetings)

    def began(self, job_id: str) -> bool:
        """A job runs. Whether somebody waited for that."""
        met = self._scheduler.has_started(job_id)
        if met:
            self._unmet.met(met)
            self.commit([(job_id, "started")])
        return bool(met)

    def settle(self, job_id: str, end: End) -> list[Meeting]:
        """A job or a group has ended for good; what somebody waited for it to become.

        That is to be committed.
        """
        self._unmet.drop(job_id)
        met = self._scheduler.settle(job_id, end)
        self._unmet.met(met)
        return [(job_id, kind) for kind in fates.met_by(end)] if met else []

    def commit(self, meetings: Sequence[Meeting]) -> None:
        """All at once: who comes after these jobs need not wait for them any more."""
        if meetings:
            self._surely(partial(self._store.meet_many, meetings))
