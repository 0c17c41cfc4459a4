"""Sizes, rates, CPU shares, durations and bits, as people write them and as they are shown.

Pure text to number and back; no I/O. Whether a number makes sense for a limit is the
daemon's to say: here only what cannot be read, or cannot travel, is refused. Every
ValueError says what was given and what is allowed.
"""

from __future__ import annotations

import re
from typing import Final

# Bounds of what travels: a msgpack integer has 64 bits, and the daemon's fields are signed.
MAX_INTEGER: Final = 2**63 - 1

# setrlimit(2): these count bytes; the others seconds, microseconds or things.
SIZED_RLIMITS: Final = frozenset(
    {"as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"}
)

_SIZE_UNITS: Final = "KMGTP"
_STEP: Final = 1024
_BIT_STEP: Final = 1000
_MINUTE: Final = 60
_MILLI_DIGITS: Final = 3
_SHOWN_CHARS: Final = 40
_SIZE: Final = re.compile(
    r"([0-9]{1,20})(?:\.([0-9]{1,20}))?(?:([KMGTP])(?:iB)?|B)?", re.IGNORECASE
)
_SIZE_ALLOWED: Final = (
    "a number of bytes is allowed, such as 16777216, 256M, 1.5G or 10MiB "
    "(K, M, G, T and P count in 1024s)"
)
_BYTES: Final = re.compile(r"(?<![\w.,/-])([0-9]{4,19}) bytes\b")
# Networks count in 1000s. No "bps": tc(8) means bytes by it, everybody else bits.
_BIT_UNITS: Final = ("", "k", "M", "G", "T")
_BITS: Final = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,12}))? ?([kmgt]?)bit(?:/s)?", re.IGNORECASE)
_BITS_ALLOWED: Final = (
    "bits a second are allowed, such as 500kbit, 10mbit or 1.5gbit "
    "(bit, kbit, mbit, gbit and tbit count in 1000s)"
)
_NUMBER: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,12}))?")
_DURATION_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,9}) ?d)? ?(?:([0-9]{1,9}) ?h)? ?(?:([0-9]{1,12}) ?m(?:in)?)? ?"
    r"(?:([0-9]{1,12}(?:\.[0-9]{1,3})?) ?s)?"
)
_ONE_UNIT: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?(d|h|m|min|s|ms|)")
_DURATION_ALLOWED: Final = (
    "seconds, or numbers with d, h, m, s or ms are allowed, such as 90, 1.5s, 10m or 1h30m"
)


def parse_size(text: str) -> int:
    """Bytes that `text` stands for: "256M", "1.5G", "10MiB", "4096". K is 1024, case is free.

    Raises ValueError for anything else, for a fraction of a byte, and from 2^63 bytes on.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_shown(text)} given; {_SIZE_ALLOWED}")
    whole, fraction, unit = match[1], match[2] or "", (match[3] or "").upper()
    scale = 1 << 10 * (_SIZE_UNITS.index(unit) + 1) if unit else 1
    # Integers all the way: 0.1G in floating point is not a whole number of anything.
    parts: int = 10 ** len(fraction)
    size, rest = divmod(int(whole + fraction) * scale, parts)
    if rest:
        raise ValueError(f"{_shown(text)} given, a fraction of a byte; {_SIZE_ALLOWED}")
    if size > MAX_INTEGER:
        raise ValueError(f"{_shown(text)} given; too large; {_SIZE_ALLOWED}")
    return size


def parse_rate(text: str) -> int:
    """Bytes per second that `text` stands for: a size, with or without a final "/s".

    Raises ValueError as `parse_size` does.
    """
    return parse_size(text.strip().removesuffix("/s"))


def parse_bits(text: str) -> int:
    """Bits per second that `text` stands for: "10mbit", "1.5gbit", "500kbit/s"; case is free.

    A unit must be there, so that nobody takes bytes for bits. Raises ValueError for anything
    else, for a fraction of a bit, and from 2^63 on.
    """
    match = _BITS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_shown(text)} given; {_BITS_ALLOWED}")
    scale: int = 1000 ** (1 + "kmgt".index(match[3].lower())) if match[3] else 1
    parts: int = 10 ** len(match[2] or "")
    bits, rest = divmod(int(match[1] + (match[2] or "")) * scale, parts)
    if rest:
        raise ValueError(f"{_shown(text)} given, a fraction of a bit; {_BITS_ALLOWED}")
    if bits > MAX_INTEGER:
        raise ValueError(f"{_shown(text)} given; too large; {_BITS_ALLOWED}")
    return bits


def parse_cpus(text: str, *, zero: bool = False) -> int:
    """Thousandths of a CPU: "1.5" is 1500; zero is refused unless `zero` is true.

    Raises ValueError, also for a share that is finer.
    """
    match = _NUMBER.fullmatch(text.strip())
    fraction = (match[2] or "").rstrip("0") if match else ""
    if match is None or len(fraction) > _MILLI_DIGITS:
        raise ValueError(
            f"{_shown(text)} given; a number of CPUs in steps of 0.001 is allowed, "
            "such as 0.5, 1 or 2.25"
        )
    millicpus = int(f"{match[1]}{fraction:0<{_MILLI_DIGITS}}")
    if millicpus == 0 and not zero:
        raise ValueError(f"{_shown(text)} given; a number of CPUs from 0.01 is allowed")
    return millicpus


def parse_duration(text: str, *, zero: bool = False) -> float:
    """Seconds, to the millisecond: "90", "1.5s", "10m", "2h", "1d", "1h30m", "250ms".

    Zero is refused unless `zero` is true. What `format_duration` shows can be read again.
    Raises ValueError.
    """
    milliseconds = _milliseconds(text.strip().lower())
    if milliseconds is None:
        raise ValueError(f"{_shown(text)} given; {_DURATION_ALLOWED}")
    if milliseconds == 0 and not zero:
        raise ValueError(f"{_shown(text)} given; a duration above 0 is allowed")
    return milliseconds / 1000


def _milliseconds(text: str) -> int | None:
    """Milliseconds, or None for what is no duration, or one finer than they are."""
    if single := _ONE_UNIT.fullmatch(text):
        scale = {"ms": 1, "min": 60_000, "": 1_000, **dict(_DURATION_UNITS)}[single[2]]
        return _scaled(single[1], scale)
    parts = _DURATION.fullmatch(text)
    if parts is None or not any(parts.groups()):
        return None
    total = 0
    for number, (_, scale) in zip(parts.groups(), _DURATION_UNITS, strict=True):
        total += _scaled(number or "0", scale) or 0
    return total


def _scaled(number: str, scale: int) -> int | None:
    """`number`, which may have decimals, times `scale`; None when that is not whole."""
    whole, _, fraction = number.partition(".")
    value, rest = divmod(int(whole + fraction) * scale, 10 ** len(fraction))
    return None if rest else value


def format_size(size: int) -> str:
    """A size for people: "512 B", "1.5 MiB", "256 MiB"; at most three figures after rounding."""
    if abs(size) < _STEP:
        return f"{size} B"
    value = float(size)
    for unit in _SIZE_UNITS:
        value /= _STEP
        # 1023.96 would be shown as 1024, which is 1 of the next unit.
        if round(abs(value), 1) < _STEP or unit == _SIZE_UNITS[-1]:
            return f"{_trimmed(f'{value:.1f}')} {unit}iB"
    raise AssertionError("the last unit takes everything")


def in_units(text: str) -> str:
    """A sentence of the daemon, with its "268435456 bytes" as sizes are shown: "256 MiB"."""
    return _BYTES.sub(lambda found: format_size(int(found[1])), text)


def format_bits(bits: int) -> str:
    """Bits for people: "800 bit", "10 Mbit", "1.5 Gbit"; at most one decimal, after rounding."""
    value, index = float(bits), 0
    # 999.96 would be shown as 1000, which is 1 of the next unit.
    while round(value, 1) >= _BIT_STEP and index + 1 < len(_BIT_UNITS):
        value, index = value / _BIT_STEP, index + 1
    return f"{_trimmed(f'{value:.1f}')} {_BIT_UNITS[index]}bit"


def format_cpus(millicpus: int) -> str:
    """Thousandths of a CPU as CPUs: "0.5", "1024"."""
    return _trimmed(f"{millicpus / 1000:.3f}")


def format_duration(seconds: float) -> str:
    """A duration for people: "0.25 s", "10 s", "1 min 30 s", "2 h 5 min", "3 d 4 h".

    Exact to the millisecond below a minute; then whole seconds; from an hour on the two
    largest units.
    """
    if round(seconds, 3) < _MINUTE:
        return f"{_trimmed(f'{max(seconds, 0):.3f}')} s"
    return " ".join(f"{number} {unit}" for number, unit in _two_largest(round(seconds)))


def format_age(seconds: float) -> str:
    """A duration for a table's column, whole seconds: "7s", "1m30s", "2h5m", "3d4h"."""
    parts = _two_largest(max(int(seconds), 0))
    return "".join(f"{number}{unit[0]}" for number, unit in parts)


def _two_largest(seconds: int) -> list[tuple[int, str]]:
    """The two largest units that are not zero next to each other; ("0 s" for nothing)."""
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    index = next((i for i, (scale, _) in enumerate(units) if seconds >= scale), len(units) - 1)
    parts = []
    for scale, unit in units[index : index + 2]:
        number, seconds = divmod(seconds, scale)
        parts.append((number, unit))
    return [part for part in parts if part[0]] or [(0, "s")]


def _trimmed(decimal: str) -> str:
    """The decimal without zeros that say nothing."""
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


def _shown(text: str) -> str:
    """What was given, quoted and shortened, with nothing a terminal would act on."""
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
