"""Where to go on in a job's output, as text: "N", or "A:N" in a later attempt than the first.

N is an absolute offset among the bytes of that attempt. Pure; what is read from there on is
`client.logstream`'s.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# What the daemon takes (docs/PROTOCOL.md).
_LARGEST_OFFSET: Final = 2**63 - 1
_LARGEST_ATTEMPT: Final = 1_000_000
_FORM: Final = re.compile(r"(?:([0-9]{1,7}):)?([0-9]{1,19})", re.ASCII)


class Cursor(NamedTuple):
    """A place in the output of an attempt, which counts from 1."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return str(self.offset) if self.attempt == 1 else f"{self.attempt}:{self.offset}"


def parse(text: str) -> Cursor:
    """The place that a text names. Raises ValueError, which says what it should be."""
    match = _FORM.fullmatch(text)
    if match is not None:
        found = Cursor(int(match[1] or 1), int(match[2]))
        if 1 <= found.attempt <= _LARGEST_ATTEMPT and found.offset <= _LARGEST_OFFSET:
            return found
    raise ValueError("not a cursor: an offset, or ATTEMPT:OFFSET, as `logs --show-cursor` says it")
