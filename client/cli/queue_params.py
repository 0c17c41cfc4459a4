"""Option types of the queue: labels, jobs to come after, times, and when to try again. No I/O.

As in `client.cli.params`: a ValueError becomes click's message, which names the option. Whether
a queue exists, what a priority may be and what a job is called are the daemon's to check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from client import units
from client.cli.quantity import Quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.records import After, On, Reason, RetryRule, State

ONS: Final = ("ok", "any", "fail", "started")
# After which a job may be tried again: never after somebody's stop, nor where it came too late.
REASONS: Final = (
    "exit", "signal", "oom", "timeout", "cpu-time", "output-limit", "launch-error", "log-error",
    "lost",
)  # fmt: skip
STATES: Final = ("queued", "starting", "running", "paused", "ended")
_AFTER_ALLOWED: Final = (
    "JOB[,JOB...], with :ok, :any, :fail or :started behind the last one, is allowed; "
    "--after may be repeated"
)
_RULE_ALLOWED: Final = (
    "REASON: and what changes is allowed, such as oom:mem=*1.5,mem-max=4G,times=3 or "
    "timeout:time=*2,time-max=4h"
)
_MOST_DIGITS: Final = 9
_SHOWN_CHARS: Final = 80


def _wrong(text: str, allowed: str) -> ValueError:
    shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    return ValueError(f"{shown!a} given; {allowed}")


def _after(text: str) -> list[After]:
    """Jobs before a colon, and what has to have become of them all behind it."""
    names, colon, on = text.partition(":")
    jobs = [name.strip() for name in names.split(",")]
    if not all(jobs) or (colon and on not in ONS):
        raise _wrong(text, _AFTER_ALLOWED)
    return [{"job": job, "on": cast("On", on) if colon else "ok"} for job in jobs]


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise _wrong(text, "NAME=VALUE is allowed")
    return name, value


def _label_asked(text: str) -> tuple[str, str | None]:
    """None as the value: any."""
    name, equals, value = text.partition("=")
    if not name:
        raise _wrong(text, "NAME or NAME=VALUE is allowed")
    return name, value if equals else None


def _at(text: str) -> int:
    from client.cli.queue_times import parse_ahead

    return parse_ahead(text)


def _deadline(text: str) -> Any:  # noqa: ANN401  a point or a span of `client.cli.queue_times`
    from client.cli.queue_times import parse_deadline

    return parse_deadline(text)


def _backoff(text: str) -> tuple[float, float | None]:
    """The wait before the first retry, and the longest one."""
    least, dots, most = text.partition("..")
    first = units.parse_duration(least, zero=True)
    if not dots:
        return first, None
    last = units.parse_duration(most, zero=True)
    if last < first:
        raise _wrong(text, "MIN..MAX is allowed, the longest wait behind the dots, such as 5s..5m")
    return first, last


def _reason(text: str) -> Reason:
    if text not in REASONS:
        raise _wrong(text, f"a reason is allowed: {', '.join(REASONS)}")
    return cast("Reason", text)


def _reasons(text: str) -> list[Reason]:
    return [_reason(item.strip()) for item in text.split(",")]


def _rule(text: str) -> RetryRule:
    """A reason, and what is changed before the job is tried again after it."""
    reason, colon, changes = text.partition(":")
    if not colon or not changes:
        raise _wrong(text, _RULE_ALLOWED)
    read: dict[str, Any] = {"reason": _reason(reason.strip())}
    for change in changes.split(","):
        name, equals, value = change.strip().partition("=")
        if not equals or name not in _CHANGES:
            words = ", ".join(f"{word}=" for word in _CHANGES)
            raise _wrong(change, f"{words} are allowed, such as oom:mem=*1.5,mem-max=4G,times=3")
        field, parse = _CHANGES[name]
        if field in read:
            raise _wrong(text, f"{name}= is allowed once")
        read[field] = parse(value)
    # The table below has the names of the fields, which the type cannot see.
    return cast("RetryRule", read)


def _factor(text: str) -> float:
    whole, _, decimals = text.removeprefix("*").partition(".")
    digits = whole + decimals
    is_number = whole and digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS
    if not text.startswith("*") or not is_number:
        raise _wrong(text, "a factor is allowed, such as *1.5")
    return float(text[1:])


def _times(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        raise _wrong(text, "a number of times is allowed")
    return int(text)


_CHANGES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "mem": ("memory_factor", _factor),
    "mem-max": ("memory_max_bytes", units.parse_size),
    "time": ("timeout_factor", _factor),
    "time-max": ("timeout_max_seconds", units.parse_duration),
    "times": ("limit", _times),
}


def _states(text: str) -> list[State]:
    states = [item.strip() for item in text.split(",")]
    for state in states:
        if state not in STATES:
            raise _wrong(state, f"a state is allowed: {', '.join(STATES)}")
    return cast("list[State]", states)


AFTER: Final = Quantity("job[,job...][:ok|any|fail|started]", _after)
LABEL: Final = Quantity("name=value", _label)
LABEL_ASKED: Final = Quantity("name[=value]", _label_asked)
AT: Final = Quantity("time", _at)
DEADLINE: Final = Quantity("time|duration", _deadline)
BACKOFF: Final = Quantity("min[..max]", _backoff)
REASON_LIST: Final = Quantity("reason[,reason...]", _reasons)
RULE: Final = Quantity("reason:change[,change...]", _rule)
STATE_LIST: Final = Quantity("state", _states)
