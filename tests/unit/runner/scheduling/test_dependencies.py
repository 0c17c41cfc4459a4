"""Jobs that come after others: met, never met, all the way down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from runner.scheduling.dependencies import is_met
from runner.scheduling.kinds import Dependency, End, Going, Needs

from .conftest import NOW

if TYPE_CHECKING:
    from runner.scheduling.kinds import Met

    from .conftest import Machine

OK = End(ok=True, has_started=True)
FAILED = End(ok=False, has_started=True)
NEVER = End(ok=False, has_started=False)
KINDS: tuple[Met, ...] = ("ok", "any", "fail", "started")


def after(*pairs: str) -> tuple[Dependency, ...]:
    return tuple(Dependency(on_id, kind) for on_id, kind in (pair.split(":") for pair in pairs))


@pytest.mark.parametrize(
    ("end", "met"),
    [
        (OK, ("ok", "any", "started")),
        (FAILED, ("any", "fail", "started")),
        (NEVER, ("any", "fail")),
    ],
)
def test_each_end_is_what_was_waited_for_or_is_not(
    machine: type[Machine], end: End, met: tuple[Met, ...]
) -> None:
    for kind in KINDS:
        assert is_met(kind, end) == (kind in met)
        m = machine(9, 0, 0)
        m.add("a", is_held=True)
        m.add("b", after=after(f"a:{kind}"))
        assert m.why("b") == ["dependency"]
        assert m.scheduler.settle("a", end) == (("b",) if kind in met else ())
        assert m.decide() == (["b"] if kind in met else [f"abandon b: {kind} a"])
        assert m.decide() == []


def test_started_is_met_when_the_command_runs(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("a")
    m.add("b", after=after("a:started"))
    assert m.decide() == ["a"]
    assert m.decide() == []
    assert m.scheduler.has_started("a") == ("b",)
    assert m.scheduler.has_started("a") == ()
    assert m.decide() == ["b"]
    assert m.end("a") == ()


def test_started_stays_met_when_the_attempt_fails(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    job = m.add("a")
    m.add("b", after=after("a:started"), is_held=True)
    m.decide()
    m.scheduler.has_started("a")
    m.scheduler.release("a")
    m.scheduler.add(job._replace(not_before_ns=NOW + 1))
    m.scheduler.change(m.scheduler.get("b")._replace(is_held=False))
    assert m.decide() == ["b"]


def test_a_job_that_runs_already_has_started_for_those_who_come_later(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 0)
    m.scheduler.adopt(Going("a", 1, "default", Needs(), NOW))
    m.add("b", after=after("a:started"))
    assert m.scheduler.get("b").after == ()
    assert m.decide() == ["b"]


def test_all_of_several_have_to_be_met(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("c", after=after("a:ok", "b:any"))
    m.scheduler.settle("b", FAILED)
    assert m.decide() == []
    assert m.scheduler.get("c").after == after("a:ok")
    m.scheduler.settle("a", OK)
    assert m.decide() == ["c"]


def test_two_kinds_on_one_job_are_two_dependencies(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("a")
    m.add("b", after=after("a:started", "a:ok"))
    m.decide()
    assert m.scheduler.has_started("a") == ("b",)
    assert m.decide() == []
    assert m.end("a", ok=False) == ()
    assert m.decide() == ["abandon b: ok a"]


@pytest.mark.parametrize(
    ("end", "decided"), [(OK, ["b"]), (FAILED, ["abandon b: ok a"]), (None, ["abandon b: ok a"])]
)
def test_after_a_job_that_has_ended_before_it_was_submitted(
    machine: type[Machine], end: End | None, decided: list[str]
) -> None:
    m = machine(9, 0, 0)
    m.add("b", after=after("a:ok"), ended={"a": end})
    assert m.decide() == decided


def test_a_removed_job_has_become_nothing_that_anybody_waits_for(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    for kind in KINDS:
        m.add(kind, after=after(f"a:{kind}"), ended={"a": None})
    assert m.decide() == [f"abandon {kind}: {kind} a" for kind in KINDS]


def test_what_is_abandoned_is_the_end_of_those_after_it_in_the_same_decision(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 0)
    m.add("b", after=after("a:ok"))
    m.add("c", after=after("b:ok"))
    m.add("d", after=after("c:started"))
    m.add("either way", after=after("b:any"))
    m.add("on failure", after=after("c:fail", "b:fail"))
    m.scheduler.settle("a", FAILED)
    assert m.decide() == ["abandon b: ok a", "abandon c: ok b", "abandon d: started c"]
    # Nothing comes after an end that is not written down: who is met by it is told when it is
    # settled, once.
    assert m.decide() == []
    assert m.scheduler.settle("b", NEVER) == ("either way", "on failure")
    assert m.scheduler.settle("b", NEVER) == ()
    assert m.decide() == ["either way"]
    assert m.scheduler.settle("c", NEVER) == ("on failure",)
    assert m.decide() == ["on failure"]


def test_a_chain_of_ten_thousand_falls_at_once(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    for n in range(1, 10_001):
        m.add(f"j{n}", after=after(f"j{n - 1}:ok"))
    m.scheduler.settle("j0", FAILED)
    began = time.monotonic()
    ends: list[str] = []
    while not ends or m.scheduler.wake_ns(m.now) == m.now:
        some = m.decide()
        # In pieces: nobody wants to hear of ten thousand in one breath.
        assert 0 < len(some) <= 1000
        ends += some
    assert (len(ends), ends[-1]) == (10_000, "abandon j10000: ok j9999")
    assert time.monotonic() - began < 5
    assert m.scheduler.waiting_count() == 0


def test_an_expired_job_takes_those_after_it_along(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("a", is_held=True, deadline_ns=NOW)
    m.add("b", after=after("a:ok"))
    m.add("c", after=after("a:fail"))
    assert m.decide(may_start=False) == ["expire a", "abandon b: ok a"]
    assert m.decide() == []
    m.scheduler.settle("a", NEVER)
    assert m.decide() == ["c"]


def test_a_job_whose_deadline_has_passed_and_that_is_doomed_ends_once(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 0)
    m.add("b", after=after("a:ok"), ended={"a": FAILED}, deadline_ns=NOW)
    assert m.decide() == ["expire b"]
    assert m.decide() == []


def test_a_doomed_job_that_is_stopped_first_is_not_abandoned(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("b", after=after("a:ok"), ended={"a": FAILED})
    m.add("c", after=after("b:ok"))
    assert m.why("b") == ["dependency"]
    m.scheduler.drop("b")
    assert m.decide() == ["abandon c: ok b"]


def test_a_change_keeps_what_is_waited_for(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    job = m.add("b", after=after("a:ok"))
    m.scheduler.change(job._replace(priority=5, after=()))
    assert m.decide() == []
    assert m.scheduler.get("b").after == after("a:ok")
    with pytest.raises(KeyError):
        m.scheduler.change(job._replace(id="c"))


def test_a_dependent_that_is_dropped_is_forgotten(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.add("b", after=after("a:ok", "x:any"))
    m.scheduler.drop("b")
    assert m.scheduler.settle("a", OK) == ()
    assert m.scheduler._state.dependencies._dependents == {}
