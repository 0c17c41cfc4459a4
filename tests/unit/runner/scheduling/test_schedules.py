from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from runner.scheduling.calendar import MINUTE_NS, SECOND_NS, Calendar, read
from runner.scheduling.schedules import CORRECTED_NS, LATE_NS, MOST_AT_ONCE, Due, Missed, look

HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
# 2026-01-01.
START = 1_767_225_600 * SECOND_NS
BERLIN = ZoneInfo("Europe/Berlin")


def each(text: str) -> Calendar:
    return read(text, UTC, START)


def looked(text: str, now_ns: int, missed: Missed = "once", *, handled_ns: int = START) -> Due:
    return look(each(text), handled_ns, now_ns, missed=missed)


def test_nothing_is_run_before_its_time() -> None:
    due = looked("*/5 * * * *", START + 5 * MINUTE_NS - 1)
    assert due == Due((), 0, START, START + 5 * MINUTE_NS)


def test_a_time_is_run_when_it_has_come_and_the_next_one_is_waited_for() -> None:
    now = START + 5 * MINUTE_NS
    assert looked("*/5 * * * *", now) == Due((now,), 0, now, now + 5 * MINUTE_NS)


def test_of_many_that_were_missed_the_newest_is_run_once() -> None:
    now = START + 2 * HOUR_NS + 1
    due = looked("*/5 * * * *", now)
    assert due.runs == (START + 2 * HOUR_NS,)
    assert due.skipped == 23
    assert due.handled_ns == now


def test_what_was_missed_is_skipped_where_that_is_asked_for() -> None:
    assert looked("@hourly", START + HOUR_NS + LATE_NS, "skip").runs == (START + HOUR_NS,)
    late = looked("@hourly", START + HOUR_NS + LATE_NS + 1, "skip")
    assert late.runs == ()
    assert late.skipped == 1
    assert late.next_ns == START + 2 * HOUR_NS


def test_all_that_were_missed_are_run_the_earliest_first() -> None:
    due = looked("@hourly", START + 3 * HOUR_NS, "all")
    assert due.runs == tuple(START + n * HOUR_NS for n in (1, 2, 3))
    assert due.skipped == 0


def test_of_more_than_can_be_made_up_for_the_newest_are() -> None:
    now = START + 400 * DAY_NS
    due = looked("@hourly", now, "all")
    assert len(due.runs) == MOST_AT_ONCE
    assert due.runs[-1] == now
    assert due.runs[0] == now - (MOST_AT_ONCE - 1) * HOUR_NS


def test_a_clock_that_is_set_back_a_little_runs_nothing_again() -> None:
    now = START + 5 * HOUR_NS
    handled = looked("*/5 * * * *", now).handled_ns
    back = looked("*/5 * * * *", now - 2 * HOUR_NS, "all", handled_ns=handled)
    assert back.runs == ()
    assert back.handled_ns == handled
    assert back.next_ns == now + 5 * MINUTE_NS


def test_a_clock_that_was_wrong_by_years_does_not_stop_a_schedule_for_years() -> None:
    due = looked("*/5 * * * *", START, handled_ns=START + 4 * 365 * DAY_NS)
    assert due == Due((), 0, START, START + 5 * MINUTE_NS)


def test_while_a_run_goes_on_another_is_passed_over() -> None:
    now = START + HOUR_NS
    due = look(each("@hourly"), START, now, missed="all", most=0)
    assert due == Due((), 1, now, now + HOUR_NS)


def test_where_no_two_may_go_at_once_the_newest_is_run() -> None:
    now = START + 3 * HOUR_NS
    due = look(each("@hourly"), START, now, missed="all", most=1)
    assert due == Due((now,), 2, now, now + HOUR_NS)


TEXTS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "@hourly", "30 2 * * *", "*/20 0-3 * * *", "@every 90s"]
)
# The clock goes on, or is set, forward or back; in between it is looked at, or nobody is there.
MOVES = st.lists(
    st.one_of(
        st.integers(0, 3 * MINUTE_NS),
        st.integers(0, 3 * DAY_NS),
        st.integers(-CORRECTED_NS, 0),
    ),
    max_size=40,
)


@given(TEXTS, st.sampled_from(["skip", "once", "all"]), MOVES)
def test_whatever_the_clock_does_no_time_is_run_twice(
    text: str, missed: Missed, moves: list[int]
) -> None:
    plan = read(text, BERLIN, START)
    # Some days before the clocks are set forward.
    handled = now = latest = START + 85 * DAY_NS
    run: list[int] = []
    for move in moves:
        # Not further back than a change of the clock may be, from when it was dealt with last.
        now = max(now + move, latest - CORRECTED_NS)
        due = look(plan, handled, now, missed=missed)
        assert all(handled < time_ns <= now for time_ns in due.runs)
        assert due.handled_ns >= handled
        assert due.next_ns is not None
        assert due.next_ns > due.handled_ns
        run += due.runs
        handled = due.handled_ns
        latest = max(latest, now)
    assert run == sorted(set(run))


@given(TEXTS, st.integers(1, 30), st.lists(st.integers(1, 59 * SECOND_NS), max_size=200))
def test_looked_at_often_enough_every_time_is_run(text: str, day: int, steps: list[int]) -> None:
    plan = read(text, BERLIN, START)
    begin = handled = now = START + (70 + day) * DAY_NS
    run: list[int] = []
    for step in steps:
        now += step
        due = look(plan, handled, now, missed="skip")
        handled = due.handled_ns
        run += due.runs
    expected, time_ns = [], begin
    while (following := plan.after(time_ns)) is not None and following <= now:
        expected.append(following)
        time_ns = following
    assert run == expected


@given(TEXTS, st.integers(1, 3 * DAY_NS), st.integers(1, 3 * DAY_NS))
def test_a_crash_before_the_end_of_a_look_makes_no_time_another_one(
    text: str, first: int, more: int
) -> None:
    # The runs of a look that was not written down: the next look has them all, or none of their
    # times but newer ones. What was run is then known by its time.
    plan = read(text, BERLIN, START)
    begin = START + 85 * DAY_NS
    for missed in ("once", "all"):
        lost = look(plan, begin, begin + first, missed=missed)
        again = look(plan, begin, begin + first + more, missed=missed)
        known = set(_all(plan, begin, begin + first + more))
        assert set(lost.runs) <= known
        assert set(again.runs) <= known


def _all(plan: Calendar, begin: int, end: int) -> list[int]:
    found, time_ns = [], begin
    while (following := plan.after(time_ns)) is not None and following <= end:
        found.append(following)
        time_ns = following
    return found
