"""Finds lines and times in a log: where its last lines begin, what was written since, until.

In the daemon, blocking, a bounded piece at a time, so that who asks can do other things between
two of them and stop at any. `LastLines` decides, without I/O; `search` feeds it, backwards, with
what `runner.logs.reader` reads. Nothing is kept but a block: a line may be as long as the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from runner.logs.format import STDERR, STDOUT
from runner.logs.reader import MAX_CHUNK_BYTES, Chunk, CursorError, Gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.logs.reader import LogReader

# A block is as large as one event, unless it is cut into this many runs, each of them an object.
_LARGEST_BLOCK: Final = MAX_CHUNK_BYTES
_SMALLEST_BLOCK: Final = 4096
_MANY_RUNS: Final = 8192
_FEW_RUNS: Final = 1024


class Wanted(NamedTuple):
    """What to find: the last `lines` lines of `streams`, between two times (Unix nanoseconds).

    Without `lines` everything between them.
    """

    lines: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    streams: Sequence[int] = (STDOUT, STDERR)


class Found(NamedTuple):
    """Absolute offsets: read from `cursor` to `end`.

    Bytes of a stream before its own offset are not wanted.
    """

    cursor: int
    stdout: int
    stderr: int
    end: int


class LastLines:
    """Where the last `lines` lines of `streams` begin, in output that ends at `end`.

    A line belongs to one stream, however much the streams are mixed; it ends with its newline,
    or, when it is not finished, with the last byte there is of it; lines are in the order of
    their ends. Give it the output backwards, until `is_done` or nothing is left.
    """

    def __init__(self, lines: int, streams: Sequence[int], end: int) -> None:
        self._left = lines
        self._end = end
        self._streams = {stream: _Stream(end) for stream in streams}

    @property
    def is_done(self) -> bool:
        """Whether more output would change nothing."""
        open_lines = any(found.is_met and not found.is_closed for found in self._streams.values())
        return self._left == 0 and not open_lines

    def begin(self, stream: int) -> int:
        """The offset of the first wanted byte of `stream`; `end` when it has none."""
        found = self._streams.get(stream)
        return self._end if found is None else found.begin

    def take(self, stream: int, offset: int, data: bytes) -> None:
        """One run, which comes before all that was given: `data` of `stream` at `offset`."""
        found = self._streams.get(stream)
        if found is None or found.is_closed or not data:
            return
        stop = len(data)
        if not found.is_met:
            # The stream's last byte: a newline or not, it ends a line.
            found.is_met = True
            found.is_closed = self._left == 0
            if found.is_closed:
                return
            self._left -= 1
            stop -= 1
            found.begin = offset + stop
        self._take_newlines(found, offset, data, stop)

    def _take_newlines(self, found: _Stream, offset: int, data: bytes, stop: int) -> None:
        """Each newline before `stop` ends a line, and the one after it begins behind it."""
        count = data.count(b"\n", 0, stop)
        if count <= self._left:
            self._left -= count
            if stop:
                found.begin = offset
            return
        while not found.is_closed:
            newline = data.rindex(b"\n", 0, stop)
            if newline + 1 < stop:
                found.begin = offset + newline + 1
            if self._left == 0:
                found.is_closed = True
            else:
                self._left -= 1
                found.begin = offset + newline
                stop = newline


class _Stream:
    """What was found of one stream so far."""

    __slots__ = ("begin", "is_closed", "is_met")

    def __init__(self, end: int) -> None:
        self.begin = end
        self.is_met = False
        # The line before the first wanted one was seen.
        self.is_closed = False


def search(reader: LogReader, wanted: Wanted) -> Iterator[Found | None]:
    """Find it: None after each piece of work, and at last what was found.

    A piece is some 256 KiB or some thousands of runs: milliseconds.

    The reader is the search's alone meanwhile. Where the beginning of what is wanted was removed,
    `cursor` is before it, so that its reader is told. Raises OSError when the disk fails.
    """
    end = reader.end()
    if wanted.until_ns is not None:
        end = min(end, reader.find_time(wanted.until_ns + 1))
    yield None
    floor = 0
    if wanted.since_ns is not None:
        floor = min(end, reader.find_time(wanted.since_ns))
        # All that is left is wanted, and perhaps some of what was removed.
        if floor <= min(reader.segments(), default=0):
            floor = 0
        yield None
    if wanted.lines is None:
        yield Found(floor, floor, floor, end)
        return
    last = LastLines(wanted.lines, wanted.streams, end)
    for pieces in _backwards(reader, floor, end):
        if last.is_done:
            break
        for piece in reversed(pieces):
            _take_runs(last, piece)
        yield None
    stdout, stderr = last.begin(STDOUT), last.begin(STDERR)
    # More was wanted than is left.
    is_cut = not last.is_done and min(reader.segments(), default=0) > floor
    yield Found(floor if is_cut else min(stdout, stderr), stdout, stderr, end)


def _take_runs(last: LastLines, piece: Chunk) -> None:
    stop = len(piece.data)
    for stream, length, _ in reversed(piece.runs):
        last.take(stream, piece.offset + stop - length, piece.data[stop - length : stop])
        stop -= length


def _backwards(reader: LogReader, floor: int, end: int) -> Iterator[list[Chunk]]:
    """What is visible between the two offsets: block before block, each of them in order."""
    size = _SMALLEST_BLOCK
    for start in reversed(reader.segments()):
        if start >= end:
            continue
        stop = min(end, reader.segment_end(start) or start)
        lowest = max(start, floor)
        while stop > lowest:
            begin = max(lowest, stop - size)
            pieces = _between(reader, begin, stop)
            runs = sum(len(piece.runs) for piece in pieces)
            if runs > _MANY_RUNS and size > _SMALLEST_BLOCK:
                # It was left half read: each run is an object, and a piece of work is bounded.
                size = max(_SMALLEST_BLOCK, size // 16)
                yield []
                continue
            yield pieces
            if runs < _FEW_RUNS:
                size = min(_LARGEST_BLOCK, size * 2)
            stop = begin
        if start <= floor:
            return


def _between(reader: LogReader, begin: int, stop: int) -> list[Chunk]:
    """What is visible there, or of more than _MANY_RUNS the first so many."""
    pieces: list[Chunk] = []
    runs = 0
    while begin < stop and runs <= _MANY_RUNS:
        try:
            piece = reader.read(begin, stop - begin)
        except CursorError:
            # The log was removed meanwhile.
            break
        if piece is None:
            break
        if isinstance(piece, Gap):
            begin = piece.offset
        else:
            pieces.append(piece)
            runs += len(piece.runs)
            begin += len(piece.data)
    return pieces
