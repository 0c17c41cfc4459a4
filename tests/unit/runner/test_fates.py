"""What the end of a job means to those after it, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest

from runner import fates, outcome, records, stored
from runner.lifecycle import State
from runner.rows import Fate
from runner.scheduling.kinds import Abandon, End, Expire

PARENT = "3f2a0000-0000-4000-8000-000000000001"
CHILD = "3f2a0000-0000-4000-8000-000000000002"
GRANDCHILD = "3f2a0000-0000-4000-8000-000000000003"


def ended(verdict: outcome.Outcome, started_ns: int | None = 1) -> Fate:
    return Fate(State.ENDED, started_ns, verdict.reason, fates.result_of(verdict))


def exited(status: int) -> outcome.Outcome:
    return outcome.Outcome(outcome.EXIT, status, None, status)


def test_ok_is_an_end_by_itself_with_status_0_and_nothing_else() -> None:
    assert fates.end_of(ended(exited(0))) == End(ok=True, has_started=True)
    assert fates.end_of(ended(exited(3))) == End(ok=False, has_started=True)
    stopped = outcome.Outcome(outcome.STOPPED, 0, None, 0)
    assert fates.end_of(ended(stopped)) == End(ok=False, has_started=True)


def test_a_job_that_never_ran_has_not_started() -> None:
    assert fates.end_of(ended(outcome.stopped_in_queue(0), None)) == fates.NEVER_RAN


def test_a_damaged_result_is_no_success() -> None:
    assert not fates.end_of(Fate(State.ENDED, 1, outcome.EXIT, b"rubbish")).ok


@pytest.mark.parametrize(
    ("end", "met"),
    [(End(ok=True, has_started=True), {"any", "ok", "started"}),
     (End(ok=False, has_started=True), {"any", "fail", "started"}),
     (End(ok=False, has_started=False), {"any", "fail"})],
)  # fmt: skip
def test_an_end_meets_what_it_is(end: End, met: set[str]) -> None:
    assert set(fates.met_by(end)) == met


def told(action: Any, known: dict[str, Fate], *more: Any) -> outcome.Outcome:
    return dict(fates.verdicts([action, *more], known))[action.id]


def test_what_the_store_says_of_an_end_counts_before_what_its_result_says() -> None:
    skipped = Fate(State.ENDED, None, outcome.DEPENDENCY, None, "skipped")
    assert fates.end_of(skipped) == fates.NEVER_RAN
    assert fates.end_of(Fate(State.ENDED, 5, outcome.EXIT, b"rubbish", "ok")).ok
    assert not fates.end_of(ended(exited(0))._replace(fate="failed")).ok


def test_who_can_never_start_is_told_after_which_group() -> None:
    for fate, kind, words in (("failed", "ok", "some failed"), ("ok", "fail", "none failed")):
        group = Fate(State.ENDED, 5, None, None, fate)
        action = Abandon(CHILD, PARENT, kind)  # type: ignore[arg-type]
        told_of = told(action, {PARENT: group}).detail
        assert told_of == f"it was to come after group 3f2a0000 ({kind}), of which {words}"


def test_who_can_never_start_is_told_after_which_job_and_how_that_ended() -> None:
    verdict = told(Abandon(CHILD, PARENT, "ok"), {PARENT: ended(exited(3))})
    assert verdict.reason == outcome.DEPENDENCY
    assert verdict.exit_status == 125
    assert verdict.detail == "it was to come after job 3f2a0000 (ok), which ended: exit, status 3"


def test_in_a_flow_it_is_told_after_which_step() -> None:
    action = Abandon(CHILD, PARENT, "ok")
    known, steps = {PARENT: ended(exited(1))}, {PARENT: "build"}
    ((_, verdict),) = fates.verdicts([action], known, steps)
    assert verdict.detail == (
        "it was to come after step build (3f2a0000, ok), which ended: exit, status 1"
    )


def test_of_a_chain_that_ends_at_once_each_is_told_of_the_one_before() -> None:
    first = Abandon(CHILD, PARENT, "ok")
    known = {PARENT: ended(exited(3)), CHILD: Fate(State.QUEUED, None, None, None)}
    verdict = told(Abandon(GRANDCHILD, CHILD, "ok"), known, first)
    assert verdict.detail == "it was to come after job 3f2a0000 (ok), which ended: dependency"
    late = Expire(CHILD)
    assert "ended: deadline" in str(told(Abandon(GRANDCHILD, CHILD, "ok"), known, late).detail)


def test_a_job_that_was_removed_is_said_to_be() -> None:
    verdict = told(Abandon(CHILD, PARENT, "any"), {})
    assert verdict.detail == "it was to come after job 3f2a0000 (any), which was removed"


def test_who_waited_too_long_ends_for_its_deadline() -> None:
    assert told(Expire(CHILD), {}) == outcome.past_deadline()


def test_the_result_of_a_job_that_never_ran_has_every_field() -> None:
    result = stored.result(fates.result_of(outcome.past_deadline()))
    assert result["reason"] == "deadline"
    assert set(result) == set(stored.RESULT_FIELDS)
    assert records.unpack(fates.result_of(outcome.past_deadline()))["exit_status"] == 124


def test_jobs_are_judged_by_what_they_have_become_so_far() -> None:
    known = {
        "good": ended(exited(0)),
        "bad": ended(exited(1), None),
        "runs": Fate(State.RUNNING, 5, None, None),
        "waits": Fate(State.QUEUED, None, None, None),
    }
    judged, meetings = fates.judged([*known, "gone"], known)
    assert judged == {
        "gone": None,
        "good": End(ok=True, has_started=True),
        "bad": End(ok=False, has_started=False),
    }
    assert sorted(meetings) == [
        ("bad", "any"), ("bad", "fail"),
        ("good", "any"), ("good", "ok"), ("good", "started"),
        ("runs", "started"),
    ]  # fmt: skip
