"""Points in time as people write them, and as `logs --timestamps` shows them.

Unix time in nanoseconds inside, the reader's zone outside; pure but for the clock and the zone.
Lengths of time are `client.units`'s; what a time selects is the daemon's to find out.
"""

from __future__ import annotations

import re
import time
from datetime import date, datetime
from datetime import time as clock_time
from typing import Final

from client.units import MAX_INTEGER, parse_duration

_SECOND_NS: Final = 10**9
_SHOWN_CHARS: Final = 40
_ALLOWED: Final = (
    "a time is allowed, such as 14:00, 2026-11-22, '2026-11-22 14:00:30.5', 2026-11-22T14:00:00Z "
    "or @1700000000, or how long ago it was, such as 10m or 1h30m"
)
_FRACTION: Final = r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
_UNIX: Final = re.compile(rf"@(?P<seconds>[0-9]{{1,11}}){_FRACTION}")
_CLOCK: Final = (
    rf"(?P<hour>[0-9]{{1,2}}):(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}){_FRACTION})?"
)
_DATE: Final = r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
_ZONE: Final = r"(?: ?(?P<zone>[Zz]|UTC|[+-][0-9]{2}:?[0-9]{2}))?"
_MOMENT: Final = re.compile(
    rf"(?:{_DATE}[Tt ])?{_CLOCK}{_ZONE}|(?P<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})"
)


def parse_moment(text: str, now_ns: int | None = None) -> int:
    """Unix time in nanoseconds, from 0 to 2^63-1.

    "2026-11-22 14:00" (seconds with decimals, a "T", and "Z" or "+01:00" may be added),
    "2026-11-22" (its first moment), "14:00" (of today), "@1700000000.5" (Unix time), or an age
    such as "10m". Without a zone in the reader's own; where its clocks are set back, the first
    of the two. Raises ValueError.
    """
    text = text.strip()
    now_ns = time.time_ns() if now_ns is None else now_ns
    try:
        if found := _UNIX.fullmatch(text):
            moment = int(found["seconds"]) * _SECOND_NS + _fraction_ns(found)
        elif found := _MOMENT.fullmatch(text):
            moment = _calendar_ns(found, now_ns)
        else:
            moment = now_ns - round(parse_duration(text, zero=True) * 1000) * 10**6
    except (ValueError, OverflowError):
        shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
        raise ValueError(f"{shown!a} given; {_ALLOWED}") from None
    return min(max(moment, 0), MAX_INTEGER)


def _calendar_ns(found: re.Match[str], now_ns: int) -> int:
    """Raises ValueError for a day or an hour that does not exist."""
    today = datetime.fromtimestamp(now_ns // _SECOND_NS).astimezone().date()
    if found["day"]:
        moment = datetime.combine(date.fromisoformat(found["day"]), clock_time())
    else:
        day = date.fromisoformat(found["date"]) if found["date"] else today
        hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
        moment = datetime.combine(day, clock_time(hour, minute, second))
    if zone := found["zone"]:
        sign = "+00:00" if zone in ("Z", "z", "UTC") else zone
        moment = moment.replace(tzinfo=datetime.strptime(sign, "%z").tzinfo)
    return int(moment.timestamp()) * _SECOND_NS + _fraction_ns(found)


def _fraction_ns(found: re.Match[str]) -> int:
    return int(f"{found['fraction'] or '':0<9}")


class Stamps:
    """Times as RFC 3339 has them, in the reader's zone: b"2026-11-22T14:00:00.250+01:00"."""

    def __init__(self) -> None:
        self._second = -1
        self._parts = (b"", b"")

    def show(self, time_ns: int) -> bytes:
        """To the millisecond, not rounded up: what was written is never shown as later."""
        second, rest = divmod(time_ns, _SECOND_NS)
        if second != self._second:
            # Lines mostly share their second: most of the work is done once for them all.
            self._second, self._parts = second, _second_and_zone(second)
        begin, zone = self._parts
        return b"%s.%03d%s" % (begin, rest // 10**6, zone)


def _second_and_zone(second: int) -> tuple[bytes, bytes]:
    local = time.localtime(second)
    zone = time.strftime("%z", local)
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", local).encode("ascii"),
        f"{zone[:3]}:{zone[3:5]}".encode("ascii"),
    )
