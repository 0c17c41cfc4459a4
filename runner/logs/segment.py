"""One segment of a log, open for reading: finds a cursor in the index and cuts the data by it.

Blocking and synchronous, in the daemon. It knows one pair of files and holds both open, so
that what is removed or compressed meanwhile can still be read to its end; how they are stored
is `runner.logs.compressed`'s business, and which segment is the next one `runner.logs.reader`'s.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from runner.logs.chunks import MAX_CHUNK_BYTES, MAX_CHUNK_RUNS, Chunk, Extent, Gap, Run
from runner.logs.compressed import CompressedFile, PlainFile
from runner.logs.cuts import Cut
from runner.logs.format import (
    INDEX_RECORD,
    ZSTD_SUFFIX,
    Record,
    index_name,
    log_name,
    visible_records,
    whole_runs,
)
from runner.logs.opening import close_both, open_both

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.logs.compressed import LogFile

    # Offset, runs and data of a chunk, as they are sent.
    Pack = Callable[[int, list[Run], bytes], bytes]

_SIZE: Final = INDEX_RECORD.size
# The records fetched at once: some 4 KiB, a page of the index.
_BATCH: Final = 170
# What one read of the data gives who waits at the end.
_LITTLE_BYTES: Final = 64 * 1024


class Segment:
    """The segment that begins at the absolute offset `start`.

    What is visible: the whole, sane records of the index whose data is there too. (The writer
    cannot leave a record without its data, but a power cut can.) `report` is called with a
    sentence about the first record that is neither; it may be called again for the same one.

    Raises FileNotFoundError when it is there neither plain nor compressed, and other OSErrors
    of open(2).
    """

    def __init__(self, dir_fd: int, start: int, report: Callable[[str], None]) -> None:
        self.start = start
        self._tell = report
        self._is_damaged = False
        self._index, self._log = self._open(dir_fd)
        is_plain = isinstance(self._index, PlainFile)
        # What each append to it ends with, as long as that can be.
        self.index_name = index_name(start) if is_plain else None
        # Where reading stopped: record `_number` begins at `_offset`. It may not exist yet,
        # and then `_length` is 0; or it was read in part.
        self._number = 0
        self._offset = start
        self._length = 0

    def close(self) -> None:
        """Close both files. Once only."""
        self._index.close()
        self._log.close()

    def rest(self) -> None:
        """Give back the memory that only saves work for the next read."""
        self._index.rest()
        self._log.rest()

    def may_be_followed(self) -> bool:
        """Whether its writer, if it is alive, may have begun another segment after it."""
        return self._log.is_final()

    def read(
        self, cursor: int, max_bytes: int, least_in_place: int | None = None
    ) -> Chunk | Extent | Gap | None:
        """What is visible from `cursor` on: at most `max_bytes` and MAX_CHUNK_RUNS.

        An Extent when it is at least `least_in_place` bytes (at most MAX_CHUNK_BYTES) of a plain
        file; else at most MAX_CHUNK_BYTES. A Gap over data that cannot be decompressed; None
        when nothing is visible. Sequential reading costs no search. Raises OSError of pread(2).
        """
        if not self._seek(cursor):
            return None
        fd = None if least_in_place is None else self._log.plain_fd
        most = max_bytes if fd is not None else min(max_bytes, MAX_CHUNK_BYTES)
        runs, length = self._cut(cursor, cursor + most)
        if not runs:
            return None
        if fd is not None and least_in_place is not None and length >= least_in_place:
            place = (self._number, self._offset, self._length)
            return Extent(cursor, runs, fd, cursor - self.start, length, self.start, place)
        data = self._log.read_at(length, cursor - self.start)
        if len(data) == length:
            return Chunk(cursor, runs, data)
        return self.read(cursor, len(data)) if data else self._gap(cursor)

    def appended(self, cursor: int, pack: Pack) -> Cut | None:
        """All that has come at `cursor`, where reading stopped, and how it is cut and packed.

        In two system calls; of nothing the length is 0. None when that is not the way: it
        is much, or not plain, or not sane, and read() finds it. Raises OSError of pread(2).
        """
        index_fd, fd = self._index.plain_fd, self._log.plain_fd
        if index_fd is None or fd is None or self._offset != cursor or self._length:
            return None
        index = os.pread(index_fd, _BATCH * _SIZE, self._number * _SIZE)
        if not index:
            return Cut(self.start, 0, (self._number, cursor, 0), b"")
        runs = whole_runs(index, cursor)
        if not runs or len(runs) == _BATCH:
            return None
        length = sum([run[1] for run in runs])
        data = os.pread(fd, length, cursor - self.start) if length <= _LITTLE_BYTES else b""
        if len(data) < length:
            return None
        self._number += len(runs)
        self._offset += length
        place = (self._number, self._offset, 0)
        return Cut(self.start, length, place, pack(cursor, runs, data))

    def take(self, cursor: int, cut: Cut) -> tuple[int, int] | None:
        """The descriptor and position of a piece that another reader of the segment has cut.

        Goes on after it. None when it is not there as it is.
        """
        fd = self._log.plain_fd
        if fd is None or cut.segment != self.start:
            return None
        self._number, self._offset, self._length = cut.place
        return fd, cursor - self.start

    def is_read_up_to(self, cursor: int) -> bool:
        """Whether reading stopped there, and there is no further record now."""
        at_cursor = self._offset == cursor and not self._length
        return at_cursor and self._count() == self._number

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

    def is_whole(self) -> bool:
        """Whether all that was ever stored in it is visible, as far as can be told."""
        end = self.end()
        is_whole = end == self._data_end() and not self._index.size() % _SIZE
        # Only the first may be left empty: a power cut has taken all of another.
        return is_whole and not self._is_damaged and (end > self.start or self.start == 0)

    def first_time(self) -> int | None:
        """The time of its first record, Unix nanoseconds. None when there is none."""
        record = self._record(0) if self._count() else None
        return None if record is None else record.time_ns

    def find_time(self, time_ns: int) -> int:
        """The offset of the first record of that time or later; end() when there is none.

        Of some such record, where the clock went back.
        """
        low, high = 0, self._count()
        found = None
        while low < high:
            middle = (low + high) // 2
            record = self._record(middle)
            if record is not None and record.time_ns < time_ns:
                low = middle + 1
            else:
                high, found = middle, record
        return self.end() if found is None else found.offset

    def _open(self, dir_fd: int) -> tuple[LogFile, LogFile]:
        """The index and the data.

        Compressed ones come first: they have their names once they are whole on the disk. Plain
        ones beside them were never synced, and a power cut may have brought them back torn.
        """
        names = index_name(self.start), log_name(self.start)
        packed = [name + ZSTD_SUFFIX for name in names]
        opened = self._open_packed(dir_fd, packed)
        if opened is not None and all(file.size() for file in opened):
            return opened
        try:
            plain = open_both(dir_fd, *names)
        except OSError:
            close_both(opened)
            raise
        if plain is not None:
            close_both(opened)
            return PlainFile(plain[0]), PlainFile(plain[1])
        # Else it was compressed between the two.
        opened = opened or self._open_packed(dir_fd, packed)
        if opened is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), names[1])
        return opened

    def _open_packed(self, dir_fd: int, packed: list[str]) -> tuple[LogFile, LogFile] | None:
        fds = open_both(dir_fd, *packed)
        if fds is None:
            return None
        try:
            index = CompressedFile(fds[0], lambda text: self._report(f"{packed[0]}: {text}"))
        except OSError:
            os.close(fds[1])
            raise
        try:
            log = CompressedFile(fds[1], lambda text: self._report(f"{packed[1]}: {text}"))
        except OSError:
            index.close()
            raise
        return index, log

    def _gap(self, cursor: int) -> Gap | None:
        """Over data that the index covers and that cannot be read."""
        offset = min(self.start + self._log.resumes_at(cursor - self.start), self.end())
        return Gap(offset - cursor, offset, "damaged") if offset > cursor else None

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
        while position < stop and (records := self._batch(stop)):
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
            if len(records) < _BATCH or len(runs) == MAX_CHUNK_RUNS:
                # What came since is read next time.
                break
        return runs, position - cursor

    def _batch(self, stop: int) -> list[Record]:
        """The visible records from `_number` to `stop`, as many as one read of the index gives."""
        index = self._index.read_at(_BATCH * _SIZE, self._number * _SIZE)
        if len(index) < _SIZE:
            return []
        data_end = self._data_end()
        records = []
        for record in visible_records(index, self._offset):
            end = record.offset + record.length
            if end > data_end:
                break
            records.append(record)
            if end >= stop:
                return records
        if len(records) < len(index) // _SIZE:
            self._damaged()
        return records

    def _record(self, number: int) -> Record | None:
        """Record `number` when it can be one: without its neighbours, as a search sees it."""
        index = self._index.read_at(_SIZE, number * _SIZE)
        if len(index) < _SIZE:
            return None
        offset = Record._make(INDEX_RECORD.unpack(index)).offset
        # Each record before it holds a byte at least; the first begins with the segment.
        possible = offset >= self.start + number if number else offset == self.start
        record = next(visible_records(index, offset), None)
        if not possible or record is None or record.end > self._data_end():
            self._damaged()
            return None
        return record

    def _count(self) -> int:
        return self._index.size() // _SIZE

    def _data_end(self) -> int:
        """Asked after the index was read: the data of every record seen there is older."""
        return self.start + self._log.size()

    def _damaged(self) -> None:
        # Without the record's number, which depends on how it was come to: once is enough.
        self._report(
            f"{index_name(self.start)}: a record is damaged or its data is missing; "
            "this segment is shown up to there"
        )

    def _report(self, damage: str) -> None:
        self._is_damaged = True
        self._tell(damage)
