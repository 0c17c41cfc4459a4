from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from runner.scheduling import calendar, cron
from runner.scheduling.calendar import MINUTE_NS, SECOND_NS, read

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE = timedelta(minutes=1)

# Clocks are set by an hour, by half an hour, at midnight, at one minute past it, twice a year for
# a month, by a whole day.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 7, 18, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 31, 18, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 6, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 12, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 12, tzinfo=UTC)),
    ("America/St_Johns", datetime(2011, 3, 12, 18, tzinfo=UTC)),
    ("America/St_Johns", datetime(2010, 11, 6, 18, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 14, 18, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2026, 3, 28, 12, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 10, 31, 18, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 29, 22, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 1, 1, 3, tzinfo=UTC)),
    ("UTC", datetime(2026, 12, 31, 12, tzinfo=UTC)),
]
DAY_MINUTES = 1440


def ns(moment: datetime) -> int:
    return round(moment.timestamp()) * SECOND_NS


def at(time_ns: int | None, zone: str) -> str:
    assert time_ns is not None
    return datetime.fromtimestamp(time_ns // SECOND_NS, ZoneInfo(zone)).isoformat()


def following(text: str, zone: str, start: str, count: int) -> list[str]:
    tz = ZoneInfo(zone)
    plan = read(text, tz, 0)
    time_ns = ns(datetime.fromisoformat(start).replace(tzinfo=tz))
    found = []
    for _ in range(count):
        later = plan.after(time_ns)
        assert later is not None
        assert later > time_ns
        time_ns = later
        found.append(at(later, zone))
    return found


# As cron itself would find them: minute after minute, with nothing that is clever


@cache
def shown_minutes(zone: str, start: datetime, minutes: int) -> list[tuple[datetime, datetime]]:
    tz = ZoneInfo(zone)
    moments = [start + number * MINUTE for number in range(minutes)]
    return [(m, m.astimezone(tz).replace(tzinfo=None, fold=0)) for m in moments]


def allows(fields: cron.Cron, wall: datetime) -> bool:
    return (
        wall.minute in fields.minutes
        and wall.hour in fields.hours
        and wall.month in fields.months
        and fields.has_day(wall)
    )


def by_wildcard(fields: cron.Cron, shown: list[tuple[datetime, datetime]]) -> Iterator[datetime]:
    return (moment for moment, wall in shown if allows(fields, wall))


def by_fixed_time(fields: cron.Cron, shown: list[tuple[datetime, datetime]]) -> list[datetime]:
    """A minute runs what is due at it and at those that the clocks skipped to get there.

    Nothing that the clocks have shown or passed already is due again.
    """
    latest = shown[0][1] - MINUTE
    found = []
    for moment, wall in shown:
        passed = [latest + n * MINUTE for n in range(1, (wall - latest) // MINUTE + 1)]
        if any(allows(fields, each) for each in passed):
            found.append(moment)
        latest = max(latest, wall)
    return found


def numbers(first: int, last: int) -> st.SearchStrategy[str]:
    number = st.integers(first, last)
    spans = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(st.one_of(spans, st.just("*")), st.integers(1, 30)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    parts = st.one_of(number.map(str), spans, steps, st.just("*"))
    return st.lists(parts, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    numbers(0, 59),
    st.one_of(numbers(0, 23), numbers(0, 4)),
    numbers(1, 31),
    numbers(1, 12),
    numbers(0, 7),
).map(" ".join)
AROUND = st.tuples(
    st.one_of(numbers(0, 59), st.sampled_from(["*", "*/7", "0,30"])),
    st.one_of(numbers(0, 4), st.sampled_from(["*", "23", "0"])),
    st.just("*"),
    st.just("*"),
    st.just("*"),
).map(" ".join)


@given(st.one_of(EXPRESSIONS, AROUND), st.sampled_from(CHANGES))
@example("* 3 * * *", CHANGES[5])
@example("* 1 * * *", CHANGES[8])
@example("*/10 0 * * *", CHANGES[6])
@example("0,30 2 * * *", CHANGES[0])
def test_it_is_due_when_a_look_at_each_minute_says_so(
    text: str, change: tuple[str, datetime]
) -> None:
    zone, start = change
    shown = shown_minutes(zone, start, 2 * DAY_MINUTES)
    try:
        fields = cron.parse(text)
    except cron.CronError:
        assume(False)  # noqa: FBT003 - a day that is in none of the months
    expected = by_fixed_time(fields, shown) if fields.is_fixed else by_wildcard(fields, shown)
    plan = read(text, ZoneInfo(zone), 0)
    found, time_ns = [], ns(start) - 1
    while (later := plan.after(time_ns)) is not None and later <= ns(shown[-1][0]):
        found.append(later)
        time_ns = later
    assert found == [ns(moment) for moment in expected]


@given(
    EXPRESSIONS,
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "UTC"]),
    st.integers(ns(datetime(1990, 1, 1, tzinfo=UTC)), ns(datetime(2060, 1, 1, tzinfo=UTC))),
    st.integers(0, 400 * DAY_MINUTES * MINUTE_NS),
)
def test_what_is_later_is_due_later_or_at_the_same_time(
    text: str, zone: str, time_ns: int, more_ns: int
) -> None:
    try:
        plan = read(text, ZoneInfo(zone), 0)
    except cron.CronError:
        assume(False)  # noqa: FBT003
    first, second = plan.after(time_ns), plan.after(time_ns + more_ns)
    assert first is not None
    assert second is not None
    assert time_ns < first <= second
    assert second > time_ns + more_ns
    assert first == second or first <= time_ns + more_ns


@given(
    st.one_of(AROUND, EXPRESSIONS, st.sampled_from(["@every 7s", "@every 90m", "@every 1d"])),
    st.sampled_from(CHANGES),
    st.integers(0, 3 * DAY_MINUTES * MINUTE_NS),
)
def test_the_one_before_is_the_last_of_those_that_come(
    text: str, change: tuple[str, datetime], span_ns: int
) -> None:
    zone, start = change
    begin, end = ns(start), ns(start) + span_ns
    try:
        plan = read(text, ZoneInfo(zone), begin)
    except cron.CronError:
        assume(False)  # noqa: FBT003
    last, time_ns = None, max(begin - 1, end - DAY_MINUTES * MINUTE_NS // 4)
    begin = time_ns + 1
    while (later := plan.after(time_ns)) is not None and later < end:
        last = time_ns = later
    assert plan.before(end, begin) == last


def test_a_time_that_the_clocks_skip_is_due_once_right_after_the_gap() -> None:
    assert following("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_two_times_in_one_gap_are_due_once() -> None:
    assert following("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:00:00+02:00",
    ]


def test_a_time_that_comes_twice_is_due_the_first_time() -> None:
    assert following("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_asked_between_the_two_times_it_is_due_the_next_day() -> None:
    tz = ZoneInfo("Europe/Berlin")
    between = datetime(2026, 10, 25, 2, 10, tzinfo=tz, fold=1)
    assert at(read("30 2 * * *", tz, 0).after(ns(between)), "Europe/Berlin").startswith(
        "2026-10-26"
    )


def test_one_of_each_hour_goes_on_every_hour_of_real_time() -> None:
    assert following("0 * * * *", "Europe/Berlin", "2026-10-25T01:30", 4) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
        "2026-10-25T04:00:00+01:00",
    ]


def test_each_ten_minutes_of_an_hour_that_is_skipped_are_not_due() -> None:
    assert following("*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 1) == [
        "2026-03-30T02:00:00+02:00"
    ]


@pytest.mark.parametrize("zone", sorted({name for name, _ in CHANGES}))
def test_over_years_no_day_is_passed_over_or_come_to_too_early(zone: str) -> None:
    text, tz = "*/30 */5 1,29 */2 *", ZoneInfo(zone)
    fields = cron.parse(text)
    start = datetime(2011, 1, 15, tzinfo=UTC)
    expected = []
    for number in range(730):
        day = start + timedelta(days=number)
        # Whatever clocks show within it.
        near = [(day + timedelta(days=n)).astimezone(tz) for n in (-1, 0, 1)]
        if any(each.month in fields.months and fields.has_day(each) for each in near):
            shown = shown_minutes(zone, day, DAY_MINUTES)
            expected += [ns(moment) for moment in by_wildcard(fields, shown)]
    plan, found, time_ns = read(text, tz, 0), [], ns(start) - 1
    while (later := plan.after(time_ns)) is not None and len(found) < len(expected):
        found.append(later)
        time_ns = later
    assert found == expected


def test_the_day_is_of_either_kind_unless_one_is_a_star() -> None:
    # 13 February 2026 is a Friday; so are the 6th and the 20th.
    assert following("0 0 13 2 fri", "UTC", "2026-02-01T00:00", 4) == [
        f"2026-02-{day}T00:00:00+00:00" for day in ("06", "13", "20", "27")
    ]
    assert following("0 0 */2 2 fri", "UTC", "2026-02-01T00:00", 2) == [
        "2026-02-13T00:00:00+00:00",
        "2026-02-27T00:00:00+00:00",
    ]


def test_the_29th_of_february_is_waited_for() -> None:
    assert following("0 12 29 feb *", "UTC", "2096-03-01T00:00", 1) == ["2104-02-29T12:00:00+00:00"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@weekly", "0 0 * * 7"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("0 0 * JAN-Mar Mon-FRI", "0 0 * 1-3 1-5"),
        ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
        ("\t5  4 * * *  ", "5 4 * * *"),
    ],
)
def test_names_and_nicknames_mean_the_same_as_numbers(text: str, same: str) -> None:
    assert cron.parse(text) == cron.parse(same)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("60 * * * *", "0 to 59 as minute, not '60'"),
        ("* 24 * * *", "0 to 23 as hour, not '24'"),
        ("* * 0 * *", "1 to 31 as day of the month, not '0'"),
        ("* * * 13 *", "1 to 12, or jan to dec as month, not '13'"),
        ("* * * * 8", "0 to 7, or sun to sat as day of the week, not '8'"),
        ("* * * * xyz", "as day of the week, not 'xyz'"),
        ("1-0 * * * *", "a range from the lower to the higher as minute, not '1-0'"),
        ("*/0 * * * *", "a step from 1 on as minute, not '*/0'"),
        ("5/10 * * * *", "such as 5-59/10, as minute"),
        ("1,,2 * * * *", "as minute, not ''"),
        ("1, * * * *", "as minute, not ''"),
        ("-1 * * * *", "as minute, not '-1'"),
        ("\u00b2 * * * *", "as minute, not '\\xb2'"),
        ("99999999999999999999 * * * *", "as minute"),
        ("* * 30 2 *", "a day that there is in month '2', not '30'"),
        ("0 0 31 4,6,9,11 *", "a day that there is"),
        ("0 0 L * *", "as day of the month, not 'l'"),
        ("0 0 * * 5#2", "as day of the week"),
        ("~ * * * *", "as minute"),
        ("@every", "five fields"),
        ("@every 0", "1s to 366d"),
        ("@every 10ms", "1s to 366d"),
        ("@every 10y", "1s to 366d"),
        ("@every 400d", "1s to 366d"),
        ("@every -5m", "1s to 366d"),
        ("* " * 200, "at most 256"),
        ("\ud800 * * * *", "as minute"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        read(text, UTC, 0)
    str(refused.value).encode("ascii")


@given(st.text(max_size=40))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        plan = read(text, UTC, 0)
    except ValueError:
        return
    assert plan.after(0) is not None


def test_an_interval_is_counted_from_its_beginning_and_back() -> None:
    plan = read("@every 10m", UTC, 5 * SECOND_NS)
    assert plan.after(0) == 5 * SECOND_NS
    assert plan.after(5 * SECOND_NS) == 605 * SECOND_NS
    assert plan.after(605 * SECOND_NS) == 1205 * SECOND_NS
    assert plan.before(605 * SECOND_NS, 6 * SECOND_NS) is None
    assert plan.before(605 * SECOND_NS + 1, 0) == 605 * SECOND_NS


@pytest.mark.parametrize("text", ["* * * * *", "0 0 1 1 *", "@every 1d", "30 2 29 2 *"])
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Pacific/Auckland")])
def test_at_the_end_of_all_time_nothing_is_due(text: str, zone: tzinfo) -> None:
    assert read(text, zone, 0).after(2**63 - 1) is None


def test_a_moment_is_found_soon_also_when_it_is_far() -> None:
    plan = read("59 23 31 12 *", ZoneInfo("Europe/Berlin"), 0)
    moments = [plan.after(ns(datetime(year, 1, 1, tzinfo=UTC))) for year in range(2026, 2030)]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(moments))


def test_the_text_of_a_schedule_is_bounded() -> None:
    assert calendar.MOST_CHARS == 256
