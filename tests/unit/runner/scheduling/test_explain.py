"""Why a job waits, and when it will start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner.scheduling.kinds import Because, Dependency, Queue, Quota

from .conftest import NOW, SECOND

if TYPE_CHECKING:
    from .conftest import Machine


def test_a_job_that_starts_next_waits_for_nothing(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("a")
    m.add("b")
    explained = m.scheduler.explain("a", m.now)
    assert explained == ((), 0, NOW)
    assert m.scheduler.cause("a") is None
    assert m.why("b") == ["behind"]
    assert m.decide() == ["a"]


def test_who_does_not_wait_has_no_reason(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("a")
    m.decide()
    assert m.scheduler.cause("a") is None
    for name in ("a", "unknown"):
        with pytest.raises(KeyError):
            m.scheduler.explain(name, m.now)


def test_slots_say_whose_end_makes_room_and_when(machine: type[Machine]) -> None:
    m = machine(2, 0, 0)
    m.add("late", seconds=100)
    m.add("early", seconds=50)
    m.decide()
    m.add("a", seconds=10)
    m.add("b")
    explained = m.scheduler.explain("a", m.now)
    assert explained.because == (Because("slots", 1, 0, ("early",), until_ns=NOW + 50 * SECOND),)
    assert explained.start_ns == NOW + 50 * SECOND
    explained = m.scheduler.explain("b", m.now)
    assert [b.cause for b in explained.because] == ["slots", "behind"]
    assert (explained.ahead, explained.start_ns) == (1, NOW + 60 * SECOND)


def test_memory_says_what_it_needs_what_is_free_and_whose_end_makes_room(
    machine: type[Machine],
) -> None:
    m = machine(9, 10, 100)
    m.add("one", 2, memory=30, cpus=5, seconds=10)
    m.add("two", 3, memory=50, seconds=20)
    m.decide()
    m.add("a", memory=60, cpus=6)
    explained = m.scheduler.explain("a", m.now)
    assert explained.because == (
        Because("cpus", 6, 5, ("one",), until_ns=NOW + 10 * SECOND),
        Because("memory", 60, 20, ("two",), until_ns=NOW + 20 * SECOND),
    )
    assert explained.start_ns == NOW + 20 * SECOND


def test_without_time_limits_there_is_no_estimate_but_a_name(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("one", memory=8)
    m.decide()
    m.add("a", memory=5)
    explained = m.scheduler.explain("a", m.now)
    assert explained.because == (Because("memory", 5, 2, ("one",)),)
    assert explained.start_ns is None


def test_an_estimate_needs_a_time_limit_of_each_job_that_room_is_needed_of(
    machine: type[Machine],
) -> None:
    m = machine(1, 0, 0)
    m.add("going", seconds=10)
    m.decide()
    m.add("unlimited")
    m.add("a")
    assert m.scheduler.explain("unlimited", m.now).start_ns == NOW + 10 * SECOND
    assert m.scheduler.explain("a", m.now).start_ns is None


def test_dependencies_say_which_jobs_and_how(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("a", after=(Dependency("x", "ok"), Dependency("y", "started")), is_held=True)
    explained = m.scheduler.explain("a", m.now)
    assert explained.because == (
        Because("held"),
        Because("dependency", on=("x", "y"), kinds=("ok", "started")),
    )
    assert explained.start_ns is None


def test_not_all_of_a_great_many_jobs_are_named(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("a", after=tuple(Dependency(f"x{n}", "ok") for n in range(1000)))
    assert len(m.scheduler.explain("a", m.now).because[0].on) == 100


def test_quotas_say_how_much_is_left(machine: type[Machine]) -> None:
    m = machine(9, 10, 10)
    m.quotas[1] = Quota(2, 5, 6)
    m.add("going", memory=4, cpus=3, seconds=7)
    m.decide()
    m.add("memory", memory=3, priority=3)
    m.add("cpus", cpus=3, priority=2)
    assert m.decide() == []
    assert m.scheduler.explain("memory", m.now).because == (Because("quota-memory", 3, 2),)
    assert m.scheduler.explain("cpus", m.now).because == (
        Because("quota-cpus", 3, 2), Because("behind", on=("memory",)),
    )  # fmt: skip
    m.add("last", priority=9)
    assert m.decide() == ["last"]
    assert m.scheduler.explain("cpus", m.now).because[0] == Because(
        "quota-running", 1, 0, ("going",), until_ns=NOW + 7 * SECOND
    )


def test_caps_say_whose_end_makes_room(machine: type[Machine]) -> None:
    m = machine(9, 0, 0, Queue("default", 0, 1))
    m.add("going", seconds=7, group="g", group_cap=1)
    m.decide()
    m.add("a", group="g", group_cap=1)
    end = NOW + 7 * SECOND
    assert m.scheduler.explain("a", m.now).because == (
        Because("queue-cap", 1, 0, ("going",), until_ns=end),
        Because("group-cap", 1, 0, ("going",), until_ns=end),
    )


@pytest.mark.parametrize(
    ("queue", "cause"), [(Queue("q", paused=True), "queue-paused"), (Queue("other"), "no-queue")]
)
def test_a_queue_that_starts_nothing_is_named_as_the_cause(
    machine: type[Machine], queue: Queue, cause: str
) -> None:
    m = machine(9, 0, 0, queue)
    m.add("a", queue="q")
    m.decide()
    assert m.scheduler.cause("a") == cause
    assert m.scheduler.explain("a", m.now).because == (Because(cause),)


def test_ahead_counts_higher_jobs_of_the_queue_own_ones_and_users_who_come_first(
    machine: type[Machine],
) -> None:
    m = machine(1, 0, 0)
    m.add("going", 1)
    m.decide()
    for n in range(3):
        m.add(f"high{n}", 2, priority=1)
    m.add("first", 3)
    m.add("second", 1)
    m.add("third", 1)
    ahead = {name: m.scheduler.explain(name, m.now).ahead for name in ("high1", "first", "third")}
    assert ahead == {"high1": 1, "first": 3, "third": 5}
