"""How many wait for what, against a look at each of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis.stateful import invariant

from runner.scheduling import tally
from runner.scheduling.kinds import Dependency, Queue, Quota
from tests.unit.runner.scheduling.test_scheduler_properties import QUICK, People

if TYPE_CHECKING:
    import pytest

    from runner.scheduling.kinds import Cause
    from tests.unit.runner.scheduling.conftest import Machine

# What a job is counted under by a look at it alone, whatever its neighbours are.
EXACT: tuple[Cause, ...] = ("held", "dependency", "time", "no-queue", "queue-paused")


class Tallied(People):
    """The same people, and their jobs counted after whatever they do."""

    @invariant()
    def every_job_that_waits_is_counted_once(self) -> None:
        scheduler = self.world.scheduler
        found = scheduler.causes()
        assert sum(found.values()) == scheduler.waiting_count()
        assert all(count > 0 for count in found.values())

    @invariant()
    def what_needs_no_comparison_is_as_a_look_at_each_job_has_it(self) -> None:
        scheduler = self.world.scheduler
        state = scheduler._state
        each = Counter(map(scheduler.cause, state.waiting))
        found = scheduler.causes()
        # Told of its quota first; a deadline that has passed is told of at the next decision.
        if not any(state.beyond_quota(e) or state.times.is_over(e.job)
                   for e in state.waiting.values()):  # fmt: skip
            assert {c: found.get(c, 0) for c in EXACT} == {c: each[c] for c in EXACT}


TestTallied = Tallied.TestCase
TestTallied.settings = QUICK


def test_nothing_waits_nothing_is_counted(machine: type[Machine]) -> None:
    assert machine(2, 8, 8).scheduler.causes() == {}


def test_what_cannot_start_is_under_its_own_cause(machine: type[Machine]) -> None:
    m = machine(9, 8000, 8)
    m.add("held", is_held=True)
    m.add("later", not_before_ns=m.now + 1)
    m.add("after", after=(Dependency("other", "ok"),))
    m.quotas[2] = Quota(max_millicpus=1000)
    m.add("too much", 2, cpus=2000)
    m.decide()
    assert m.scheduler.causes() == {"held": 1, "time": 1, "dependency": 1, "quota-cpus": 1}


def test_a_full_machine_is_said_to_be_full_of_slots_or_of_what_the_first_one_needs(
    machine: type[Machine],
) -> None:
    m = machine(1, 8, 8)
    for name in ("a", "b", "c"):
        m.add(name)
    assert m.decide() == ["a"]
    assert m.scheduler.causes() == {"slots": 2}
    m = machine(9, 8, 8)
    for name in ("a", "b"):
        m.add(name, cpus=6)
    assert m.decide() == ["a"]
    assert m.scheduler.causes() == {"cpus": 1}


def test_a_cap_a_pause_and_a_group_are_told_of(machine: type[Machine]) -> None:
    m = machine(9, 8, 8, Queue("default"), Queue("capped", 0, 0), Queue("paused", paused=True))
    m.add("a", queue="capped")
    m.add("b", queue="paused")
    m.add("c", queue="nowhere")
    for name in ("g1", "g2", "g3"):
        m.add(name, group="array", group_cap=1)
    assert m.decide() == ["g1"]
    assert m.scheduler.causes() == {
        "queue-cap": 1, "queue-paused": 1, "no-queue": 1, "group-cap": 2,
    }  # fmt: skip


def test_a_daemon_that_is_drained_says_so_of_what_nothing_else_holds_back(
    machine: type[Machine],
) -> None:
    m = machine(9, 8, 8)
    m.add("a")
    m.add("b", is_held=True)
    assert m.decide(may_start=False) == []
    assert m.scheduler.causes() == {"draining": 1, "held": 1}


def test_a_cause_that_has_gone_is_not_counted_any_more(machine: type[Machine]) -> None:
    m = machine(1, 8, 8)
    job = m.add("a", is_held=True)
    m.scheduler.change(job._replace(is_held=False))
    assert m.decide() == ["a"]
    assert m.scheduler.causes() == {}
    m.add("b", not_before_ns=m.now + 5)
    m.now += 5
    m.decide()
    assert m.scheduler.causes() == {"slots": 1}


def test_many_users_and_priorities_do_not_make_it_slow(
    machine: type[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MOST_LANES", 3)
    m = machine(1, 8, 8)
    m.add("goes")
    m.decide()
    for priority in range(5):
        m.add(f"job {priority}", priority=priority)
    assert m.scheduler.causes() == {"slots": 3, "behind": 2}
