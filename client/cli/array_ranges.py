"""Which jobs an array has, as people write it: "0-99", "1,3,5-7", "0-99:2", "0-999%4". Pure.

Nothing is expanded: an array may have more indexes than fit into memory, and how many are allowed
is the daemon's to say, as is whether one is named twice.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SHOWN_CHARS: Final = 40
# What the daemon takes (docs/PROTOCOL.md).
_LARGEST_INDEX: Final = 2**31 - 1
_MOST_RANGES: Final = 64
_RANGE: Final = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([0-9]{1,10}))?)?", re.ASCII)
_ALLOWED: Final = (
    "indexes and ranges are allowed, such as 0-99, 1,3,5-7 or 0-99:2 (every second), and %N behind "
    "them for N at once"
)

Range = tuple[int, int, int]


class Array(NamedTuple):
    """First, last and stride of each range, and how many run at once at most (None: no bound)."""

    ranges: list[Range]
    max_running: int | None


def parse_array(text: str) -> Array:
    """The array that a text describes. Raises ValueError, which says what is allowed."""
    indexes, percent, most = text.partition("%")
    if not indexes.strip():
        raise ValueError(f"{_shown(text)} given; {_ALLOWED}")
    ranges = [_range(item.strip()) for item in indexes.split(",")]
    merged = _merged(ranges)
    if len(merged) > _MOST_RANGES:
        raise ValueError(f"{len(merged)} ranges given; at most {_MOST_RANGES} are allowed")
    return Array(merged, _at_once(most) if percent else None)


def _range(text: str) -> Range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} given; {_ALLOWED}")
    first = int(match[1])
    last, stride = int(match[2] or first), int(match[3] or 1)
    if last > _LARGEST_INDEX or first > _LARGEST_INDEX:
        raise ValueError(f"{_shown(text)} given; an index is at most {_LARGEST_INDEX}")
    if last < first:
        raise ValueError(f"{_shown(text)} given; the first index of a range is not above its last")
    if not 1 <= stride <= _LARGEST_INDEX:
        raise ValueError(f"{_shown(text)} given; a stride is 1 to {_LARGEST_INDEX}")
    return first, last, stride


def _merged(ranges: list[Range]) -> list[Range]:
    """The same indexes, where one follows the other as one range: "1,2,3" is 1-3."""
    merged: list[Range] = []
    for first, last, stride in ranges:
        before = merged[-1] if merged else None
        if before and before[2] == stride == 1 and before[1] + 1 == first:
            merged[-1] = (before[0], last, 1)
        else:
            merged.append((first, last, stride))
    return merged


def _at_once(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not 1 <= int(text) <= _LARGEST_INDEX:
        given = _shown(f"%{text}")
        raise ValueError(f"{given} given; %N is allowed, N from 1 on: so many run at once")
    return int(text)


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
