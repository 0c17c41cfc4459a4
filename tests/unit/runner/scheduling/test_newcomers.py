"""A job that has just come starts at once where a decision would start it, and nowhere else."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.scheduling.kinds import Dependency, Queue, Quota
from tests.unit.runner.scheduling.conftest import Machine

if TYPE_CHECKING:
    from runner.scheduling.kinds import Waiting

QUEUES = (
    Queue("default"), Queue("capped", 0, 1), Queue("urgent", 5), Queue("closed", paused=True),
    Queue("apart", 9, 2, apart=True, user_cap=1),
)  # fmt: skip
NAMES = ("default", "default", "default", "capped", "urgent", "closed", "unknown", "apart")


def starts(machine: Machine, job: Waiting) -> bool:
    return machine.scheduler.start(job, machine.now)


def test_a_job_that_comes_alone_goes_and_has_its_slot_until_it_is_released() -> None:
    machine = Machine(1, 4, 4)
    assert starts(machine, machine.job("a", cpus=1))
    assert machine.scheduler.going("a") is not None
    assert machine.scheduler.get("a") is None
    assert not starts(machine, machine.job("b"))
    machine.scheduler.release("a")
    assert starts(machine, machine.job("b"))
    assert machine.scheduler.usage(1)[0] == 1


def test_it_does_not_overtake_a_job_whose_time_has_come_since_the_last_look() -> None:
    machine = Machine(1, 4, 4, *QUEUES)
    due = machine.now + 10**9
    machine.scheduler.add(machine.job("due", queue="urgent", not_before_ns=due))
    machine.scheduler.decide(machine.now)
    machine.now = due + 1
    assert not starts(machine, machine.job("a"))
    assert [action.id for action in machine.scheduler.decide(machine.now)] == ["due"]


@pytest.mark.parametrize(
    "fields",
    [
        {"is_held": True},
        {"after": (Dependency("x", "any"),)},
        {"group": "g"},
        {"not_before_ns": 2**62},
        {"deadline_ns": 1},
        {"queue": "unknown"},
        {"queue": "closed"},
        {"queue": "apart"},
    ],
)
def test_a_job_that_waits_for_something_or_is_not_the_usual_case_does_not(
    fields: dict[str, Any],
) -> None:
    machine = Machine(4, 4, 4, *QUEUES)
    assert not starts(machine, machine.job("a", **fields))
    assert machine.scheduler.going_count() == 0
    assert starts(machine, machine.job("b"))


def test_quotas_and_caps_hold_it_back() -> None:
    machine = Machine(4, 4, 4, *QUEUES)
    machine.quotas[1] = Quota(max_running=1)
    assert starts(machine, machine.job("a"))
    assert not starts(machine, machine.job("b"))
    assert starts(machine, machine.job("c", 2, queue="capped"))
    assert not starts(machine, machine.job("d", 2, queue="capped"))
    machine.quotas[3] = Quota(max_memory_bytes=2)
    assert not starts(machine, machine.job("e", 3, memory=3))
    assert starts(machine, machine.job("f", 3, memory=2))


def test_while_others_may_have_their_turn_it_waits_for_the_decision() -> None:
    machine = Machine(2, 4, 4)
    machine.add("a")
    assert not starts(machine, machine.job("b"))
    assert machine.decide() == ["a"]
    machine.add("held", is_held=True)
    machine.decide()
    # Who waits could not start at the last look.
    assert starts(machine, machine.job("b"))
    machine.end("a")
    assert not starts(machine, machine.job("c"))


def test_it_does_not_take_what_is_kept_for_another() -> None:
    machine = Machine(4, 4, 4)
    assert starts(machine, machine.job("a", cpus=3, seconds=5))
    machine.add("large", 2, cpus=4)
    assert machine.decide() == []
    assert not starts(machine, machine.job("b", cpus=1))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_has_happened_a_decision_would_have_started_it_too(seed: int) -> None:
    chance = random.Random(seed)
    machine = Machine(chance.randrange(1, 6), 8, 8, *QUEUES)
    machine.quotas |= {1: Quota(max_running=2), 2: Quota(max_memory_bytes=4, max_millicpus=6)}
    going: list[str] = []
    for number in range(60):
        machine.now += chance.randrange(3) * 10**9
        job = machine.job(
            str(number), chance.randrange(4), cpus=chance.choice([0, 0, 1, 2, 8]),
            memory=chance.choice([0, 0, 1, 4]), queue=chance.choice(NAMES),
            priority=chance.choice([0, 0, 0, 1, -1]), is_held=chance.random() < 0.1,
            seconds=chance.choice([1, 5, 60]),
        )  # fmt: skip
        decided = copy.deepcopy(machine)
        decided.scheduler.add(job)
        if starts(machine, job):
            assert job.id in decided.decide()
            going.append(job.id)
        else:
            machine.scheduler.add(job)
        if chance.random() < 0.6:
            going += machine.decide()
        while going and chance.random() < 0.5:
            machine.end(going.pop(chance.randrange(len(going))))
