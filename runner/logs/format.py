"""The names, index records and seek tables of a job's log: bytes in, values out, no I/O.

The one description of the format; the monitor writes by it (`runner.logs.writer`,
`runner.logs.sealing`) and the daemon reads by it (`runner.logs.reader`,
`runner.logs.compressed`). Part of the lean set: it is loaded into every monitor, so it
imports next to nothing.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STDOUT: Final = 1
STDERR: Final = 2

LOG_SUFFIX: Final = ".log"
INDEX_SUFFIX: Final = ".idx"
# Follows one of the two on a file that was compressed.
ZSTD_SUFFIX: Final = ".zst"
# Follows that while the file is being made; nobody reads it.
TEMPORARY_SUFFIX: Final = ".tmp"

# time_ns, offset, length, stream, three zero bytes
INDEX_RECORD: Final = struct.Struct("<QQIB3x")
MAX_OFFSET: Final = 2**64 - 1

# The zstd seekable format (contrib/seekable_format in zstd's sources): frames, then the sizes
# of each, compressed and plain, in a skippable frame (RFC 8878, 3.1.2) that ends with a footer:
# the number of frames, a descriptor, a magic number.
TABLE_HEADER: Final = struct.Struct("<II")
TABLE_ENTRY: Final = struct.Struct("<II")
TABLE_FOOTER: Final = struct.Struct("<IBI")
SKIPPABLE_MAGIC: Final = 0x184D2A5E
SEEKABLE_MAGIC: Final = 0x8F92EAB1
# Plain bytes of a frame at most, and so what finding one byte costs.
FRAME_BYTES: Final = 256 * 1024
# 16 GiB of plain data, and 512 KiB of table that a reader holds. A longer file stays plain.
MOST_FRAMES: Final = 2**16

_SUFFIXES: Final = (
    LOG_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX + ZSTD_SUFFIX,
    INDEX_SUFFIX + ZSTD_SUFFIX,
)
# Of one log, whatever was asked for. More would make each look into its directory slow, and
# take a disk's inodes.
MOST_SEGMENTS: Final = 4096

# 2**64 - 1 has twenty digits, so that names sort as their offsets do.
_DIGITS: Final = 20


class Record(NamedTuple):
    """One read of the monitor: `length` bytes of `stream` at the absolute `offset`.

    `time_ns` is Unix time in nanoseconds; `stream` is STDOUT or STDERR.
    """

    time_ns: int
    offset: int
    length: int
    stream: int

    @property
    def end(self) -> int:
        """The absolute offset of the first byte after it."""
        return self.offset + self.length


def log_name(start: int) -> str:
    """The file of raw output whose first byte has the absolute offset `start`."""
    return f"{start:0{_DIGITS}d}{LOG_SUFFIX}"


def index_name(start: int) -> str:
    """The file of index records beside `log_name(start)`."""
    return f"{start:0{_DIGITS}d}{INDEX_SUFFIX}"


def parse_name(name: str) -> tuple[int, str] | None:
    """The offset and the suffix of a file's name: ".log", ".idx", or one of them with ".zst".

    None for any other name.
    """
    digits, suffix = name[:_DIGITS], name[_DIGITS:]
    if suffix not in _SUFFIXES:
        return None
    # int() alone would take "+1", "1_0", spaces and the digits of other scripts.
    if not (digits.isascii() and digits.isdigit()):
        return None
    start = int(digits)
    return (start, suffix) if start <= MAX_OFFSET else None


def visible_records(index: bytes, start: int) -> Iterator[Record]:
    """The records at the head of `index` that are whole and sane, in order.

    `start` is the offset that the first record must have: the segment's own when `index`
    is read from its beginning, else the end of the record before. The first record that is
    torn, does not begin where the one before ended, is empty or names no stream ends the
    visible part: what follows it cannot be trusted.
    """
    whole = len(index) - len(index) % INDEX_RECORD.size
    for fields in INDEX_RECORD.iter_unpack(index[:whole]):
        _, offset, length, stream = fields
        if offset != start or not length or stream not in (STDOUT, STDERR):
            return
        yield Record._make(fields)
        start += length


def whole_runs(index: bytes, start: int) -> list[tuple[int, int, int]] | None:
    """Stream, length and time of each of the records, when all are visible; else None."""
    if len(index) % INDEX_RECORD.size:
        return None
    runs = []
    for time_ns, offset, length, stream in INDEX_RECORD.iter_unpack(index):
        if offset != start or not length or stream not in (STDOUT, STDERR):
            return None
        runs.append((stream, length, time_ns))
        start += length
    return runs


def seek_table(frames: Sequence[tuple[int, int]]) -> bytes:
    """What ends a compressed file: for each frame its compressed and its plain size."""
    entries = b"".join(TABLE_ENTRY.pack(*sizes) for sizes in frames)
    footer = TABLE_FOOTER.pack(len(frames), 0, SEEKABLE_MAGIC)
    return TABLE_HEADER.pack(SKIPPABLE_MAGIC, len(entries) + len(footer)) + entries + footer
