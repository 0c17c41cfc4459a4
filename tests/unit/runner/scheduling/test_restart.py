"""A daemon that is killed at any moment ends every job as one that lives on would."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.scheduling.kinds import Capacity, Dependency, Needs, Queue, Quota, Waiting
from tests.simulation.world import Plan, World

SECOND = 10**9


def work(seed: int, restarts: float) -> dict[str, str]:
    """The fates of some random jobs, with so many restarts for each step."""
    rnd, deaths = random.Random(seed), random.Random(seed + 1)
    world = World(
        Capacity(3, Needs(4, 8)), [Queue("default"), Queue("q", 1, 1)],
        lambda uid: Quota(max_running=1) if uid == 2 else Quota(),
    )  # fmt: skip
    for n in range(30):
        kinds = ("ok", "any", "fail", "started")
        on = rnd.sample(range(n), min(n, rnd.choice((0, 0, 1, 2))))
        after = tuple(Dependency(f"{m:02}", rnd.choice(kinds)) for m in on)
        job = Waiting(
            f"{n:02}", rnd.randrange(3), rnd.choice(("default", "q")), rnd.choice((0, 0, 1)), n,
            Needs(rnd.randrange(6), rnd.randrange(10)), after=after,
            time_limit_ms=rnd.choice((None, 9000)),
        )  # fmt: skip
        world.submit(job, Plan(rnd.randint(1, 9) * SECOND, rnd.random() < 0.7))
        if rnd.random() < 0.5:
            world.tick(SECOND)
            world.decide()
        if deaths.random() < restarts:
            world.restart()
    world.decide()
    while (at := world.next_ns()) is not None:
        world.tick(max(at - world.now_ns, 0))
        if deaths.random() < restarts:
            world.restart()
        world.decide()
        if deaths.random() < restarts:
            world.restart()
            world.decide()
    assert not world.waiting
    return world.fates


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6))
def test_restarts_at_any_point_lead_to_the_same_fates(seed: int) -> None:
    assert work(seed, 0.4) == work(seed, 0)
