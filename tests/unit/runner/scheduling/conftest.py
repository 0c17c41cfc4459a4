"""Short words for jobs and machines."""

from __future__ import annotations

from typing import Any

import pytest

from runner.scheduling.kinds import (
    Abandon,
    Capacity,
    End,
    Expire,
    Needs,
    Queue,
    Quota,
    Start,
    Waiting,
)
from runner.scheduling.scheduler import Scheduler

SECOND = 10**9
NOW = 10**18


class Machine:
    """A scheduler with a clock, a count for ranks, and words for the usual."""

    def __init__(self, slots: int, cpus: int, memory: int, *queues: Queue) -> None:
        self.quotas: dict[int, Quota] = {}
        self.scheduler = Scheduler(
            Capacity(slots, Needs(cpus, memory)),
            queues or (Queue("default"),),
            lambda uid: self.quotas.get(uid, Quota()),
        )
        self.now = NOW
        self.count = 0

    def job(
        self, name: str, uid: int = 1, *, cpus: int = 0, memory: int = 0, **more: Any
    ) -> Waiting:
        """A job of the default queue, after those before it."""
        self.count += 1
        job = Waiting(name, uid, "default", 0, self.count, Needs(cpus, memory))
        if "seconds" in more:
            more["time_limit_ms"] = more.pop("seconds") * 1000
        return job._replace(**more)

    def add(self, name: str, uid: int = 1, **more: Any) -> Waiting:
        """It waits."""
        ended = more.pop("ended", {})
        job = self.job(name, uid, **more)
        self.scheduler.add(job, ended)
        return job

    def decide(self, **options: bool) -> list[str]:
        """What is decided, as words."""
        words = {
            Start: "{0.id}",
            Expire: "expire {0.id}",
            Abandon: "abandon {0.id}: {0.kind} {0.on_id}",
        }
        return [words[type(a)].format(a) for a in self.scheduler.decide(self.now, **options)]

    def why(self, name: str, **options: bool) -> list[str]:
        """The causes for which it waits."""
        return [b.cause for b in self.scheduler.explain(name, self.now, **options).because]

    def end(self, name: str, *, ok: bool = True) -> tuple[str, ...]:
        """It ran, and ended for good."""
        return self.scheduler.settle(name, End(ok, has_started=True))


@pytest.fixture
def machine() -> type[Machine]:
    return Machine
