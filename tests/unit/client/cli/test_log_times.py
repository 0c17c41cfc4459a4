"""Points in time: as people write them, and as they are shown."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli.log_times import Stamps, parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 10**9
# A Sunday, 14:30:15.5 in Berlin.
NOW = int(datetime(2026, 11, 22, 13, 30, 15, tzinfo=UTC).timestamp()) * SECOND + SECOND // 2


@pytest.fixture(autouse=True)
def in_berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def utc(*parts: int) -> int:
    year, month, day, *clock = parts
    hour, minute, second = (*clock, 0, 0, 0)[:3]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    return int(moment.timestamp()) * SECOND


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("14:00", utc(2026, 11, 22, 13)),
        ("9:05:07", utc(2026, 11, 22, 8, 5, 7)),
        ("14:00Z", utc(2026, 11, 22, 14)),
        ("2026-11-22", utc(2026, 11, 21, 23)),
        ("2026-11-22 14:00", utc(2026, 11, 22, 13)),
        ("2026-07-22 14:00", utc(2026, 7, 22, 12)),
        ("2026-11-22T14:00:00Z", utc(2026, 11, 22, 14)),
        ("2026-11-22t14:00:00z", utc(2026, 11, 22, 14)),
        ("2026-11-22 14:00:00 UTC", utc(2026, 11, 22, 14)),
        ("2026-11-22T14:00:00+05:30", utc(2026, 11, 22, 8, 30)),
        ("2026-11-22T14:00:00-0100", utc(2026, 11, 22, 15)),
        ("2026-11-22 14:00:00.25", utc(2026, 11, 22, 13) + SECOND // 4),
        ("2026-11-22 14:00:00,123456789", utc(2026, 11, 22, 13) + 123456789),
        # Of an hour that there was twice, the first.
        ("2026-10-25 02:30", utc(2026, 10, 25, 0, 30)),
        ("@1700000000", 1700000000 * SECOND),
        ("@1700000000.5", 1700000000 * SECOND + SECOND // 2),
        ("@0", 0),
        ("10m", NOW - 600 * SECOND),
        (" 1h30m ", NOW - 5400 * SECOND),
        # Seconds, as everywhere.
        ("14", NOW - 14 * SECOND),
        ("250ms", NOW - SECOND // 4),
        ("0", NOW),
        ("36500d", 0),
        ("2300-01-01", 2**63 - 1),
    ],
)
def test_a_time_is_read(text: str, moment: int) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "now", "@", "@-1", "@1.", "14:60", "25:00", "14:00:61", "2026-02-30", "2026-1-1",
     "x" * 99, "22.11.2026", "2026-11-22T", "2026-11-22 14", "-10m", "14:00+99:99",
     "14:00 CET", "1\x1b[2J"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="given; a time is allowed, such as 14:00") as refused:
        parse_moment(text, NOW)
    assert str(refused.value).isprintable()


def test_a_time_is_shown_to_the_millisecond_with_its_zone() -> None:
    stamps = Stamps()
    winter = utc(2026, 11, 22, 13, 0, 1)
    assert stamps.show(winter + 250_999_999) == b"2026-11-22T14:00:01.250+01:00"
    assert stamps.show(winter + 999_999_999) == b"2026-11-22T14:00:01.999+01:00"
    assert stamps.show(utc(2026, 7, 22, 13)) == b"2026-07-22T15:00:00.000+02:00"
    assert stamps.show(0) == b"1970-01-01T01:00:00.000+01:00"


@given(st.integers(0, utc(2200, 1, 1)))
def test_what_is_shown_can_be_given_again(moment: int) -> None:
    shown = Stamps().show(moment).decode()
    assert parse_moment(shown, NOW) == moment - moment % 10**6
