"""Random people: what they submit and what they do, the same for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runner.scheduling.kinds import Capacity, Dependency, Needs, Queue, Quota, Waiting
from tests.simulation.world import Plan, World

if TYPE_CHECKING:
    import random

    from runner.scheduling.kinds import Met

SECOND = 10**9
GIB = 2**30
# How often somebody submits a group instead of a job, and how often that is a flow.
_GROUPS = 0.01
_FLOWS = 0.3
_QUEUES = (*["default"] * 9, *["batch"] * 3, *["capped"] * 3, *["urgent"] * 2, "hooks")
_SIZES = (3, 10, 50)
_CAPS = (1, 2, 8, None)
_CAPPED_ANEW = 0.2


class Scale(NamedTuple):
    """How much of everything."""

    jobs: int
    users: int
    slots: int


def capacity_of(scale: Scale) -> Capacity:
    """A CPU and two GiB for each slot."""
    return Capacity(scale.slots, Needs(scale.slots * 1000, scale.slots * 2 * GIB))


def quota_of(uid: int) -> Quota:
    """Every fifth user may have little."""
    return Quota(3, 4000, 8 * GIB) if uid % 5 == 4 else Quota()


class People:
    """Those who submit to one world."""

    def __init__(self, random: random.Random, scale: Scale) -> None:
        self._random = random
        self._scale = scale
        self._capacity = capacity_of(scale)
        self._groups: list[str] = []
        self.count = 0

    def world(self) -> World:
        """An empty one."""
        cap = max(self._scale.slots // 3, 1)
        queues = (
            Queue("default"),
            Queue("batch", -5),
            Queue("capped", 0, cap),
            Queue("urgent", 10),
            Queue("hooks", 10**6, cap, apart=True, user_cap=1),
        )
        return World(self._capacity, queues, quota_of)

    def submit(self, world: World) -> None:
        """One job of somebody, or a group."""
        run_ns = self._random.randint(1, 120) * SECOND
        job = self._job(world.now_ns, run_ns)
        if self._random.random() >= _GROUPS:
            world.submit(job, self._plan(run_ns))
            self.count += 1
            return
        self._submit_group(world, job, run_ns)

    def _job(self, now: int, run_ns: int) -> Waiting:
        r = self._random
        uid = r.randrange(self._scale.users)
        return Waiting(
            _id(self.count),
            uid=uid,
            queue=r.choice(_QUEUES),
            priority=r.choice((0, 0, 0, -5, 5)),
            rank=self.count,
            needs=self._needs(quota_of(uid)),
            not_before_ns=now + r.randint(1, 300) * SECOND if r.random() < 0.03 else None,
            deadline_ns=now + r.randint(1, 3000) * SECOND if r.random() < 0.03 else None,
            is_held=r.random() < 0.01,
            after=self._after(),
            time_limit_ms=run_ns // 10**6 * 2 if r.random() < 0.6 else None,
        )

    def _plan(self, run_ns: int) -> Plan:
        r = self._random
        return Plan(run_ns, r.random() < 0.9, 2 if r.random() < 0.05 else 1)

    def _submit_group(self, world: World, first: Waiting, run_ns: int) -> None:
        """Jobs that are alike, so many of them at once; or each after one of those before it."""
        r, name = self._random, f"group-{self.count}"
        size = min(r.choice(_SIZES), self._scale.jobs - self.count)
        cap, is_flow = r.choice(_CAPS), r.random() < _FLOWS
        jobs = []
        for number in range(self.count, self.count + size):
            job = first._replace(id=_id(number), rank=number, group=name, group_cap=cap)
            if is_flow and number > self.count:
                on = _id(r.randrange(max(self.count, number - 3), number))
                job = job._replace(after=(Dependency(on, r.choice(("ok", "ok", "any", "fail"))),))
            jobs.append((job, self._plan(run_ns)))
        world.submit_group(name, jobs)
        self._groups.append(name)
        self.count += size

    def meddle(self, world: World) -> None:
        """Now and then somebody changes his mind about a job that waits."""
        job_id = _id(self._random.randrange(self.count))
        job = world.waiting.get(job_id)
        if job is None:
            return
        deed = self._random.randrange(4)
        if job.group is not None and self._random.random() < _CAPPED_ANEW:
            world.cap_group(job.group, self._random.choice(_CAPS))
        elif deed == 0:
            world.stop(job_id)
        elif deed == 1:
            world.change(job._replace(is_held=not job.is_held))
        elif deed == 2:
            world.change(job._replace(priority=self._random.choice((0, 5, -5))))
        else:
            world.change(job._replace(rank=-job.rank))

    def relent(self, world: World) -> None:
        """Nothing is held any more."""
        for job in [job for job in world.waiting.values() if job.is_held]:
            world.change(job._replace(is_held=False))

    def _needs(self, quota: Quota) -> Needs:
        """Within the quota: more is refused when it is submitted."""
        r, most = self._random, self._capacity.needs
        if r.random() < 0.01 and quota == Quota():
            return Needs(most.millicpus * 3 // 4, most.memory_bytes * 3 // 4)
        return Needs(r.choice((0, 500, 1000, 2000)), r.choice((0, 1, 2, 4)) * GIB)

    def _after(self) -> tuple[Dependency, ...]:
        r = self._random
        if not self.count or r.random() > 0.05:
            return ()
        chosen = {_id(r.randrange(max(0, self.count - 100), self.count)) for _ in range(2)}
        if self._groups and r.random() < 0.3:
            # Of a group nobody may wait for the start.
            group = Dependency(r.choice(self._groups[-5:]), r.choice(("ok", "any", "fail")))
            return (group,)
        kinds: tuple[Met, ...] = ("ok", "any", "fail", "started")
        return tuple(Dependency(on_id, r.choice(kinds)) for on_id in sorted(chosen))


def _id(number: int) -> str:
    return f"{number:032x}"
