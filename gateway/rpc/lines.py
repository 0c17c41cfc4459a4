"""A job's output as numbered lines. Pure.

A line belongs to one stream, however much the two are mixed; lines are numbered in the order of
their ends. What is held of an unfinished line is bounded: a longer one is given in pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE_BYTES: Final = 64 * 1024
_MAX_CHARACTER_BYTES: Final = 4


class Line(NamedTuple):
    """`text` is without its newline. `partial`: the line goes on under the same number."""

    number: int
    stream: int
    text: bytes
    partial: bool = False


class Lines:
    """Cuts output, given piece by piece. `count` is how many lines there were."""

    def __init__(self) -> None:
        self.count = 0
        self._rest: dict[int, bytes] = {}
        # The number of a line of which pieces were given.
        self._begun: dict[int, int] = {}

    def add(self, stream: int, data: bytes) -> Iterator[Line]:
        """The lines, and pieces of long ones, that are complete with that."""
        *whole, rest = (self._rest.pop(stream, b"") + data).split(b"\n")
        for text in whole:
            yield from self._in_pieces(stream, text, ends=True)
        if len(rest) > MAX_LINE_BYTES:
            yield from self._in_pieces(stream, rest, ends=False)
        elif rest:
            self._rest[stream] = rest

    def end(self) -> Iterator[Line]:
        """What has no newline at the end of the output."""
        for stream in sorted({*self._rest, *self._begun}):
            yield self._line(stream, self._rest.pop(stream, b""), partial=False)

    def _in_pieces(self, stream: int, text: bytes, *, ends: bool) -> Iterator[Line]:
        while len(text) > MAX_LINE_BYTES:
            cut = _character(text, MAX_LINE_BYTES)
            yield self._line(stream, text[:cut], partial=True)
            text = text[cut:]
        if ends:
            yield self._line(stream, text, partial=False)
        else:
            self._rest[stream] = text

    def _line(self, stream: int, text: bytes, *, partial: bool) -> Line:
        number = self._begun.pop(stream, None)
        if number is None:
            self.count += 1
            number = self.count
        if partial:
            self._begun[stream] = number
        return Line(number, stream, text, partial)


def _character(text: bytes, at: int) -> int:
    """The end of a character of UTF-8 at most so far, so that none is cut in two."""
    for cut in range(at, at - _MAX_CHARACTER_BYTES, -1):
        if text[cut] & 0xC0 != 0x80:  # noqa: PLR2004  not in the middle of one
            return cut
    return at
