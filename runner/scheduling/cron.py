"""Cron expressions: the five fields of crontab(5), read and matched against a date and a time.

Pure, and without a time zone: at which moments a schedule is due is `runner.scheduling.calendar`'s.
What crontab(5) leaves out and others have (seconds, `L`, `#`, `~`, `@reboot`) is refused, and so
is what never comes (30 February).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Of a leap year.
_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SUNDAY: Final = 7
_MOST_DIGITS: Final = 4


class CronError(ValueError):
    """The text is no cron expression: what is allowed, as which field, in place of what."""


class _Field(NamedTuple):
    title: str
    first: int
    last: int
    names: list[str]


_FIELDS: Final = (
    _Field("minute", 0, 59, []),
    _Field("hour", 0, 23, []),
    _Field("day of the month", 1, 31, []),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, _SUNDAY, _DAYS),
)


class Cron(NamedTuple):
    """What an expression says. Days of the week are 0 (Sunday) to 6.

    `both_days`: a day has to be one of both kinds; else of one of them (crontab(5), "The day of a
    command's execution"). `is_fixed`: at certain times of the day, neither each minute nor each
    hour (cron(8), "Daylight Saving Time").
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool
    is_fixed: bool

    def has_day(self, moment: datetime) -> bool:
        """Whether the day of the month and of the week are right."""
        right = (moment.day in self.days, moment.isoweekday() % 7 in self.weekdays)
        return all(right) if self.both_days else any(right)


def parse(text: str) -> Cron:
    """The expression that a text is: five fields, or a nickname. Raises CronError."""
    words = NICKNAMES.get(text.strip().lower(), text).split()
    if len(words) != len(_FIELDS):
        names = ", ".join(NICKNAMES)
        raise CronError(
            "five fields (minute, hour, day of the month, month, day of the week), @every and a "
            f"length of time, or one of {names}"
        )
    minutes, hours, days, months, weekdays = (
        _values(field, word.lower()) for field, word in zip(_FIELDS, words, strict=True)
    )
    both_days = words[2].startswith("*") or words[4].startswith("*")
    if both_days and min(days) > max(_LENGTHS[month - 1] for month in months):
        raise CronError(f"a day that there is in month {words[3]!a}, not {words[2]!a}")
    is_fixed = not (words[0].startswith("*") or words[1].startswith("*"))
    return Cron(
        minutes, hours, days, months, frozenset(day % _SUNDAY for day in weekdays),
        both_days, is_fixed,
    )  # fmt: skip


def _values(field: _Field, word: str) -> frozenset[int]:
    """The numbers of a list of ranges."""
    found: set[int] = set()
    for part in word.split(","):
        found.update(_range(field, part))
    return frozenset(found)


def _range(field: _Field, part: str) -> range:
    """One of `*`, `N`, `A-B`, and with a step `*/S` or `A-B/S`."""
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    if slash and span != "*" and not dash:
        raise _wrong(field, part, f"a step of a range, such as {span}-{field.last}/{step},")
    if span == "*":
        low, high = field.first, field.last
    else:
        low = _number(field, first, part)
        high = _number(field, last, part) if dash else low
    if field.names is _DAYS and dash and high == 0:
        # From a day to Sunday, which is the last day of the week too.
        high = _SUNDAY
    if high < low:
        raise _wrong(field, part, "a range from the lower to the higher")
    return range(low, high + 1, _step(field, step, part) if slash else 1)


def _number(field: _Field, text: str, part: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    number = _decimal(text)
    if number is None or not field.first <= number <= field.last:
        names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise _wrong(field, part, f"{field.first} to {field.last}{names}")
    return number


def _step(field: _Field, text: str, part: str) -> int:
    step = _decimal(text)
    if not step:
        raise _wrong(field, part, "a step from 1 on")
    return step


def _decimal(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    return None


def _wrong(field: _Field, part: str, allowed: str) -> CronError:
    return CronError(f"{allowed} as {field.title}, not {part!a}")
