"""Whether the store's write-ahead log was damaged: to SQLite it is a shorter one then, or none.

That is no error to SQLite, and what it does not read it writes over. The format is that of
sqlite.org/fileformat2.html, section 4. Reads only; what is done about it is `runner.salvage`'s.

What is normal, and looks like damage: frames of an earlier log behind the valid ones, after
a checkpoint (their salts are others); a header without a frame of its own, after a power cut;
frames of the last transactions that are torn or missing then, for until they are synced they are
promised to nobody. The header is synced before the first frame is written, and one transaction at
least of each MOST_UNSYNCED (`runner.store_commits`). So a garbled header is damage; and so are
commits that SQLite does not come to though a frame follows each whose checksum goes on from its
own: as many as could not all be waiting for their sync, and any at all of a log that was written
since the machine was booted, which no power cut has seen. Of the last transactions alone, after
another boot, nobody can tell.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.store_commits import MOST_UNSYNCED

if TYPE_CHECKING:
    from typing import BinaryIO

# Magic, format, page size, number of the checkpoint, two salts, two sums.
_HEADER: Final = struct.Struct(">8I")
# Page, pages of the database after a commit (else 0), two salts, two sums.
_FRAME: Final = struct.Struct(">6I")
# The last bit says whether the sums are of big-endian words.
_MAGICS: Final = {0x377F0682: "<", 0x377F0683: ">"}
_SUMMED_HEADER_BYTES: Final = 24
_SUMMED_FRAME_BYTES: Final = 8
_PAGE_SIZES: Final = frozenset(2**power for power in range(9, 17))
_WORD: Final = 0xFFFFFFFF

_Sums = tuple[int, int]


class _Frame(NamedTuple):
    is_whole: bool
    is_commit: bool


def damage_of_log(path: str, booted_ns: int | None = None) -> str | None:
    """Why the log at `path` does not hold all that was committed to it, or None.

    `booted_ns` is when the machine was booted, Unix time; None: as the clocks say. Some 100 ms
    for the 4 MiB that a log has as a rule. Raises OSError; one that is not there is sound.
    """
    # O_NONBLOCK: opening a FIFO that lies in its place would wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(FileNotFoundError), open(os.open(path, flags), "rb") as file:
        since = _booted_ns() if booted_ns is None else booted_ns
        may_lack = 0 if os.fstat(file.fileno()).st_mtime_ns >= since else MOST_UNSYNCED - 1
        return _damage(file, may_lack)
    return None


def _booted_ns() -> int:
    """clock_gettime(2), CLOCK_BOOTTIME."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _damage(file: BinaryIO, may_lack: int) -> str | None:
    header = file.read(_HEADER.size)
    first = file.read(1)
    if not first:
        # Nothing was ever written behind the header.
        return None
    file.seek(_HEADER.size)
    magic, _format, page_bytes, _number, *rest = _HEADER.unpack(header)
    order = _MAGICS.get(magic)
    sums = (rest[2], rest[3])
    if order is None or _summed(order, (0, 0), header[:_SUMMED_HEADER_BYTES]) != sums:
        return "its header is garbled"
    if page_bytes not in _PAGE_SIZES:
        return "its header names no size of pages"
    frames = _frames(file, order, page_bytes, (rest[0], rest[1]), sums)
    lost = _lost_commits(frames)
    return f"{lost} of its transactions cannot be read" if lost > may_lack else None


def _lost_commits(frames: list[_Frame]) -> int:
    """Commits that were finished and that SQLite, which stops at the first break, does not read."""
    broken = next((n for n, frame in enumerate(frames) if not frame.is_whole), len(frames))
    behind = range(broken, len(frames) - 1)
    return sum(1 for n in behind if frames[n].is_commit and frames[n + 1].is_whole)


def _frames(
    file: BinaryIO, order: str, page_bytes: int, salts: tuple[int, int], sums: _Sums
) -> list[_Frame]:
    """All there is room for; one is whole when its sums go on from those of the one before."""
    found = []
    size = _FRAME.size + page_bytes
    while len(data := file.read(size)) == size:
        _page, pages, salt1, salt2, *stored = _FRAME.unpack_from(data)
        is_of_this_log = (salt1, salt2) == salts
        is_whole = is_of_this_log and _sums_of_frame(order, sums, data) == tuple(stored)
        found.append(_Frame(is_whole, is_of_this_log and pages > 0))
        sums = (stored[0], stored[1])
    return found


def _sums_of_frame(order: str, sums: _Sums, data: bytes) -> _Sums:
    return _summed(order, sums, data[:_SUMMED_FRAME_BYTES] + data[_FRAME.size :])


def _summed(order: str, sums: _Sums, data: bytes) -> _Sums:
    """Section 4.2, "Checksum Algorithm"."""
    one, two = sums
    for first, second in struct.iter_unpack(f"{order}2I", data):
        one = (one + first + two) & _WORD
        two = (two + second + one) & _WORD
    return one, two
