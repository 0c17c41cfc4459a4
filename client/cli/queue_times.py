"""Points in time that are still to come, as people write them.

Unix time in nanoseconds inside, the reader's zone outside; pure but for the clock and the zone.
How they are shown is `client.cli.shown_times`'s. Times that have passed, of logs, are
`client.cli.log_times`'s, lengths of time `client.units`'s.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import TYPE_CHECKING, Final, NamedTuple

from client.units import MAX_INTEGER, format_duration, parse_duration

if TYPE_CHECKING:
    from datetime import tzinfo

SECOND_NS: Final = 10**9
_DAY: Final = timedelta(days=1)
_SHOWN_CHARS: Final = 40
_ALLOWED: Final = (
    "a time is allowed, such as 14:00 (the next one), 2026-12-24, '2026-12-24 18:00', "
    "2026-12-24T18:00:00Z, 2026-12-24T18:00+01:00 or @1798131600"
)
_FRACTION: Final = r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
_UNIX: Final = re.compile(rf"@(?P<seconds>[0-9]{{1,11}}){_FRACTION}")
_CLOCK: Final = (
    rf"(?P<hour>[0-9]{{1,2}}):(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}){_FRACTION})?"
)
_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ZONE: Final = r"(?: ?(?P<zone>[Zz]|UTC|[+-][0-9]{2}:?[0-9]{2}))?"
_MOMENT: Final = re.compile(rf"(?P<day>{_DATE})|(?:(?P<date>{_DATE})[Tt ])?{_CLOCK}{_ZONE}")


class TimeSpan(NamedTuple):
    """So long from when the daemon hears of it."""

    seconds: float


class TimePoint(NamedTuple):
    """Unix time."""

    time_ns: int


def parse_ahead(text: str, now_ns: int | None = None) -> int:
    """Unix time in nanoseconds, later than now and below 2^63.

    "14:00" (the next one), "2026-12-24" (its first moment), "2026-12-24 18:00" (seconds with
    decimals, a "T", and "Z" or "+01:00" may be added), "@1798131600.5" (Unix time). Without a zone
    in the reader's own. Raises ValueError; also for a time that the clocks skip when they are put
    forward, and for one that comes twice when they are put back.
    """
    text = text.strip()
    now_ns = time.time_ns() if now_ns is None else now_ns
    try:
        moment = _read(text, now_ns)
    except _SaidError as said:
        raise ValueError(f"{_shown(text)} given; {said}") from None
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{_shown(text)} given; {_ALLOWED}") from None
    if moment <= now_ns:
        ago = format_duration((now_ns - moment) // SECOND_NS)
        raise ValueError(f"{_shown(text)} given, which was {ago} ago; a time to come is allowed")
    return min(moment, MAX_INTEGER)


def parse_deadline(text: str, now_ns: int | None = None) -> TimePoint | TimeSpan:
    """A time as `parse_ahead` reads it, or a length of time from now on. Raises ValueError."""
    if ":" in text or "@" in text or re.match(_DATE, text.strip()):
        return TimePoint(parse_ahead(text, now_ns))
    try:
        return TimeSpan(parse_duration(text))
    except ValueError as error:
        raise ValueError(f"{error}; or {_ALLOWED}") from None


class _SaidError(ValueError):
    """A time that cannot be meant, and why."""


def _read(text: str, now_ns: int) -> int:
    """Raises ValueError for what is no time, _SaidError for one that cannot be meant."""
    if found := _UNIX.fullmatch(text):
        return int(found["seconds"]) * SECOND_NS + _fraction_ns(found)
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError
    if found["day"]:
        return _of_local(datetime.combine(date.fromisoformat(found["day"]), clock_time()), now_ns)
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    clock, zone = clock_time(hour, minute, second), _zone(found["zone"])
    if found["date"]:
        day = date.fromisoformat(found["date"])
        return _moment(datetime.combine(day, clock), zone, now_ns) + _fraction_ns(found)
    return _next(clock, zone, now_ns, _fraction_ns(found))


def _fraction_ns(found: re.Match[str]) -> int:
    return int(f"{found['fraction'] or '':0<9}")


def _zone(text: str | None) -> tzinfo | None:
    """None: the reader's own."""
    if text is None:
        return None
    if text in ("Z", "z", "UTC"):
        return UTC
    return datetime.strptime(text, "%z").tzinfo


def _next(clock: clock_time, zone: tzinfo | None, now_ns: int, fraction_ns: int) -> int:
    """The next time at which clocks show that: of today, else of tomorrow."""
    today = datetime.fromtimestamp(now_ns // SECOND_NS, zone).date()
    try:
        moment = _moment(datetime.combine(today, clock), zone, now_ns) + fraction_ns
    except _SkippedError as skipped:
        if skipped.moment_ns > now_ns:
            raise
        moment = now_ns
    if moment > now_ns:
        return moment
    return _moment(datetime.combine(today + _DAY, clock), zone, now_ns) + fraction_ns


def _moment(wall: datetime, zone: tzinfo | None, now_ns: int) -> int:
    if zone is None:
        return _of_local(wall, now_ns)
    return int(wall.replace(tzinfo=zone).timestamp()) * SECOND_NS


class _SkippedError(_SaidError):
    """A time that the clocks skip; `moment_ns` is when they do."""

    def __init__(self, wall: datetime, moment_ns: int) -> None:
        super().__init__(
            f"there is no such time on {wall:%Y-%m-%d}, when the clocks are put forward "
            f"to {_wall(moment_ns // SECOND_NS):%H:%M}"
        )
        self.moment_ns = moment_ns


def _of_local(wall: datetime, now_ns: int) -> int:
    """The moment when the reader's clocks show that; raises _SaidError unless there is exactly one.

    Of two the later one, when the first has passed.
    """
    first, second = (int(wall.replace(fold=fold).timestamp()) for fold in (0, 1))
    if _wall(first) != wall:
        # In a gap the two are before and after it (PEP 495).
        raise _SkippedError(wall, _change(*sorted((first, second))) * SECOND_NS)
    if first != second and first * SECOND_NS > now_ns:
        both = " or ".join(
            datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")
            for moment in (first, second)
        )
        raise _SaidError(f"it comes twice, because the clocks are put back; {both} is allowed")
    return second * SECOND_NS


def _wall(moment: int) -> datetime:
    """What the reader's clocks show then."""
    return datetime.fromtimestamp(moment, UTC).astimezone().replace(tzinfo=None)


def _change(before: int, after: int) -> int:
    """The first second in which the zone's offset is that of `after`."""
    wanted = _offset(after)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle) == wanted:
            after = middle
        else:
            before = middle
    return after


def _offset(moment: int) -> int:
    return time.localtime(moment).tm_gmtoff


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
