"""A machine that is none: it carries out what the scheduler decides and checks that it may.

What is true of the jobs is worked out here a second time, slowly and from the beginning, by
`checks`. A world is told what happens by its owner: a property test or `people`.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from runner.scheduling.kinds import (
    Abandon,
    Capacity,
    Dependency,
    End,
    Expire,
    Going,
    Queue,
    Quota,
    Start,
    Waiting,
)
from runner.scheduling.scheduler import Scheduler
from tests.simulation.checks import Checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.scheduling.kinds import Action

NEVER_RAN = End(ok=False, has_started=False)


class Plan(NamedTuple):
    """What a job will do once it runs."""

    run_ns: int
    ok: bool = True
    attempts: int = 1  # how many times it is tried until it ends for good


class World:
    """Jobs, their plans and what became of them. `fates` has each ended job once."""

    def __init__(
        self,
        capacity: Capacity,
        queues: Iterable[Queue] = (Queue("default"),),
        quota_of: Callable[[int], Quota] = lambda _uid: Quota(),
    ) -> None:
        self.now_ns = 10**18
        self.capacity = capacity
        self.queues = {queue.name: queue for queue in queues}
        self.quota_of = quota_of
        self.waiting: dict[str, Waiting] = {}
        self.going: dict[str, Going] = {}
        self.plans: dict[str, Plan] = {}
        self.fates: dict[str, str] = {}
        self.ends: dict[str, End] = {}
        self.begun: set[str] = set()
        self.unmet: dict[str, set[Dependency]] = {}
        # Of groups: how many run at once; of those that end as one, what is left of them.
        self.caps: dict[str, int | None] = {}
        self.members: dict[str, set[str]] = {}
        self.group_of: dict[str, str] = {}
        self.failed_groups: set[str] = set()
        self.over: set[str] = set()
        self.started: list[str] = []
        self.may_start = True
        self._ending: list[tuple[int, str]] = []
        self.scheduler = self._new()

    # What people do

    def submit(self, job: Waiting, plan: Plan) -> None:
        self.plans[job.id] = plan
        if job.group is not None:
            self.caps.setdefault(job.group, job.group_cap)
        self._wait(job)

    def submit_group(self, name: str, jobs: Iterable[tuple[Waiting, Plan]]) -> None:
        """As one thing: when the last of them has ended, that is an end that others wait for."""
        members = list(jobs)
        self.members[name] = {job.id for job, _ in members}
        self.group_of |= {job.id: name for job, _ in members}
        for job, plan in members:
            self.submit(job, plan)

    def cap_group(self, name: str, cap: int | None) -> None:
        """So many of a group run at once from now on; None: as many as there is room for."""
        self.caps[name] = cap
        ours = {job.id for job in self.waiting.values() if job.group == name}
        capped = self.scheduler.cap_group(name, cap)
        assert {(job.id, job.group_cap) for job in capped} == {(each, cap) for each in ours}
        for job_id in ours:
            self.waiting[job_id] = self.waiting[job_id]._replace(group_cap=cap)

    def change(self, job: Waiting) -> None:
        self.waiting[job.id] = job
        self.scheduler.change(job)

    def stop(self, job_id: str) -> None:
        self._end(job_id, End(ok=False, has_started=job_id in self.begun), "stopped")

    def remove(self, job_id: str) -> None:
        """Of an ended job nobody knows any more what became of it."""
        self.ends.pop(job_id, None)

    def set_queue(self, queue: Queue) -> None:
        self.queues[queue.name] = queue
        self.scheduler.set_queue(queue)

    def set_capacity(self, capacity: Capacity) -> None:
        """The daemon starts again, and there is more or less."""
        self.capacity = capacity
        self.restart()

    def restart(self) -> None:
        """The daemon was killed: all that it knew is what is written down."""
        self.scheduler = self._new()
        for going in sorted(self.going.values(), key=lambda job: job.started_ns):
            self.scheduler.adopt(going)
        for job in self.waiting.values():
            after = tuple(d for d in job.after if d in self.unmet[job.id])
            self.scheduler.add(job._replace(after=after), self._ended(after))

    # What the machine does

    def tick(self, nanoseconds: int) -> None:
        """Time passes; jobs whose time is over end."""
        self.now_ns += nanoseconds
        while self._ending and self._ending[0][0] <= self.now_ns:
            job_id = heappop(self._ending)[1]
            if job_id in self.going:
                self._over(job_id)

    def next_ns(self) -> int | None:
        """When something happens by itself."""
        times = [self.scheduler.wake_ns(self.now_ns)]
        times += [end for end, job_id in self._ending[:1]]
        return min((time for time in times if time is not None), default=None)

    def decide(self) -> list[Action]:
        """Ask and carry out, with every action checked, until there is nothing more to do."""
        done: list[Action] = []
        while actions := self.scheduler.decide(self.now_ns, may_start=self.may_start):
            if self.scheduler.wake_ns(self.now_ns) != self.now_ns:
                again = self.scheduler.decide(self.now_ns, may_start=self.may_start)
                assert not again, f"{again[0]} was forgotten at first"
            Checks(self).order(actions)
            for action in actions:
                self._carry_out(action)
            done += actions
        return done

    def check(self) -> None:
        """What has to be true between decisions; slow where many wait."""
        Checks(self).whole()

    def run_dry(self) -> None:
        """Until nothing happens by itself any more."""
        self.decide()
        while (at := self.next_ns()) is not None:
            self.tick(max(at - self.now_ns, 0))
            self.decide()

    def _carry_out(self, action: Action) -> None:
        checks = Checks(self)
        if isinstance(action, Start):
            checks.start(action)
            self._go(action.id)
        elif isinstance(action, Expire):
            checks.expire(action)
            self._end(action.id, NEVER_RAN, "expired")
        else:
            assert isinstance(action, Abandon)
            checks.abandon(action)
            self._end(action.id, NEVER_RAN, "abandoned")

    def _go(self, job_id: str) -> None:
        job = self.waiting.pop(job_id)
        del self.unmet[job_id]
        going = Going.of(job, self.now_ns)
        self.going[job_id] = going._replace(has_started=True)
        self.started.append(job_id)
        self.begun.add(job_id)
        self._met(job_id, self.scheduler.has_started(job_id))
        heappush(self._ending, (self.now_ns + self.plans[job_id].run_ns, job_id))

    def _over(self, job_id: str) -> None:
        plan, going = self.plans[job_id], self.going[job_id]
        if plan.attempts > 1:
            self.plans[job_id] = plan._replace(attempts=plan.attempts - 1)
            del self.going[job_id]
            self.scheduler.release(job_id)
            self._wait(Waiting(
                job_id, going.uid, going.queue, 0, len(self.started), going.needs,
                time_limit_ms=going.time_limit_ms, group=going.group,
                group_cap=None if going.group is None else self.caps[going.group],
            ))  # fmt: skip
        else:
            self._end(job_id, End(plan.ok, has_started=True), "ok" if plan.ok else "failed")

    def _wait(self, job: Waiting) -> None:
        self.waiting[job.id] = job
        ended = self._ended(job.after)
        self.scheduler.add(job, ended)
        left = self.scheduler.get(job.id)
        assert left is not None
        self.unmet[job.id] = set(left.after)

    def _end(self, job_id: str, end: End, fate: str) -> None:
        assert job_id not in self.fates, f"{job_id} ended {self.fates[job_id]}, now {fate}"
        self.fates[job_id] = fate
        self.ends[job_id] = end
        self.waiting.pop(job_id, None)
        self.going.pop(job_id, None)
        self.unmet.pop(job_id, None)
        self._met(job_id, self.scheduler.settle(job_id, end))
        if job_id in self.group_of:
            self._one_less(self.group_of[job_id], job_id, ok=end.ok)

    def _one_less(self, name: str, job_id: str, *, ok: bool) -> None:
        if not ok:
            self.failed_groups.add(name)
        self.members[name].remove(job_id)
        if not self.members[name]:
            del self.members[name]
            end = End(ok=name not in self.failed_groups, has_started=True)
            self.ends[name] = end
            self.over.add(name)
            self._met(name, self.scheduler.settle(name, end))

    def has_ended(self, on_id: str) -> bool:
        """Whether a job has, or every job of a group."""
        return on_id in self.fates or on_id in self.over

    def _met(self, on_id: str, job_ids: tuple[str, ...]) -> None:
        """Written down: this was met."""
        for job_id in job_ids:
            unmet = self.unmet.get(job_id, set())
            kinds = {d for d in unmet if d.on_id == on_id}
            assert kinds, f"{job_id} does not wait for {on_id}"
            unmet -= kinds

    def _ended(self, after: Iterable[Dependency]) -> dict[str, End | None]:
        return {
            on_id: self.ends.get(on_id) for on_id, _ in after if self.has_ended(on_id)
        }  # fmt: skip

    def _new(self) -> Scheduler:
        return Scheduler(self.capacity, self.queues.values(), self.quota_of)
