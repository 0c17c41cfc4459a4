"""What a schedule does now: which of its times are run, and when to look at it again.

Pure: its calendar, what was dealt with, and the clock come in, the decision goes out. A time is
dealt with once, also when the clock is set back over it, and whatever became of it. Runs are made
by `runner.schedules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from runner.scheduling.calendar import SECOND_NS

if TYPE_CHECKING:
    from runner.scheduling.calendar import Calendar

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip"]

# Of those that were missed, the newest.
MOST_AT_ONCE: Final = 100
# A run that is late by more was missed: the machine slept, the daemon was down or drained.
LATE_NS: Final = 60 * SECOND_NS
# cron(8): a clock that is set by more than three hours was wrong before. Nothing is waited for
# until it is as late again.
CORRECTED_NS: Final = 3 * 3600 * SECOND_NS


class Due(NamedTuple):
    """What is to be done at a look.

    `runs` are the times to run, the earliest first; `skipped` how many more were passed over, at
    most MOST_AT_ONCE counted. Afterwards all times up to `handled_ns` are dealt with; `next_ns` is
    the one after, None: there is none.
    """

    runs: tuple[int, ...]
    skipped: int
    handled_ns: int
    next_ns: int | None


def look(
    calendar: Calendar,
    handled_ns: int,
    now_ns: int,
    *,
    missed: Missed,
    most: int = MOST_AT_ONCE,
) -> Due:
    """What is due of a schedule that was dealt with up to a time: at most so many runs.

    `most` is 0 while another run goes on and must not be joined, and 1 when it may not be by two.
    """
    if handled_ns > now_ns + CORRECTED_NS:
        return Due((), 0, now_ns, calendar.after(now_ns))
    first = calendar.after(handled_ns)
    if first is None or first > now_ns:
        return Due((), 0, handled_ns, first)
    times = _newest(calendar, first, now_ns)
    runs = _to_run(times, now_ns, missed)
    runs = runs[max(len(runs) - most, 0) :]
    return Due(runs, len(times) - len(runs), now_ns, calendar.after(now_ns))


def _newest(calendar: Calendar, first: int, now_ns: int) -> list[int]:
    """The newest times from the first to now, at most MOST_AT_ONCE, the earliest first."""
    times: list[int] = []
    following: int | None = first
    while following is not None and following <= now_ns and len(times) < MOST_AT_ONCE:
        times.append(following)
        following = calendar.after(following)
    if following is None or following > now_ns:
        return times
    # There are more: from the other end.
    times, last = [], now_ns + 1
    while len(times) < MOST_AT_ONCE and (found := calendar.before(last, first)) is not None:
        times.append(found)
        last = found
    return times[::-1]


def _to_run(times: list[int], now_ns: int, missed: Missed) -> tuple[int, ...]:
    if missed == "all":
        return tuple(times)
    is_late = now_ns - times[-1] > LATE_NS
    return () if is_late and missed == "skip" else (times[-1],)
