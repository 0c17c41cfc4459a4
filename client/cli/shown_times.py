"""Points in time that are still to come, as the queue's verbs show them: in the reader's zone.

How people write them is `client.cli.queue_times`'s, which is heavier.
"""

from __future__ import annotations

import time
from typing import Final

from client.units import format_age

_SECOND_NS: Final = 10**9
_HOUR_NS: Final = 3600 * _SECOND_NS


def shown_time(time_ns: int, now_ns: int | None = None) -> str:
    """A time for people: "14:05", "14:05:30" when it is near, with its day if that is another."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    then, now = (time.localtime(moment // _SECOND_NS) for moment in (time_ns, now_ns))
    is_near = abs(time_ns - now_ns) < _HOUR_NS
    clock = "%H:%M:%S" if is_near and then.tm_sec else "%H:%M"
    is_today = (then.tm_year, then.tm_yday) == (now.tm_year, now.tm_yday)
    return time.strftime(clock if is_today else f"%Y-%m-%d {clock}", then)


def shown_ahead(time_ns: int, now_ns: int | None = None) -> str:
    """A time with how far off it is: "14:00 (in 3h)", "14:00 (now)" once it has come."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    left = time_ns - now_ns
    far = f"in {format_age(-(-left // _SECOND_NS))}" if left > 0 else "now"
    return f"{shown_time(time_ns, now_ns)} ({far})"
