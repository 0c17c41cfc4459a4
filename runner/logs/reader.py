"""Reads a job's log by cursor, segment after segment, while the monitor writes and removes.

Blocking and synchronous, in the daemon: a call reads at most one chunk, mostly from the page
cache, and is fit for the event loop's thread. It never waits and never changes the log;
`runner.logs.tail` says when to look again, `runner.logs.segment` reads one pair of files.
"""

from __future__ import annotations

import errno
import os
import time
from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self, overload

from runner.logs.chunks import (
    MAX_CHUNK_BYTES,
    MAX_EXTENT_BYTES,
    Chunk,
    CursorError,
    Extent,
    Gap,
)
from runner.logs.format import LOG_SUFFIX, ZSTD_SUFFIX, parse_name
from runner.logs.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from runner.logs.cuts import Cut
    from runner.logs.segment import Pack

__all__ = [
    "MAX_CHUNK_BYTES",
    "Chunk",
    "CursorError",
    "Extent",
    "Gap",
    "LogReader",
]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
# What a segment is found by.
_DATA_SUFFIXES: Final = (LOG_SUFFIX, LOG_SUFFIX + ZSTD_SUFFIX)
# Time stamps of files move in steps of some milliseconds: a directory that changed later than
# this before it was listed may have changed again without a sign.
_SETTLED_NS: Final = 2_000_000_000


class LogReader:
    """One reader of the log in the directory `path`; not for several threads at once.

    Holds three descriptors at most. While it stands in a segment that was removed, or replaced
    by a compressed one, it reads on there, and the disk keeps those two files until it moves on
    or is closed.

    `damage` is None, or a sentence about the first damage met: an index that is garbled or
    covers data that is not there, or a compressed file that cannot be decompressed. What cannot
    be shown is a gap when something follows it.

    Raises OSError of open(2) when the directory cannot be opened.
    """

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.damage: str | None = None
        self._segment: Segment | None = None
        # How long a piece must be to be left where it is; None: they are read.
        self._least_in_place: int | None = None
        # The segments as they were listed last, and the directory's time stamp then; None when
        # that does not tell whether they are still the same.
        self._listed: list[int] = []
        self._stamp: int | None = None
        # The stamp when no segment began where the open one ends.
        self._without_next: int | None = None
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

    def rest(self) -> None:
        """Keep no output in memory until the next read: a reader may have to wait for long."""
        if self._segment is not None:
            self._segment.rest()

    @overload
    def read(
        self,
        cursor: int,
        max_bytes: int = ...,
        *,
        is_growing: bool = ...,
        least_in_place: None = ...,
    ) -> Chunk | Gap | None: ...

    @overload
    def read(
        self, cursor: int, max_bytes: int = ..., *, is_growing: bool = ..., least_in_place: int
    ) -> Chunk | Extent | Gap | None: ...

    def read(
        self,
        cursor: int,
        max_bytes: int = MAX_CHUNK_BYTES,
        *,
        is_growing: bool = False,
        least_in_place: int | None = None,
    ) -> Chunk | Extent | Gap | None:
        """What lies at the absolute offset `cursor`, which may be in the middle of a record.

        A Chunk of at most `max_bytes` (never more than MAX_CHUNK_BYTES) and MAX_CHUNK_RUNS,
        and never across two segments; a Gap when those bytes are gone; None at the visible end.
        `is_growing`: the log's writer is alive, as far as is known. Then the end is believed
        without a look at all names, when the writer's own sign says that nothing follows. Read
        again without it once the writer has ended: what a power cut left has such signs too.
        With `least_in_place` a piece of so many bytes or more is an Extent, where it can be, of
        at most `max_bytes` and MAX_EXTENT_BYTES.
        Raises CursorError beyond the visible end, ValueError for a negative cursor or a
        `max_bytes` below 1, OSError when the disk fails.
        """
        if cursor < 0 or max_bytes < 1:
            raise ValueError(f"{cursor=}, {max_bytes=}: at least 0 and 1")
        limit = min(max_bytes, MAX_CHUNK_BYTES if least_in_place is None else MAX_EXTENT_BYTES)
        self._least_in_place = least_in_place
        here = self._read_here(cursor, limit) or self._read_next(cursor, limit)
        if here is None and is_growing and self._is_at_end(cursor):
            return None
        return here or self._read_elsewhere(cursor, limit)

    def appended(self, cursor: int, pack: Pack) -> Cut | None:
        """All that has come since nothing was left to read at `cursor`, cut and packed.

        Blind to new names. Of nothing the length is 0; None: read() finds out. Raises OSError.
        """
        return None if self._segment is None else self._segment.appended(cursor, pack)

    @property
    def index_name(self) -> str | None:
        """The file that is written last when the open segment is appended to, if it can be."""
        return None if self._segment is None else self._segment.index_name

    def take(self, cursor: int, cut: Cut) -> tuple[int, int] | None:
        """The descriptor and position of a piece that begins there, as another reader cut it.

        Reading goes on after it. None when it is to be read: it is not in the segment that is
        open, or not as it is. The descriptor is the reader's, as an Extent's.
        """
        return None if self._segment is None else self._segment.take(cursor, cut)

    def end(self) -> int:
        """The absolute offset after the last visible byte. Raises OSError when the disk fails."""
        starts = self._starts()
        while starts:
            start = starts[-1]
            end = self.segment_end(start)
            # A listing may miss what was begun or compressed meanwhile, but not twice.
            starts = self._starts()
            if starts[-1:] == [start]:
                # When it cannot be opened, its index was lost.
                return start if end is None else end
        return self._segment.end() if self._segment else 0

    def segments(self) -> list[int]:
        """The first offsets of the segments that are there, in order."""
        return list(self._starts())

    def segment_end(self, start: int) -> int | None:
        """The offset after the last visible byte of the segment at `start`; None: it is gone."""
        with self._visit(start) as segment:
            return None if segment is None else segment.end()

    def find_time(self, time_ns: int) -> int:
        """The offset of the first record of that time (Unix nanoseconds) or later, else end().

        Of some such record where the clock went back, and of a gap that comes right before it.
        Raises OSError when the disk fails.
        """
        starts = self._starts()
        low, high = 0, len(starts)
        # The first segment that begins at that time or later.
        while low < high:
            middle = (low + high) // 2
            found, first = self._first_time(starts, middle, high)
            if first is not None and first < time_ns:
                low = found + 1
            else:
                high = middle
        if low:
            with self._visit(starts[low - 1]) as segment:
                if segment is not None:
                    found = segment.find_time(time_ns)
                    # Segments overlap on a disk that lies.
                    return min([found, *starts[low : low + 1]])
        return starts[low] if low < len(starts) else self.end()

    def _first_time(self, starts: list[int], low: int, high: int) -> tuple[int, int | None]:
        """The first of the segments `low` to `high` that has a record, and that one's time."""
        for number in range(low, high):
            with self._visit(starts[number]) as segment:
                if segment is not None and (first := segment.first_time()) is not None:
                    return number, first
        return high, None

    def _read_here(self, cursor: int, limit: int) -> Chunk | Extent | Gap | None:
        """From the segment that is open, if `cursor` is in it."""
        if self._segment is None or cursor < self._segment.start:
            return None
        try:
            return self._segment.read(cursor, limit, self._least_in_place)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            # Removed by another machine, on a network file system.
            self._leave()
            return None

    def _read_next(self, cursor: int, limit: int) -> Chunk | Extent | Gap | None:
        """From the segment that begins just there, without a look at the directory."""
        if self._segment is None or cursor <= self._segment.start:
            return None
        stamp = self._settled_stamp()
        if stamp is not None and stamp == self._without_next:
            return None
        segment = self._open(cursor)
        if segment is None:
            self._without_next = stamp
            return None
        self._leave()
        self._segment = segment
        return self._read_here(cursor, limit)

    def _is_at_end(self, cursor: int) -> bool:
        """Whether the segment that is open ends there and is the last, as a living writer says.

        Asked after it was read: what comes between the two wakes whoever follows the log. The
        older daemons' writers give no sign, but the next segment of theirs begins just where
        this one ends, and was looked for there.
        """
        segment = self._segment
        if segment is None or segment.may_be_followed():
            return False
        return segment.is_read_up_to(cursor) or segment.end() == cursor

    def _read_elsewhere(self, cursor: int, limit: int) -> Chunk | Extent | Gap | None:
        """Find the segment of `cursor` by name, while names come and go.

        A listing is no snapshot: it may show a segment and miss the one before it, when that
        was begun or compressed meanwhile. So a gap or an end is believed only when two listings
        in a row agree: what the first one missed was there before the second began.
        """
        seen: tuple[int | None, int | None] | None = None
        while True:
            starts = self._starts()
            position = bisect_right(starts, cursor)
            start = starts[position - 1] if position else None
            following = starts[position] if position < len(starts) else None
            # Read after listing: where a later segment is seen, this one has come to its end.
            opened = start is not None and self._move_to(start)
            if opened and (piece := self._read_here(cursor, limit)):
                return piece
            if (start, following) == seen:
                break
            seen = (start, following)
        if following is not None:
            return self._gap(cursor, start, following)
        end = self._segment.end() if opened and self._segment else self.end()
        if cursor > end:
            raise CursorError(cursor, end)
        return None

    def _gap(self, cursor: int, start: int | None, following: int) -> Gap:
        """Between `cursor` and the segment after it; the one before it begins at `start`.

        "dropped" where nothing shows another reason.
        """
        if start is None:
            return Gap(following - cursor, following, "removed")
        before = self._segment
        is_whole = before is not None and before.start == start and before.is_whole()
        return Gap(following - cursor, following, "dropped" if is_whole else "damaged")

    def _starts(self) -> list[int]:
        """The first offsets of the segments that are there, in order; not to be changed."""
        if self._dir_fd < 0:
            raise ValueError("the reader is closed")
        stamp = self._settled_stamp()
        if stamp is None or stamp != self._stamp:
            names = filter(None, map(parse_name, os.listdir(self._dir_fd)))
            self._listed = sorted({start for start, suffix in names if suffix in _DATA_SUFFIXES})
            self._stamp = stamp
        return self._listed

    def _settled_stamp(self) -> int | None:
        """The directory's time stamp, which changes with it; None while that cannot be told."""
        stamp = os.fstat(self._dir_fd).st_mtime_ns
        return stamp if 0 < stamp < time.time_ns() - _SETTLED_NS else None

    def _move_to(self, start: int) -> bool:
        """Have the segment at `start` open. False when it cannot be: it was removed."""
        if self._segment is None or self._segment.start != start:
            self._leave()
            self._segment = self._open(start)
        return self._segment is not None

    @contextmanager
    def _visit(self, start: int) -> Iterator[Segment | None]:
        """The segment at `start` for a look, without leaving the present one."""
        if self._segment is not None and self._segment.start == start:
            yield self._segment
            return
        segment = self._open(start)
        try:
            yield segment
        finally:
            if segment is not None:
                segment.close()

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
            self._segment = self._without_next = None

    def _report(self, damage: str) -> None:
        if self.damage is None:
            self.damage = damage
