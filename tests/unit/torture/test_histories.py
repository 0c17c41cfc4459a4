"""Events in an order that cannot be differ, and so do jobs that came before their turn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.torture import histories
from tests.torture.histories import Event, History, Target
from tests.torture.ledger import Trail
from tests.torture.verdicts import DifferenceError

OK = {"reason": "exit", "exit_code": 0}
FAILED = {"reason": "exit", "exit_code": 1}


def told(*kinds: str, job: str = "a", start: int = 1, **data: Any) -> list[Event]:
    return [Event(start + at, job, kind, data) for at, kind in enumerate(kinds)]


def history(*kinds: str, start: int = 1, **data: Any) -> History:
    return histories.histories(told(*kinds, start=start, **data))["a"]


def test_a_whole_life_is_in_order() -> None:
    found = history(
        "submit", "hold", "release", "launch", "requeue", "move", "launch", "started", "pause",
        "resume", "retry", "launch", "started", "finish", "remove", reason="exit",
    )  # fmt: skip
    assert (found.state, found.retries, found.reason) == ("removed", 1, "exit")
    assert (found.launched_at, found.started_at, found.finished_at) == (4, 8, 14)


@pytest.mark.parametrize(
    "kinds",
    [
        ("launch",), ("submit", "submit"), ("submit", "started"), ("submit", "launch", "launch"),
        ("submit", "finish", "finish"), ("submit", "finish", "launch"), ("submit", "remove"),
        ("submit", "finish", "remove", "finish"),
    ],
)  # fmt: skip
def test_events_that_cannot_follow_differ(kinds: tuple[str, ...]) -> None:
    with pytest.raises(DifferenceError, match="of a job that is"):
        history(*kinds)


def test_an_event_that_comes_twice_differs() -> None:
    (event,) = told("submit")
    with pytest.raises(DifferenceError, match="event 1 after event 1"):
        histories.histories([event, event])


def test_only_a_job_that_has_ended_is_retried_by_hand() -> None:
    assert history("submit", "finish", "retry", by_uid=0).state == "queued"
    with pytest.raises(DifferenceError, match="a retry"):
        history("submit", "finish", "retry")
    with pytest.raises(DifferenceError, match="a retry"):
        history("submit", "launch", "retry", by_uid=0)


def test_what_was_told_has_its_events() -> None:
    ended = history("submit", "finish", reason="exit")
    histories.check_told(ended, Trail(0, result=OK))
    for trail in (Trail(0, result={"reason": "lost"}), Trail(0, result=OK, attempts=[{}])):
        with pytest.raises(DifferenceError):
            histories.check_told(ended, trail)
    with pytest.raises(DifferenceError):
        histories.check_told(history("submit", "launch"), Trail(0, result=OK))


TARGET = ("submit", "launch", "started", "finish")


@pytest.mark.parametrize(
    ("on", "result", "right"),
    [
        ("ok", OK, True), ("ok", FAILED, False), ("fail", FAILED, True), ("fail", OK, False),
        ("any", OK, True), ("any", FAILED, True), ("started", OK, True),
    ],
)  # fmt: skip
def test_a_job_runs_when_its_target_came_to_that_and_ends_when_it_did_not(
    on: str, result: dict[str, Any], *, right: bool
) -> None:
    targets = {7: Target(Trail(7, result=result), history(*TARGET))}
    ran = history(*TARGET, start=10)
    never = history("submit", "finish", start=10)
    has_run = Trail(8, after=[(7, on)], result=OK)
    was_ended = Trail(8, after=[(7, on)], result={"reason": "dependency"})
    good, bad = ((has_run, ran), (was_ended, never))[:: 1 if right else -1]
    histories.check_after(*good, targets)
    with pytest.raises(DifferenceError):
        histories.check_after(*bad, targets)


def test_a_job_that_starts_too_early_differs() -> None:
    slow = history("submit", "launch", "started", "pause", "resume", "finish")
    targets = {7: Target(Trail(7, result=OK), slow)}
    early = history(*TARGET, start=3)
    histories.check_after(Trail(8, after=[(7, "started")], result=OK), early, targets)
    with pytest.raises(DifferenceError, match="started before"):
        histories.check_after(Trail(8, after=[(7, "ok")], result=OK), early, targets)
