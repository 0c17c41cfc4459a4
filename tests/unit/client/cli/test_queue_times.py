"""Times that are still to come: as people write them, and as they are shown."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli.queue_times import TimePoint, TimeSpan, parse_ahead, parse_deadline
from client.cli.shown_times import shown_ahead, shown_time

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 10**9
BERLIN = ZoneInfo("Europe/Berlin")


def utc(*parts: int) -> int:
    year, month, day, *clock = parts
    hour, minute, second = (*clock, 0, 0, 0)[:3]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    return int(moment.timestamp()) * SECOND


# A Sunday, 14:30:15 in Berlin.
NOW = utc(2026, 11, 22, 13, 30, 15)


@pytest.fixture(autouse=True)
def in_berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("15:00", utc(2026, 11, 22, 14)),
        # What has passed today is tomorrow's.
        ("14:00", utc(2026, 11, 23, 13)),
        ("14:30:15", utc(2026, 11, 23, 13, 30, 15)),
        ("14:30:16", utc(2026, 11, 22, 13, 30, 16)),
        ("14:30:15.5", NOW + SECOND // 2),
        ("14:00Z", utc(2026, 11, 22, 14)),
        ("13:00Z", utc(2026, 11, 23, 13)),
        # Where it is past midnight already.
        ("02:00+12:00", utc(2026, 11, 22, 14)),
        ("2026-12-24", utc(2026, 12, 23, 23)),
        ("2026-12-24 18:00", utc(2026, 12, 24, 17)),
        ("2027-07-01T18:00", utc(2027, 7, 1, 16)),
        ("2026-12-24T18:00:30Z", utc(2026, 12, 24, 18, 0, 30)),
        ("2026-12-24T18:00+05:30", utc(2026, 12, 24, 12, 30)),
        ("2026-12-24 18:00:00.25", utc(2026, 12, 24, 17) + SECOND // 4),
        ("@1798131600", 1798131600 * SECOND),
        (" @1798131600.5 ", 1798131600 * SECOND + SECOND // 2),
        ("2300-01-01", 2**63 - 1),
    ],
)
def test_a_time_is_read(text: str, moment: int) -> None:
    assert parse_ahead(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "now", "tomorrow", "@", "@-1", "14:60", "25:00", "2026-02-30", "2026-1-1", "x" * 99,
     "2026-11-22T", "2026-12-24 14", "14:00+99:99", "14:00 CET", "10m", "1\x1b[2J", "9999-99-99"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="given; a time is allowed, such as 14:00") as refused:
        parse_ahead(text, NOW)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("text", ["2026-11-22 14:30:15", "2026-11-22", "@0", "1970-01-01T00:00Z"])
def test_a_time_that_has_passed_is_refused_with_how_long_ago_it_was(text: str) -> None:
    with pytest.raises(ValueError, match=r"given, which was .* ago; a time to come is allowed"):
        parse_ahead(text, NOW)


@pytest.mark.parametrize(
    ("text", "now"),
    [
        ("2027-03-28 02:30", NOW),
        ("2027-03-28 02:00", NOW),
        ("2027-03-28 02:59:59", NOW),
        # The next time it is that hour there is none.
        ("02:30", utc(2027, 3, 27, 12)),
        ("02:30", utc(2027, 3, 28, 0, 59)),
    ],
)
def test_a_time_that_the_clocks_skip_is_refused(text: str, now: int) -> None:
    with pytest.raises(ValueError, match=r"no such time on 2027-03-28.* put forward to 03:00"):
        parse_ahead(text, now)


def test_after_the_clocks_were_put_forward_the_next_one_is_tomorrows() -> None:
    assert parse_ahead("02:30", utc(2027, 3, 28, 1)) == utc(2027, 3, 29, 0, 30)
    assert parse_ahead("03:00", utc(2027, 3, 28, 0, 59)) == utc(2027, 3, 28, 1)


@pytest.mark.parametrize(
    ("text", "now"),
    [
        ("2026-10-25 02:30", utc(2026, 10, 1)),
        ("02:30", utc(2026, 10, 24, 12)),
        ("02:30", utc(2026, 10, 25, 0, 29)),
    ],
)
def test_a_time_that_comes_twice_is_refused_with_both(text: str, now: int) -> None:
    with pytest.raises(ValueError, match="it comes twice") as refused:
        parse_ahead(text, now)
    one, other = (utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 30))
    said = str(refused.value).split("; ")[2].split(" or ")
    assert parse_ahead(said[0].split()[-1], now) == one
    assert parse_ahead(said[1].split()[0], now) == other


def test_of_two_times_the_second_is_meant_once_the_first_has_passed() -> None:
    between = utc(2026, 10, 25, 0, 45)
    assert parse_ahead("02:30", between) == utc(2026, 10, 25, 1, 30)
    assert parse_ahead("2026-10-25 02:30", between) == utc(2026, 10, 25, 1, 30)
    assert parse_ahead("02:30", utc(2026, 10, 25, 1, 30)) == utc(2026, 10, 26, 1, 30)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001  clocks on the wall
    st.integers(utc(2025, 1, 1), utc(2026, 1, 1)),
)
def test_a_date_and_time_is_the_moment_when_clocks_show_it_or_is_refused(
    wall: datetime, now: int
) -> None:
    wall = wall.replace(microsecond=0)
    moments = {wall.replace(tzinfo=BERLIN, fold=fold).astimezone(UTC) for fold in (0, 1)}
    shown = {m for m in moments if m.astimezone(BERLIN).replace(tzinfo=None) == wall}
    if len(shown) == 1:
        assert parse_ahead(str(wall), now) == int(shown.pop().timestamp()) * SECOND
    else:
        with pytest.raises(ValueError, match="comes twice" if shown else "no such time"):
            parse_ahead(str(wall), now)


@given(st.times(), st.integers(utc(2026, 1, 1), utc(2028, 1, 1)))
def test_a_clocks_time_is_the_next_one_within_a_day_and_an_hour_or_is_refused(
    clock: object, now: int
) -> None:
    text = str(clock)[:8]
    try:
        moment = parse_ahead(text, now)
    except ValueError as error:
        assert "comes twice" in str(error) or "no such time" in str(error)
        return
    shown = datetime.fromtimestamp(moment // SECOND, BERLIN)
    assert f"{shown:%H:%M:%S}" == text
    assert 0 < moment - now <= (timedelta(hours=25).total_seconds() + 1) * SECOND
    # There is none before it.
    day_before = (shown - timedelta(days=1)).timestamp() * SECOND
    assert day_before <= now or f"{datetime.fromtimestamp(day_before // SECOND, BERLIN):%T}" != text


def test_a_deadline_is_a_time_or_a_length_of_time() -> None:
    assert parse_deadline("2h", NOW) == TimeSpan(7200)
    assert parse_deadline("90", NOW) == TimeSpan(90)
    assert parse_deadline("15:00", NOW) == TimePoint(utc(2026, 11, 22, 14))
    assert parse_deadline("2026-12-24", NOW) == TimePoint(utc(2026, 12, 23, 23))
    assert parse_deadline("@1798131600", NOW) == TimePoint(1798131600 * SECOND)


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "2026-11-22 14:00", "25:00"])
def test_any_other_deadline_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="given"):
        parse_deadline(text, NOW)


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (NOW + 30 * SECOND, "14:30:45 (in 30s)"),
        (NOW + 45 * SECOND, "14:31 (in 45s)"),
        (NOW + 3 * 3600 * SECOND, "17:30 (in 3h)"),
        (NOW + SECOND // 2, "14:30:15 (in 1s)"),
        (NOW, "14:30:15 (now)"),
        (NOW - 5 * SECOND, "14:30:10 (now)"),
        (utc(2026, 12, 24, 17), "2026-12-24 18:00 (in 32d3h)"),
        (utc(2026, 11, 22, 23), "2026-11-23 00:00 (in 9h29m)"),
    ],
)
def test_a_time_is_shown_with_its_day_if_that_is_another_and_with_seconds_if_it_is_near(
    moment: int, shown: str
) -> None:
    assert shown_ahead(moment, NOW) == shown


def test_a_time_is_shown_by_the_clock_of_now_where_no_other_is_given() -> None:
    assert len(shown_time(time.time_ns())) in (5, 8, 16, 19)
