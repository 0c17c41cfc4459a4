"""Not before, deadlines, and a clock that is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.scheduling.kinds import Dependency

from .conftest import NOW, SECOND

if TYPE_CHECKING:
    from .conftest import Machine


def test_a_job_waits_for_its_time(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("a", not_before_ns=NOW + 5 * SECOND)
    assert m.decide() == []
    explained = m.scheduler.explain("a", m.now)
    assert explained.because[0].until_ns == explained.start_ns == NOW + 5 * SECOND
    assert m.scheduler.wake_ns(m.now) == NOW + 5 * SECOND
    m.now += 5 * SECOND
    assert m.why("a") == []
    assert m.decide() == ["a"]
    assert m.scheduler.wake_ns(m.now) is None


def test_a_clock_that_is_set_back_makes_it_wait_again(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("first")
    m.add("a", not_before_ns=NOW + 5 * SECOND)
    assert m.decide() == ["first"]
    m.now += 6 * SECOND
    assert m.decide() == []
    assert m.why("a") == ["slots"]
    m.now -= 3 * SECOND
    m.end("first")
    assert m.decide() == []
    assert m.why("a") == ["time"]
    assert m.scheduler.wake_ns(m.now) == NOW + 5 * SECOND
    m.now += 3600 * SECOND
    assert m.decide() == ["a"]


def test_a_clock_that_was_set_back_between_two_decisions_is_right(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("a", not_before_ns=NOW + 5 * SECOND)
    m.now += 6 * SECOND
    m.scheduler.explain("a", m.now)
    m.now -= 6 * SECOND
    assert m.decide() == []


def test_a_deadline_ends_what_waits_whatever_it_waits_for(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("going")
    m.decide()
    m.add("slots", deadline_ns=NOW + 2 * SECOND)
    m.add("held", is_held=True, deadline_ns=NOW + SECOND)
    m.add("later", deadline_ns=NOW + 9 * SECOND)
    assert m.scheduler.wake_ns(m.now) == NOW + SECOND
    m.now += 2 * SECOND
    assert "time" in m.why("held")
    assert m.scheduler.wake_ns(m.now) == m.now
    assert m.decide() == ["expire held", "expire slots"]
    assert m.decide() == []
    assert m.scheduler.wake_ns(m.now) == NOW + 9 * SECOND


def test_a_deadline_that_is_changed_counts(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    job = m.add("a", is_held=True, deadline_ns=NOW + 2, not_before_ns=NOW + 1)
    m.scheduler.change(job._replace(deadline_ns=None, not_before_ns=None))
    m.now += 5
    assert m.scheduler.wake_ns(m.now) is None
    assert m.decide() == []


def test_a_drain_expires_and_abandons_and_starts_nothing(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("a")
    m.add("b", deadline_ns=NOW)
    assert m.decide(may_start=False) == ["expire b"]
    assert m.why("a", may_start=False) == ["draining"]
    assert m.scheduler.cause("a") == "draining"
    assert m.decide() == ["a"]


def test_something_that_is_to_be_abandoned_is_to_be_asked_for_now(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("a", after=(Dependency("x", "ok"),), ended={"x": None})
    assert m.scheduler.wake_ns(m.now) == m.now
