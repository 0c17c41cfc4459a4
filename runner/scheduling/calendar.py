"""When a schedule is due: moments (Unix time) of a cron expression in a time zone, or an interval.

Pure: the zone is given, the clock comes with each question. Where clocks are set forward or back a
schedule behaves as Debian's cron(8) has it, whatever the size of the change: one at certain times
of the day runs once, right after the gap that its time fell into, and only at the first of two
times; one with a `*` for its minute or hour goes by what the clocks show. What is done about times
that have passed is `runner.scheduling.schedules`'.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from client.units import parse_duration
from runner.scheduling import cron

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
MOST_CHARS: Final = 256
_SHORTEST_SECONDS: Final = 1
_LONGEST_SECONDS: Final = 366 * 86_400
# 29 February is each day of the week once in 40 years (2096 to 2104), whatever the other fields.
_HORIZON: Final = timedelta(days=50 * 366)
_EVERY: Final = re.compile(r"@every\s+(.+)", re.IGNORECASE | re.DOTALL)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What a clock may show: beyond it, dates end.
_LATEST_NS: Final = 2**63 - 1


class Calendar(NamedTuple):
    """All moments at which a schedule is due; made by `read`.

    An interval is counted from `since_ns`, forward and back.
    """

    cron: cron.Cron | None
    zone: tzinfo
    interval_ns: int = 0
    since_ns: int = 0

    def after(self, time_ns: int) -> int | None:
        """The first moment later than a time. None: there is none that a clock could show."""
        if self.cron is None:
            # Negative where the clock is set to before its beginning.
            passed = (time_ns - self.since_ns) // self.interval_ns
            return _possible(self.since_ns + (passed + 1) * self.interval_ns)
        # Dates have no nanoseconds, and the minute that has begun is not later.
        start = _EPOCH + timedelta(minutes=time_ns // MINUTE_NS + 1)
        try:
            found = self._fixed(start) if self.cron.is_fixed else self._first(start, self.zone)
        except OverflowError:
            return None
        return None if found is None else _possible((found - _EPOCH) // _MINUTE * MINUTE_NS)

    def before(self, time_ns: int, not_before_ns: int) -> int | None:
        """The last moment earlier than a time; None when there is none from `not_before_ns` on."""
        # The last one is after `low` and not after `high`: first away from the time in ever longer
        # steps, then between the last two.
        high, step = time_ns - 1, self._grain_ns
        low = high - step
        while not self._is_between(low, time_ns):
            if low < not_before_ns:
                return None
            high, step = low, 2 * step
            low = high - step
        # No two are closer than that.
        while high - low > self._grain_ns:
            middle = (low + high) // 2
            low, high = (middle, high) if self._is_between(middle, time_ns) else (low, middle)
        found = self.after(low)
        return found if found is not None and found >= not_before_ns else None

    @property
    def _grain_ns(self) -> int:
        return self.interval_ns or MINUTE_NS

    def _is_between(self, low: int, high: int) -> bool:
        found = self.after(low)
        return found is not None and found < high

    def _fixed(self, start: datetime) -> datetime | None:
        """The first moment from `start` on at which clocks come to a time of day, or pass it."""
        wall = (start - _MINUTE).astimezone(self.zone).replace(tzinfo=UTC) + _MINUTE
        while True:
            # Times of the day are looked for as if there were no zones.
            found = self._first(wall, UTC)
            if found is None:
                return None
            moment = _first_shown(found, self.zone)
            if moment >= start:
                return moment
            wall = found + _MINUTE

    def _first(self, start: datetime, zone: tzinfo) -> datetime | None:
        """The first minute from `start` on that clocks of a zone show and the fields allow."""
        moment, end = start, start + _HORIZON
        while moment < end:
            shown = moment.astimezone(zone)
            step = None
            for step in self._steps(shown):
                # Where the clocks are set in between, it may be too far; never the last, a minute.
                if (moment + step).astimezone(zone).utcoffset() == shown.utcoffset():
                    break
                if step > 2 * _DAY:
                    # They are never set by more than a day (Pacific/Apia, 2011).
                    step -= _DAY  # noqa: PLW2901 - it is taken
                    break
            if step is None:
                return moment
            moment += step
        return None

    def _steps(self, shown: datetime) -> Iterator[timedelta]:
        """How far it is to go when a time is not right, the farthest first; nothing when it is."""
        fields = self.cron
        assert fields is not None  # noqa: S101 - for the type
        wall = shown.replace(tzinfo=None, fold=0)
        midnight = wall.replace(hour=0, minute=0)
        wrong = wall.month not in fields.months
        if wrong:
            yield _next_month(midnight) - wall
        if wrong or not fields.has_day(wall):
            wrong = True
            yield _next_day(fields, midnight) - wall
            yield midnight + _DAY - wall
        if wrong or wall.hour not in fields.hours:
            wrong = True
            to_hour = _HOUR - timedelta(minutes=wall.minute)
            yield to_hour + _HOUR * (_next(fields.hours, wall.hour, 24) - 1)
            yield to_hour
        if wrong or wall.minute not in fields.minutes:
            yield _MINUTE * _next(fields.minutes, wall.minute, 60)
            yield _MINUTE


def _next(allowed: frozenset[int], now: int, end: int) -> int:
    """How far it is to the next one that is allowed, at most to the end."""
    return min((number for number in allowed if number > now), default=end) - now


def _next_month(midnight: datetime) -> datetime:
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


def _next_day(fields: cron.Cron, midnight: datetime) -> datetime:
    """The next day that is allowed, at most the first of a month."""
    day = midnight + _DAY
    while day.day != 1 and not fields.has_day(day):
        day += _DAY
    return day


def read(text: str, zone: tzinfo, since_ns: int) -> Calendar:
    """The calendar of an expression. Raises ValueError: what is allowed, as which part."""
    if len(text) > MOST_CHARS:
        raise ValueError(f"at most {MOST_CHARS} characters")
    every = _EVERY.fullmatch(text.strip())
    if every is None:
        return Calendar(cron.parse(text), zone)
    with suppress(ValueError):
        seconds = parse_duration(every[1])
        if _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:
            return Calendar(None, zone, round(seconds * 1000) * (SECOND_NS // 1000), since_ns)
    raise ValueError("@every and 1s to 366d, such as '@every 10m'")


def _first_shown(wall: datetime, zone: tzinfo) -> datetime:
    """The moment at which clocks of a zone first show a time, or are set past it."""
    while True:
        moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=UTC, fold=0) == wall:
            return moment
        wall += _MINUTE


def _possible(time_ns: int) -> int | None:
    return time_ns if time_ns <= _LATEST_NS else None
