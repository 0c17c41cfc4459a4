"""Stop requests: one timer a job, the earliest counts, and nothing outlives the job."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from isolation.errors import CgroupError
from runner import stopping
from runner.stopping import Stopping

JOB = "3f2a0000-0000-4000-8000-000000000001"


class Cgroup:
    """Stands in for the cgroups of a job: remembers what was killed."""

    def __init__(self) -> None:
        self.kills: list[bool] = []
        self.killed = asyncio.Event()
        self.refuses = False

    def kill(self, *, monitor: bool) -> None:
        self.kills.append(monitor)
        self.killed.set()
        if self.refuses:
            raise CgroupError(16, "write", "cgroup.kill")


class Host:
    """A directory of jobs, a cgroup tree and the set of running jobs, in one."""

    def __init__(self, *, tells: bool = True) -> None:
        self.cgroup = Cgroup()
        self.running = {JOB}
        self.told: list[tuple[str, int, float]] = []
        self._tells = tells

    def send_stop(self, job_id: str, uid: int, grace_seconds: float) -> None:
        if not self._tells:
            raise FileNotFoundError(2, "no directory")
        self.told.append((job_id, uid, grace_seconds))

    def job(self, _job_id: str) -> Cgroup:
        return self.cgroup

    def stopping(self) -> Stopping:
        here: Any = self
        return Stopping(asyncio.get_running_loop(), here, here, self.running)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_MONITOR_SECONDS", 0.01)
    monkeypatch.setattr(stopping, "_LAST_SECONDS", 0.01)


def test_a_monitor_that_does_not_listen_loses_its_payload_and_then_its_life() -> None:
    async def scenario() -> list[bool]:
        host = Host()
        host.stopping().ask(JOB, 1000, 0)
        async with asyncio.timeout(5):
            while len(host.cgroup.kills) < 2:
                host.cgroup.killed.clear()
                await host.cgroup.killed.wait()
        return host.cgroup.kills

    assert asyncio.run(scenario()) == [False, True]


def test_a_monitor_that_cannot_be_told_is_insisted_on_all_the_same() -> None:
    async def scenario() -> list[bool]:
        host = Host(tells=False)
        host.cgroup.refuses = True
        host.stopping().ask(JOB, 1000, 0)
        async with asyncio.timeout(5):
            await host.cgroup.killed.wait()
        return host.cgroup.kills

    assert asyncio.run(scenario()) == [False]


def test_any_number_of_requests_is_one_timer_and_the_earliest_counts() -> None:
    async def scenario() -> None:
        host = Host()
        asked = host.stopping()
        for grace in range(1000, 0, -1):
            asked.ask(JOB, 1000, grace)
        asked.ask(JOB, 1000, 500)
        (timer,) = asked._timers.values()
        assert timer.when() - asyncio.get_running_loop().time() < 2
        assert len(host.told) == 1001
        asked.close()
        assert not asked._timers
        assert timer.cancelled()

    asyncio.run(scenario())


def test_a_job_that_has_ended_is_left_alone() -> None:
    async def scenario() -> list[bool]:
        host = Host()
        asked = host.stopping()
        asked.ask(JOB, 1000, 0)
        asked.forget(JOB)
        asked.forget(JOB)
        host.running.clear()
        asked.ask(JOB, 1000, 0)
        first = asked._timers[JOB]
        async with asyncio.timeout(5):
            while asked._timers[JOB] is first:
                await asyncio.sleep(0)
        asked.close()
        return host.cgroup.kills

    assert asyncio.run(scenario()) == []
