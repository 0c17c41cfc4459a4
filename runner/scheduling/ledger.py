"""What goes and what it was promised: in all, by user, by queue, by group.

It counts and compares; it decides nothing. Needs beyond the capacity count as the whole of it,
so that a job of yesterday's larger machine can run alone and no sum looks worse than full.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from runner.scheduling.kinds import Needs

if TYPE_CHECKING:
    from runner.scheduling.kinds import Capacity, Cause, Going, Quota

_T = TypeVar("_T")


class Account:
    """What some jobs that go come to."""

    __slots__ = ("jobs", "memory_bytes", "millicpus")

    def __init__(self) -> None:
        self.jobs = 0
        self.millicpus = 0
        self.memory_bytes = 0

    @property
    def needs(self) -> Needs:
        """What they are promised."""
        return Needs(self.millicpus, self.memory_bytes)

    def enter(self, needs: Needs) -> None:
        """One more."""
        self.jobs += 1
        self.millicpus += needs.millicpus
        self.memory_bytes += needs.memory_bytes

    def leave(self, needs: Needs) -> None:
        """One less."""
        self.jobs -= 1
        self.millicpus -= needs.millicpus
        self.memory_bytes -= needs.memory_bytes


def over_quota(quota: Quota, used: Account, needs: Needs) -> Cause | None:
    """The first quota that one more job with such needs would pass."""
    if quota.max_running is not None and used.jobs >= quota.max_running:
        return "quota-running"
    return over_promise(quota, used, needs)


def over_promise(quota: Quota, used: Account, needs: Needs) -> Cause | None:
    """The same without the count. What needs nothing of a kind passes no quota of it."""
    cpus, memory = quota.max_millicpus, quota.max_memory_bytes
    if needs.millicpus and cpus is not None and used.millicpus + needs.millicpus > cpus:
        return "quota-cpus"
    if (
        needs.memory_bytes
        and memory is not None
        and used.memory_bytes + needs.memory_bytes > memory
    ):
        return "quota-memory"
    return None


class Ledger:
    """Jobs that go, and the capacity that they go within."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.going: dict[str, Going] = {}
        self.all = Account()
        self.users: dict[int, Account] = {}
        self.queues: Counter[str] = Counter()
        self.groups: Counter[str] = Counter()
        # Queues whose jobs are no part of the above but `queues`; and theirs, by user.
        self.apart: set[str] = set()
        self.beside: Counter[int] = Counter()

    def enter(self, job: Going) -> None:
        """It goes from now on."""
        self.going[job.id] = job
        if job.queue in self.apart:
            self.beside[job.uid] += 1
        else:
            needs = self.clamped(job.needs)
            self.all.enter(needs)
            self.users.setdefault(job.uid, Account()).enter(needs)
        self.queues[job.queue] += 1
        if job.group is not None:
            self.groups[job.group] += 1

    def leave(self, job_id: str) -> Going | None:
        """It goes no more; None: it did not."""
        job = self.going.pop(job_id, None)
        if job is not None:
            if job.queue in self.apart:
                _count_down(self.beside, job.uid)
            else:
                needs = self.clamped(job.needs)
                self.all.leave(needs)
                self._leave_user(job.uid, needs)
            _count_down(self.queues, job.queue)
            if job.group is not None:
                _count_down(self.groups, job.group)
        return job

    def used_by(self, uid: int) -> Account:
        """What a user's jobs come to; not to be changed."""
        return self.users.get(uid) or Account()

    def clamped(self, needs: Needs) -> Needs:
        """At most the whole capacity."""
        most = self.capacity.needs
        if needs.millicpus <= most.millicpus and needs.memory_bytes <= most.memory_bytes:
            return needs
        return Needs(
            min(needs.millicpus, most.millicpus), min(needs.memory_bytes, most.memory_bytes)
        )

    @property
    def free_slots(self) -> int:
        """How many jobs more may go; below 0 after the capacity was lowered."""
        return self.capacity.slots - self.all.jobs

    @property
    def free(self) -> Needs:
        """What is not promised; below 0 after the capacity was lowered."""
        return self.capacity.needs.minus(self.all.needs)

    def fits(self, needs: Needs) -> bool:
        """Whether CPUs and memory suffice; what needs nothing of a kind is never short of it."""
        most, used = self.capacity.needs, self.all
        return needs.millicpus <= max(
            most.millicpus - used.millicpus, 0
        ) and needs.memory_bytes <= max(most.memory_bytes - used.memory_bytes, 0)

    def short_of(self, needs: Needs) -> list[Cause]:
        """What there is not enough of."""
        most, used = self.capacity.needs, self.all
        short: list[Cause] = []
        if needs.millicpus and needs.millicpus > most.millicpus - used.millicpus:
            short.append("cpus")
        if needs.memory_bytes and needs.memory_bytes > most.memory_bytes - used.memory_bytes:
            short.append("memory")
        return short

    def share(self, uid: int) -> float:
        """The largest fraction of slots, CPUs or memory that the user's jobs are promised."""
        used = self.users.get(uid)
        if used is None:
            return 0.0
        slots, (cpus, memory) = self.capacity
        return max(
            used.jobs / max(slots, 1),
            used.millicpus / max(cpus, 1),
            used.memory_bytes / max(memory, 1),
        )

    def _leave_user(self, uid: int, needs: Needs) -> None:
        used = self.users[uid]
        used.leave(needs)
        if not used.jobs:
            del self.users[uid]


def _count_down(counts: Counter[_T], name: _T) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
