"""What jobs that run may be promised when their limits change, and who refuses more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner.promises import Promises, needs_of
from runner.queues import Rules, UserQuota
from runner.refusal import Refusal
from runner.scheduling.kinds import Capacity, Going, Needs, Quota
from runner.scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    from runner.rows import Job

ALICE, BOB, ROOT = 1000, 1001, 0
CAPACITY = Needs(4000, 100)
UNLIMITED: dict[str, Any] = {}


def job_of(uid: int = ALICE, *, cpus: int = 0, memory: int = 0, name: str = "a") -> Job:
    made: Any = SimpleNamespace(
        id=name, submitted_by_uid=uid, reserved_millicpus=cpus, reserved_memory_bytes=memory
    )
    return made  # type: ignore[no-any-return]


class Desk:
    """A machine of 4 CPUs and 100 bytes. Everybody has this quota, but root."""

    def __init__(self, quota: Quota | None = None) -> None:
        rules = Rules(Capacity(9, CAPACITY), quota=UserQuota(quota or Quota()))
        self.scheduler = Scheduler(
            rules.capacity, rules.queues.values(), lambda uid: rules.quota_of(uid).running
        )
        self.promises = Promises(self.scheduler, rules)

    def run(self, job: Job) -> Job:
        """The job goes, with what it is promised."""
        going = Going(job.id, job.submitted_by_uid, "default", needs_of(job), 1)
        self.scheduler.adopt(going)
        return job

    def refused(self, job: Job, needs: Needs) -> dict[str, Any]:
        before = self.scheduler.promised()
        with pytest.raises(Refusal) as caught:
            self.promises.resize(job, needs)
        assert self.scheduler.promised() == before
        return caught.value.to_wire()


def test_a_promise_follows_the_limits_that_it_came_from_and_no_others() -> None:
    desk = Desk()
    followed = job_of(cpus=1000, memory=50)
    old = {"cpu_max_millicpus": 1000, "memory_max_bytes": 50}
    new = {"cpu_max_millicpus": 2000, "memory_max_bytes": 20}
    assert desk.promises.needs_with(followed, old, new) == Needs(2000, 20)
    own = job_of(cpus=1000, memory=7)
    assert desk.promises.needs_with(own, old, new) == Needs(2000, 7)
    assert desk.promises.needs_with(followed, old, old) == Needs(1000, 50)


def test_what_no_job_of_the_user_could_be_promised_is_refused_before_anything_is_done() -> None:
    desk = Desk(Quota(max_memory_bytes=60))
    old, new = {"memory_max_bytes": 50}, {"memory_max_bytes": 61}
    with pytest.raises(Refusal) as caught:
        desk.promises.needs_with(job_of(memory=50), old, new)
    error = caught.value.to_wire()
    assert (error["code"], error["field"]) == ("quota-exceeded", "limits.memory_max_bytes")
    assert desk.promises.needs_with(job_of(ROOT, memory=50), old, new) == Needs(0, 61)
    # A quota that has become smaller since concerns only what is changed.
    beyond = job_of(memory=70)
    assert desk.promises.needs_with(beyond, UNLIMITED, {"pids_max": 5}) == Needs(0, 70)


def test_a_job_that_goes_is_promised_more_or_less_if_there_is_room() -> None:
    desk = Desk()
    job = desk.run(job_of(cpus=1000, memory=50))
    desk.run(job_of(BOB, cpus=1000, memory=40, name="b"))
    desk.promises.resize(job, Needs(3000, 60))
    assert desk.scheduler.promised() == Needs(4000, 100)
    desk.promises.resize(job, Needs(500, 10))
    assert desk.scheduler.promised() == Needs(1500, 50)


@pytest.mark.parametrize(
    ("needs", "field", "free"),
    [
        (Needs(3001, 50), "limits.cpu_max_millicpus", "3000 millicpus of 4000"),
        (Needs(1000, 61), "limits.memory_max_bytes", "60 bytes of 100"),
    ],
)
def test_what_others_have_is_not_promised_twice(needs: Needs, field: str, free: str) -> None:
    desk = Desk()
    job = desk.run(job_of(cpus=1000, memory=50))
    desk.run(job_of(BOB, cpus=1000, memory=40, name="b"))
    error = desk.refused(job, needs)
    assert (error["code"], error["field"]) == ("limit-unavailable", field)
    assert free in error["detail"]


@pytest.mark.parametrize(
    ("needs", "field", "others"),
    [
        (Needs(1501, 10), "limits.cpu_max_millicpus", "500 millicpus"),
        (Needs(500, 41), "limits.memory_max_bytes", "20 bytes"),
    ],
)
def test_a_users_own_jobs_count_against_the_users_quota_and_no_others(
    needs: Needs, field: str, others: str
) -> None:
    desk = Desk(Quota(max_millicpus=2000, max_memory_bytes=60))
    job = desk.run(job_of(cpus=500, memory=10))
    desk.run(job_of(cpus=500, memory=20, name="own"))
    desk.run(job_of(BOB, cpus=1000, memory=5, name="other"))
    error = desk.refused(job, needs)
    assert (error["code"], error["field"]) == ("quota-exceeded", field)
    assert f"promised {others};" in error["detail"]


def test_a_job_that_does_not_go_is_promised_nothing_yet() -> None:
    desk = Desk()
    desk.promises.resize(job_of(memory=50), Needs(0, 10**9))
    assert desk.scheduler.promised() == Needs(0, 0)


def test_the_most_that_a_job_can_have_is_the_quota_within_the_machine() -> None:
    assert Desk().promises.most_memory(ALICE) == 100
    desk = Desk(Quota(max_memory_bytes=60))
    assert desk.promises.most_memory(ALICE) == 60
    assert desk.promises.most_memory(ROOT) == 100
    assert Desk(Quota(max_memory_bytes=600)).promises.most_memory(ALICE) == 100
