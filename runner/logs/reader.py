"""Reads a job's log by cursor, segment after segment, while the monitor writes and removes.

Blocking and synchronous, in the daemon: a call reads at most one chunk, mostly from the page
cache, and is fit for the event loop's thread. It never waits and never changes the log;
`runner.logs.tail` says when to look again, `runner.logs.segment` reads one pair of files.
"""

from __future__ import annotations

import errno
import logging
import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from runner.logs.format import LOG_SUFFIX, parse_name
from runner.logs.segment import MAX_CHUNK_BYTES, Chunk, Segment

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MAX_CHUNK_BYTES", "Chunk", "CursorError", "Gap", "LogReader"]

_logger: Final = logging.getLogger(__name__)

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Gap(NamedTuple):
    """`gap_bytes` bytes from the cursor on are gone; reading goes on at the absolute `offset`."""

    gap_bytes: int
    offset: int


class CursorError(ValueError):
    """The cursor lies beyond the log's visible end, which is `end`."""

    def __init__(self, cursor: int, end: int) -> None:
        super().__init__(f"cursor {cursor}; the log ends at {end}")
        self.end = end


class LogReader:
    """One reader of the log in the directory `path`; not for several threads at once.

    Holds three descriptors at most. While it stands in a segment that retention has removed,
    it reads on there, and the disk keeps those two files until it moves on or is closed.

    `damage` is None, or a sentence about the first damage met: an index that is garbled or
    covers data that is not there. The visible part of that segment ends there. When a later
    segment exists, what lies between is a gap.

    Raises OSError of open(2) when the directory cannot be opened.
    """

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.damage: str | None = None
        self._segment: Segment | None = None
        self._path = path
        self._dir_fd = os.open(path, _DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor. Again is harmless."""
        self._leave()
        if self._dir_fd >= 0:
            os.close(self._dir_fd)
            self._dir_fd = -1

    def read(self, cursor: int, max_bytes: int = MAX_CHUNK_BYTES) -> Chunk | Gap | None:
        """What lies at the absolute offset `cursor`, which may be in the middle of a record.

        A Chunk of at most `max_bytes` (never more than MAX_CHUNK_BYTES) and MAX_CHUNK_RUNS,
        and never across two segments; a Gap when those bytes are gone; None at the visible end.
        Raises CursorError beyond the visible end, ValueError for a negative cursor or a
        `max_bytes` below 1, OSError when the disk fails.
        """
        if cursor < 0 or max_bytes < 1:
            raise ValueError(f"{cursor=}, {max_bytes=}: at least 0 and 1")
        limit = min(max_bytes, MAX_CHUNK_BYTES)
        return self._read_here(cursor, limit) or self._read_elsewhere(cursor, limit)

    def end(self) -> int:
        """The absolute offset after the last visible byte. Raises OSError when the disk fails."""
        starts = self._starts()
        while starts:
            here = self._segment
            if here is not None and here.start == starts[-1]:
                return here.end()
            if (segment := self._open(starts[-1])) is not None:
                try:
                    return segment.end()
                finally:
                    segment.close()
            starts, before = self._starts(), starts
            if starts[-1:] == before[-1:]:
                return before[-1]  # it is there and cannot be opened: its index was lost
        return self._segment.end() if self._segment else 0

    def _read_here(self, cursor: int, limit: int) -> Chunk | None:
        """From the segment that is open, if `cursor` is in it."""
        if self._segment is None or cursor < self._segment.start:
            return None
        try:
            return self._segment.read(cursor, limit)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            # Removed by another machine, on a network file system.
            self._leave()
            return None

    def _read_elsewhere(self, cursor: int, limit: int) -> Chunk | Gap | None:
        """Find the segment of `cursor` by name, while names come and go.

        A listing is no snapshot: it may show a segment and miss the one before it, when both
        were begun meanwhile. So a gap is believed only when two listings in a row agree: what
        the first one missed was there before the second began.
        """
        seen: tuple[int | None, int | None] | None = None
        while True:
            starts = self._starts()
            position = bisect_right(starts, cursor)
            start = starts[position - 1] if position else None
            following = starts[position] if position < len(starts) else None
            # Read after listing: where a later segment is seen, this one has come to its end.
            opened = start is not None and self._move_to(start)
            if opened and (chunk := self._read_here(cursor, limit)):
                return chunk
            if (opened and following is None) or (start, following) == seen:
                break
            seen = (start, following)
        if following is not None:
            return Gap(following - cursor, following)
        end = self._segment.end() if opened and self._segment else self.end()
        if cursor > end:
            raise CursorError(cursor, end)
        return None

    def _starts(self) -> list[int]:
        """The first offsets of the segments that are there, in order."""
        if self._dir_fd < 0:
            raise ValueError("the reader is closed")
        names = (parse_name(name) for name in os.listdir(self._dir_fd))
        return sorted(name[0] for name in names if name is not None and name[1] == LOG_SUFFIX)

    def _move_to(self, start: int) -> bool:
        """Have the segment at `start` open. False when it cannot be: it was removed."""
        if self._segment is None or self._segment.start != start:
            self._leave()
            self._segment = self._open(start)
        return self._segment is not None

    def _open(self, start: int) -> Segment | None:
        try:
            return Segment(self._dir_fd, start, self._report)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return None
            raise

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _report(self, damage: str) -> None:
        if self.damage is None:
            self.damage = damage
            _logger.warning("log %s: %s", os.fsdecode(self._path), damage)
