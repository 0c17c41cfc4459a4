"""What jobs are promised while they run, and what else they may be promised.

In the event loop's thread. What an update comes to is `runner.limit_changes`', how much there is
and who has what of it `runner.scheduling`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import limit_changes
from runner.scheduling.kinds import Needs
from runner.submission_queue import check_quota

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.queues import Rules
    from runner.refusal import Refusal
    from runner.rows import Job
    from runner.scheduling.scheduler import Scheduler


class Promises:
    """What the jobs of one scheduler are promised, by the rules of this host."""

    def __init__(self, scheduler: Scheduler, rules: Rules) -> None:
        self._scheduler, self._rules = scheduler, rules

    def needs_with(self, job: Job, old: Mapping[str, Any], new: Mapping[str, Any]) -> Needs:
        """What a job is to be promised when its limits change. Raises Refusal: its user's quota."""
        present = needs_of(job)
        needs = limit_changes.promise(present, old, new, self._rules.capacity.needs)
        if needs != present:
            check_quota(needs, self._rules.quota_of(job.submitted_by_uid))
        return needs

    def resize(self, job: Job, needs: Needs) -> None:
        """Promise a job that goes something else. Raises Refusal, and nothing is changed."""
        if self._scheduler.going(job.id) is not None and not self._scheduler.resize(job.id, needs):
            raise self._refusal(job, needs)

    def _refusal(self, job: Job, needs: Needs) -> Refusal:
        own = needs_of(job)
        lack = self._scheduler.lacks(job.id, needs)
        if lack in {"quota-cpus", "quota-memory"}:
            _, used = self._scheduler.usage(job.submitted_by_uid)
            quota = self._rules.quota_of(job.submitted_by_uid).running
            return limit_changes.beyond_quota(lack, needs, used.minus(own), quota)
        others = self._scheduler.promised().minus(own)
        return limit_changes.beyond_capacity(lack, needs, others, self._rules.capacity.needs)

    def most_memory(self, uid: int) -> int:
        """How much memory a job of a user can be promised at most."""
        most = self._rules.quota_of(uid).running.max_memory_bytes
        capacity = self._rules.capacity.needs.memory_bytes
        return capacity if most is None else min(most, capacity)


def needs_of(job: Job) -> Needs:
    """What a job is promised while it runs."""
    return Needs(job.reserved_millicpus, job.reserved_memory_bytes)
