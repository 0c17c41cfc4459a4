"""The figures of a refusal as its reader knows them: 1 GiB, 0.5 CPUs, a time by the clock.

Pure. In which unit a number travels, its field's name says (docs/PROTOCOL.md); the sentences are
`client.errors`'.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from client.units import (
    format_bits,
    format_cpus,
    format_duration,
    format_size,
    in_units,
    parse_size,
)

if TYPE_CHECKING:
    from client.errors import RequestRefused

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_MILLICPUS: Final = re.compile(r"\b([0-9]{1,9}) millicpus\b")
# Nanoseconds, from 1970 on to as far as a clock of 64 bits goes.
TIME: Final = re.compile(r"\b[0-9]{1,19}\b")
_KIB: Final = 1024
# Above these, figures are shown as they came.
_MAX_SHOWN: Final = 10**15


def _is_size(error: RequestRefused) -> bool:
    return error.field is not None and "bytes" in error.field


def is_time(error: RequestRefused) -> bool:
    """Whether its figures are points in time."""
    return (error.field or "").endswith("_ns")


def clock(time_ns: int) -> str:
    """A Unix time as the reader's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns // 10**9))


def with_units(text: str) -> str:
    """A sentence of the daemon, with its bytes and thousandths of CPUs as they are shown."""
    return _MILLICPUS.sub(lambda found: f"{format_cpus(int(found[1]))} CPUs", in_units(text))


def figure(error: RequestRefused, given: str) -> str:
    """What was given, in the unit in which the reader gave it."""
    if not _NUMBER.fullmatch(given):
        return given
    if is_time(error) and TIME.fullmatch(given):
        return clock(int(given))
    number = float(given)
    if not _is_size(error):
        shown = 0 <= number < _MAX_SHOWN
        if shown:
            return f"{bound(error, given)}{after(error)}"
        return f"{given} s" if (error.field or "").endswith("_seconds") else given
    return f"{_exact_size(given)}{after(error)}"


def _exact_size(given: str) -> str:
    """A size as every other is shown, unless that would be another."""
    if given.isdecimal() and int(given) >= _KIB:
        text = format_size(int(given))
        # Rounded it may come to a fraction of a byte.
        with suppress(ValueError):
            if parse_size(text.replace(" ", "")) == int(given):
                return text
    return f"{given} byte{'' if float(given) == 1 else 's'}"


def bound(error: RequestRefused, text: str) -> str:
    """A number of this field for people: 1 GiB, 0.5 (of a CPU), 1 h."""
    field = error.field or ""
    if _is_size(error):
        return format_size(int(float(text)))
    if field.endswith("bits_per_second"):
        return format_bits(int(float(text)))
    if field.endswith("millicpus"):
        return format_cpus(int(float(text)))
    return format_duration(float(text)) if field.endswith("_seconds") else text


def after(error: RequestRefused) -> str:
    """What follows the numbers of this field."""
    field = error.field or ""
    if field.endswith("_per_second"):
        return " a second"
    return " CPUs" if field.endswith("millicpus") else ""
