"""What the torture holds groups and hooks against: each thing that is wrong differs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.torture import group_checks, group_plans
from tests.torture.group_checks import HookJob, Member, Order
from tests.torture.group_ledger import GroupLedger, GroupStory, GroupTrail
from tests.torture.group_plans import GroupPlan
from tests.torture.histories import Event
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from pathlib import Path

PLAN = GroupPlan(
    number=3, token="g1-3", user="alice", is_flow=True, members=(0, 1, 2),  # noqa: S106
    needs=((), ((0, "ok"),), ((1, "fail"),)), failures=(1, 0, 0), failure=7, max_running=1,
    queue="default", has_hook=True, twins=1, remove=False,
)  # fmt: skip
ARRAY = PLAN._replace(is_flow=False, members=(4, 7, 10), needs=())


def result(code: int | None = 0, reason: str = "exit", **more: Any) -> dict[str, Any]:
    return {"reason": reason, "exit_code": code, "detail": None, "stopped_by_uid": None, **more}


SKIPPED = result(None, "dependency")
WELL = {0: [result(7), result()], 1: [SKIPPED, result()], 2: [result()]}


def summary(well: int, failed: int, skipped: int, **more: Any) -> dict[str, Any]:
    counts = {"queued": 0, "starting": 0, "running": 0, "paused": 0}
    counts |= {"ok": well, "failed": failed, "skipped": skipped}
    return {"state": "ended", "ok": not failed, "counts": counts, **more}


def check(results: group_checks.Results, told: dict[str, Any], **trail: Any) -> None:
    group_checks.check_end(PLAN, GroupTrail(3, **trail), told, results)


# Plans


def test_a_seed_plans_the_same_groups_always() -> None:
    first = [group_plans.group_plan(5, number) for number in range(300)]
    assert first == [group_plans.group_plan(5, number) for number in range(300)]
    assert {plan.is_flow for plan in first} == {True, False}
    assert {on for plan in first for step in plan.needs for _, on in step} == {
        "ok", "any", "fail", "started",
    }  # fmt: skip


def test_steps_come_after_earlier_ones_and_jobs_of_arrays_after_none() -> None:
    for plan in (group_plans.group_plan(6, number) for number in range(200)):
        assert len(plan.failures) == len(plan.members) >= 2
        for step, needs in enumerate(plan.needs):
            assert all(on < step for on, _ in needs)
        assert plan.is_flow or not plan.needs


def test_the_request_says_what_is_planned() -> None:
    assert group_plans.array(ARRAY, "/share")["ranges"] == [(4, 10, 3)]
    flow = group_plans.flow(PLAN, "/share")
    assert [step["needs"] for step in flow["steps"]] == [
        [], [{"step": "step-0", "on": "ok"}], [{"step": "step-1", "on": "fail"}],
    ]  # fmt: skip
    assert flow["hooks"][0]["on"] == ["ended"]


# Ends


def test_a_group_that_ended_as_planned_is_right() -> None:
    check(WELL, summary(3, 0, 0))
    # One that never ran is no good end either: what comes after a failure does.
    check({0: [result(7)], 1: [SKIPPED], 2: [result()]}, summary(1, 1, 1))
    late = [result(None, "stopped", stopped_by_uid=0), SKIPPED]
    check({**WELL, 2: late}, summary(2, 0, 1), stopped_by=[0])


@pytest.mark.parametrize(
    ("results", "told", "match"),
    [
        ({0: WELL[0], 1: WELL[1]}, summary(3, 0, 0), "its jobs are"),
        ({**WELL, 0: [result(), result()]}, summary(3, 0, 0), "attempt 1 of job 0"),
        ({**WELL, 0: [result(7), result(7)]}, summary(2, 1, 0), "attempt 2 of job 0"),
        ({**WELL, 0: [result(None, "lost"), result()]}, summary(3, 0, 0), "attempt 1 of job 0"),
        ({**WELL, 0: [result(7), SKIPPED]}, summary(2, 0, 1), "attempt 2 of job 0"),
        ({**WELL, 1: [SKIPPED]}, summary(2, 0, 1), "ended well"),
        (WELL, summary(3, 0, 0, ok=False), "told ended, False"),
        (WELL, summary(3, 0, 0, state="running"), "told running"),
        (WELL, summary(1, 1, 1), "its jobs come to"),
    ],
)
def test_a_group_that_ended_otherwise_differs(
    results: group_checks.Results, told: dict[str, Any], match: str
) -> None:
    with pytest.raises(DifferenceError, match=match):
        check(results, told)


def test_what_was_disturbed_may_end_otherwise_and_in_no_other_way() -> None:
    lost = {**WELL, 0: [result(None, "lost"), result()]}
    check(lost, summary(3, 0, 0), killed=True)
    check(lost, summary(3, 0, 0), power_cut=True)
    stopped = {**WELL, 0: [result(None, "stopped", stopped_by_uid=4001), result()]}
    check(stopped, summary(3, 0, 0), stopped_by=[4001])
    with pytest.raises(DifferenceError):
        check(stopped, summary(3, 0, 0), stopped_by=[0])
    full = {**WELL, 0: [result(None, "launch-error", detail="No space left on device"), result()]}
    check(full, summary(3, 0, 0), disk_full=True)
    with pytest.raises(DifferenceError):
        check(full, summary(3, 0, 0))


def test_an_end_that_was_told_does_not_change() -> None:
    trail = GroupTrail(3, told=group_checks.short(WELL))
    group_checks.check_unchanged(trail, WELL)
    with pytest.raises(DifferenceError, match="told"):
        group_checks.check_unchanged(trail, {**WELL, 1: [SKIPPED]})


# Starts


def test_each_attempt_runs_once_and_those_that_were_told_alone() -> None:
    trail = GroupTrail(3, told=group_checks.short(WELL))
    right = {(0, 1): 1, (0, 2): 1, (1, 2): 1, (2, 1): 1}
    group_checks.check_starts(PLAN, trail, right)
    for wrong in ({**right, (0, 1): 2}, {(0, 1): 1, (0, 2): 1}, {**right, (1, 3): 1}):
        with pytest.raises(DifferenceError):
            group_checks.check_starts(PLAN, trail, wrong)


# Order


def follow(plan: GroupPlan, *happened: tuple[int, str], caps: list[int | None]) -> list[str]:
    members = {f"job-{member}": Member(plan, member) for member in plan.members}
    events = [Event(n, f"job-{m}", kind, {}) for n, (m, kind) in enumerate(happened, 1)]
    return Order(members, {plan.number: caps}).follow(events)


def test_a_flow_in_its_order_is_right() -> None:
    life = [(0, "launch"), (0, "started"), (0, "finish"), (1, "launch"), (1, "finish")]
    again = [(0, "retry"), (1, "retry"), *life, (2, "launch"), (2, "requeue"), (2, "launch")]
    assert follow(PLAN, *life, *again, caps=[1]) == []


def test_a_step_before_its_turn_differs() -> None:
    (wrong,) = follow(PLAN, (0, "launch"), (1, "launch"), caps=[None])
    assert "began 1 before 0" in wrong
    early = [(0, "launch"), (0, "finish"), (0, "retry"), (1, "launch")]
    assert len(follow(PLAN, *early, caps=[None])) == 1


def test_more_than_the_cap_differs() -> None:
    both = [(4, "launch"), (7, "launch")]
    assert "of at most 1" in follow(ARRAY, *both, caps=[1])[0]
    assert follow(ARRAY, *both, caps=[1, 2]) == []
    assert follow(ARRAY, *both, (10, "launch"), caps=[1, None]) == []
    assert follow(ARRAY, both[0], (4, "requeue"), both[1], caps=[1]) == []


# Hooks

HOOK = HookJob("j", "hook.g1-3.ended", [result(None, "lost"), result()])
LINE = "g1-3 ended j 2"


def hooks(
    *, due: int = 1, jobs: tuple[HookJob, ...] = (HOOK,), lines: tuple[str, ...] = (LINE,),
    disk_full: bool = False,
) -> list[str]:  # fmt: skip
    named = Counter({"hook.g1-3.ended": due})
    return group_checks.check_hooks(named, jobs, lines, disk_full=disk_full)


def test_a_hook_that_was_run_once_is_right() -> None:
    assert hooks() == []
    assert hooks(lines=(LINE, "g1-3 ended j 1")) == []


def test_hooks_that_were_run_otherwise_differ() -> None:
    assert "was due 2 times, and run 1" in hooks(due=2)[0]
    assert "was due 0 times, and run 1" in hooks(due=0)[0]
    assert "2 times" in hooks(lines=(LINE, LINE))[0]
    assert "did not say" in hooks(lines=())[0]
    assert "of no hook" in hooks(lines=(LINE, "g1-3 ended x 1"))[0]
    failed = HOOK._replace(results=[result(99)])
    assert "ended so" in hooks(jobs=(failed,), lines=())[0]
    full = HOOK._replace(results=[result(None, "launch-error")])
    assert hooks(jobs=(full,), lines=(), disk_full=True) == []
    assert hooks(jobs=(full,), lines=()) != []


# The ledger


def test_a_ledger_survives_and_knows_what_was_open(tmp_path: Path) -> None:
    path = str(tmp_path / "groups")
    ledger = GroupLedger(path)
    ledger.note("submit", 0, cap=2)
    ledger.note("accepted", 0, group="g")
    ledger.note("cap", 0, cap=None)
    ledger.note("told", 0, ok=True, members=group_checks.short(WELL), jobs={0: "a"})
    ledger.note("submit", 1, cap=None)
    ledger.note("disk", full=True)
    ledger.close()
    again = GroupLedger(path)
    again.close()
    done, open_one = again.trail(0), again.trail(1)
    assert (done.group, done.caps, done.jobs) == ("g", [2, None], {0: "a"})
    assert done.told == group_checks.short(WELL)
    assert (done.power_cut, open_one.power_cut, open_one.disk_full) == (False, True, True)
    assert again.story.next_number == 2
    assert [trail.number for trail in again.story.acknowledged()] == [0]


def test_an_end_is_none_any_more_once_it_is_tried_again() -> None:
    told = {"what": "told", "number": 0, "ok": False, "members": {"0": [["exit", 7]]}, "jobs": {}}
    story = GroupStory([{"what": "submit", "number": 0, "cap": 1}, told])
    assert story.trails[0].told == {0: [("exit", 7)]}
    story.add({"what": "again", "number": 0})
    assert story.trails[0].told is None
    with pytest.raises(ValueError, match="no such line"):
        story.add({"what": "sung", "number": 0})
