"""What is queued: new jobs, new groups, jobs that are tried again by hand. Or refused.

What a request says was checked by then; here it is whether anything more is taken, and how much.
Committed first, then told to `runner.queueing`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from runner.lifecycle import State
from runner.submission_queue import check_all_queued, check_queued

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.ending import Ending
    from runner.group_rows import Group, NewGroup
    from runner.queueing import Queueing
    from runner.queues import Rules
    from runner.rows import Job, NewJob
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)


class Intake:
    """The way into one daemon's queue.

    At most `most_queued` jobs are; `refuse_if_closed` raises Refusal while nothing is taken.
    """

    def __init__(
        self,
        store: Store,
        queueing: Queueing,
        ending: Ending,
        rules: Rules,
        most_queued: int,
        refuse_if_closed: Callable[[], None],
    ) -> None:
        self._store, self._queueing, self._ending = store, queueing, ending
        self._rules = rules
        self._most_queued = most_queued
        self._refuse_if_closed = refuse_if_closed

    def refuse_unless_open(self, uid: int, more: int = 1) -> None:
        """Whether so many more jobs of the user may be queued. Raises Refusal."""
        self._refuse_if_closed()
        check_all_queued(self._most_queued, self._store.counts()[State.QUEUED], more)
        check_queued(self._rules.quota_of(uid), self._queueing.queued_of(uid), more)

    def submit(self, new: NewJob) -> Job:
        """Commit a job as queued, or as starting if its turn is now. Raises Refusal."""
        self.refuse_unless_open(new.submitted_by_uid)
        job = self._queueing.submit(new)
        _logger.info("job %s submitted by uid %d", job.id, job.submitted_by_uid)
        return job

    def submit_call(self, new: NewJob, call_seq: int) -> Job:
        """The same of a hook's job, which takes the place of its call. Raises Refusal.

        No quota counts: what bounds it is `runner.hook_calls`'.
        """
        self._refuse_if_closed()
        return self._queueing.submit(new, call_seq)

    def submit_group(self, new: NewGroup, jobs: Sequence[NewJob]) -> Group:
        """Commit a group and all of its jobs as queued. Raises Refusal, and none of it is."""
        self.refuse_unless_open(new.submitted_by_uid, len(jobs))
        group = self._store.insert_group(new, jobs, self._queueing.after.all_by_now(jobs))
        _logger.info("%s %s of %d jobs submitted by uid %d",
                     group.kind, group.id, group.size, group.submitted_by_uid)  # fmt: skip
        self._queueing.arrivals.add(job.id for job in jobs)
        return group

    def retry(self, job: Job, uid: int) -> Job:
        """Queue a job that has ended for another attempt. The job then. Raises Refusal."""
        self.refuse_unless_open(job.submitted_by_uid)
        self._queueing.after.check_again(job)
        return self._ending.again(job, uid)

    def retry_all(self, submitted_by_uid: int, ids: Sequence[str], uid: int) -> list[str]:
        """Queue jobs of one submitter that have ended once more, all at once. These.

        A deadline that has passed counts no more. Raises Refusal, StoreError, and none is queued.
        """
        self.refuse_unless_open(submitted_by_uid, len(ids))
        self._queueing.after.check_all_again(submitted_by_uid, ids)
        again = self._store.mark_retried_many(ids, time.time_ns(), uid)
        self._queueing.arrivals.add(again)
        return again
