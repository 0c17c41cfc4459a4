"""One segment of a log, open for reading: finds a cursor in the index and cuts the data by it.

Blocking and synchronous, in the daemon. It knows one pair of files and holds both open, so
that what retention removes meanwhile can still be read to its end; which segment is the next
one is `runner.logs.reader`'s business.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.logs.format import (
    INDEX_RECORD,
    Record,
    index_name,
    log_name,
    visible_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# docs/PROTOCOL.md: the data of one event; its arrays hold 8,192 items.
MAX_CHUNK_BYTES: Final = 256 * 1024
MAX_CHUNK_RUNS: Final = 4000

_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_SIZE: Final = INDEX_RECORD.size
# The records fetched at once: some 4 KiB, a page of the index.
_BATCH: Final = 170

# stream, length, time_ns
Run = tuple[int, int, int]


class Chunk(NamedTuple):
    """Output: `data` begins at the absolute `offset`; `runs`, in order, cut all of it."""

    offset: int
    runs: list[Run]
    data: bytes


class Segment:
    """The segment that begins at the absolute offset `start`.

    What is visible: the whole, sane records of the index whose data is there too. (The writer
    cannot leave a record without its data, but a power cut can.) `report` is called with a
    sentence about the first record that is neither; it may be called again for the same one.

    Raises FileNotFoundError when one of its files is not there, and other OSErrors of open(2).
    """

    def __init__(self, dir_fd: int, start: int, report: Callable[[str], None]) -> None:
        self.start = start
        self._report = report
        self._index_fd = os.open(index_name(start), _READ, dir_fd=dir_fd)
        try:
            self._log_fd = os.open(log_name(start), _READ, dir_fd=dir_fd)
        except OSError:
            os.close(self._index_fd)
            raise
        # Where reading stopped: record `_number` begins at `_offset`. It may not exist yet,
        # and then `_length` is 0; or it was read in part.
        self._number = 0
        self._offset = start
        self._length = 0

    def close(self) -> None:
        """Close both files. Once only."""
        os.close(self._index_fd)
        os.close(self._log_fd)

    def read(self, cursor: int, max_bytes: int) -> Chunk | None:
        """What is visible from `cursor` on: at most `max_bytes` and MAX_CHUNK_RUNS.

        None when nothing is. Sequential reading costs no search. Raises OSError of pread(2).
        """
        if not self._seek(cursor):
            return None
        runs, length = self._cut(cursor, cursor + max_bytes)
        if not runs:
            return None
        data = os.pread(self._log_fd, length, cursor - self.start)
        return Chunk(cursor, runs, data) if len(data) == length else None

    def end(self) -> int:
        """The absolute offset after the last visible byte; `start` when there is none."""
        low, high = 0, self._count()
        end = self.start
        probe = high - 1
        # The last record first: nearly always it is sane. Else the first that is not, by halves.
        while low < high:
            record = self._record(probe)
            if record is None:
                high = probe
            else:
                low, end = probe + 1, record.end
            probe = (low + high) // 2
        return end

    def _seek(self, cursor: int) -> bool:
        """Stand on the record that `cursor` is in, or on the end when it is exactly there."""
        if self._offset <= cursor < self._offset + max(self._length, 1):
            return True
        low, high = 0, self._count()
        while low < high:
            middle = (low + high) // 2
            record = self._record(middle)
            if record is None or cursor < record.offset:
                high = middle
            elif cursor >= record.end:
                low = middle + 1
            else:
                self._number, self._offset, self._length = middle, record.offset, record.length
                return True
        return False

    def _cut(self, cursor: int, stop: int) -> tuple[list[Run], int]:
        """The runs from `cursor` to at most `stop`, and their length; moves to their end."""
        runs: list[Run] = []
        position = cursor
        while position < stop and (records := self._batch()):
            for time_ns, offset, length, stream in records[: MAX_CHUNK_RUNS - len(runs)]:
                if stop < (end := offset + length):
                    if position < stop:
                        runs.append((stream, stop - position, time_ns))
                    self._offset, self._length = offset, length
                    return runs, stop - cursor
                runs.append((stream, end - position, time_ns))
                position = end
                self._number += 1
            self._offset, self._length = position, 0
            if len(runs) == MAX_CHUNK_RUNS:
                break
        return runs, position - cursor

    def _batch(self) -> list[Record]:
        """The visible records from `_number` on, as many as one read of the index gives."""
        index = os.pread(self._index_fd, _BATCH * _SIZE, self._number * _SIZE)
        if len(index) < _SIZE:
            return []
        records = list(visible_records(index, self._offset))
        if records and records[-1].end > (data_end := self._data_end()):
            records = [record for record in records if record.end <= data_end]
        if len(records) < len(index) // _SIZE:
            self._damaged(self._number + len(records))
        return records

    def _record(self, number: int) -> Record | None:
        """Record `number` when it can be one: without its neighbours, as a search sees it."""
        index = os.pread(self._index_fd, _SIZE, number * _SIZE)
        if len(index) < _SIZE:
            return None
        offset = Record._make(INDEX_RECORD.unpack(index)).offset
        # Each record before it holds a byte at least; the first begins with the segment.
        possible = offset >= self.start + number if number else offset == self.start
        record = next(visible_records(index, offset), None)
        if not possible or record is None or record.end > self._data_end():
            self._damaged(number)
            return None
        return record

    def _count(self) -> int:
        return os.fstat(self._index_fd).st_size // _SIZE

    def _data_end(self) -> int:
        """Asked after the index was read: the data of every record seen there is older."""
        return self.start + os.fstat(self._log_fd).st_size

    def _damaged(self, number: int) -> None:
        self._report(
            f"{index_name(self.start)}: record {number} is damaged or its data is missing; "
            "this segment is shown up to there"
        )
