"""Random people: what they submit and what they do, the same for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runner.scheduling.kinds import Capacity, Dependency, Needs, Queue, Quota, Waiting
from tests.simulation.world import Plan, World

if TYPE_CHECKING:
    import random

SECOND = 10**9
GIB = 2**30


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
        self.count = 0

    def world(self) -> World:
        """An empty one."""
        cap = max(self._scale.slots // 3, 1)
        queues = (
            Queue("default"),
            Queue("batch", -5),
            Queue("capped", 0, cap),
            Queue("urgent", 10),
        )
        return World(self._capacity, queues, quota_of)

    def submit(self, world: World) -> str:
        """One job of somebody."""
        r, now = self._random, world.now_ns
        job_id = f"{self.count:032x}"
        run_ns = r.randint(1, 120) * SECOND
        uid = r.randrange(self._scale.users)
        job = Waiting(
            job_id,
            uid=uid,
            queue=r.choice(("default", "default", "default", "batch", "capped", "urgent")),
            priority=r.choice((0, 0, 0, -5, 5)),
            rank=self.count,
            needs=self._needs(quota_of(uid)),
            not_before_ns=now + r.randint(1, 300) * SECOND if r.random() < 0.03 else None,
            deadline_ns=now + r.randint(1, 3000) * SECOND if r.random() < 0.03 else None,
            is_held=r.random() < 0.01,
            after=self._after(),
            time_limit_ms=run_ns // 10**6 * 2 if r.random() < 0.6 else None,
            group=f"array-{self.count // 50}" if r.random() < 0.1 else None,
            group_cap=2,
        )
        world.submit(job, Plan(run_ns, r.random() < 0.9, 2 if r.random() < 0.05 else 1))
        self.count += 1
        return job_id

    def meddle(self, world: World) -> None:
        """Now and then somebody changes his mind about a job that waits."""
        job_id = f"{self._random.randrange(self.count):032x}"
        job = world.waiting.get(job_id)
        if job is None:
            return
        deed = self._random.randrange(4)
        if deed == 0:
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
        chosen = {r.randrange(max(0, self.count - 100), self.count) for _ in range(2)}
        return tuple(
            Dependency(f"{n:032x}", r.choice(("ok", "any", "fail", "started"))) for n in chosen
        )
