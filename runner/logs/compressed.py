"""Files of a segment, plain or compressed, as one thing: bytes at a position, and a size.

In the daemon, blocking. It knows descriptors and the zstd seekable format; what the bytes mean
is `runner.logs.segment`'s. A compressed file is believed in nothing: whatever is in it, no more
memory is taken than FRAME_BYTES and its table, and nothing but OSError is raised.
"""

from __future__ import annotations

import os
import stat
import sys
from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Protocol

from runner.logs.format import (
    FRAME_BYTES,
    MOST_FRAMES,
    SEEKABLE_MAGIC,
    SKIPPABLE_MAGIC,
    TABLE_ENTRY,
    TABLE_FOOTER,
    TABLE_HEADER,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

# zstd's own bound for what a frame of incompressible data grows to (ZSTD_compressBound), and
# its header and checksum.
_MOST_COMPRESSED: Final = FRAME_BYTES + FRAME_BYTES // 256 + 64
_TABLE_EDGES: Final = TABLE_HEADER.size + TABLE_FOOTER.size
# Without a bound, a few bytes of header make the decoder ask for 128 MiB. 2**18 is FRAME_BYTES.
_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 18}


class LogFile(Protocol):
    """One file of a segment. Its methods raise OSError when the disk fails.

    `plain_fd` is what it is open as, when its bytes lie there as they are; else None.
    """

    @property
    def plain_fd(self) -> int | None: ...  # noqa: D102  see above

    def size(self) -> int:
        """How many plain bytes there are now."""

    def read_at(self, count: int, position: int) -> bytes:
        """At most `count` bytes from `position` on; fewer at the end, or before damage."""

    def resumes_at(self, position: int) -> int:
        """The first position after `position`, which could not be read, that may be read."""

    def is_final(self) -> bool:
        """Whether nothing is appended to it any more: then another segment may follow."""

    def rest(self) -> None:
        """Give back the memory that only saves work for the next read."""

    def close(self) -> None:
        """Close the descriptor. Once only."""


class PlainFile:
    """The file that is open as `fd`, which belongs to this object from now on."""

    def __init__(self, fd: int) -> None:
        self.plain_fd = fd

    def size(self) -> int:
        """How many bytes there are now."""
        return os.fstat(self.plain_fd).st_size

    def read_at(self, count: int, position: int) -> bytes:
        """At most `count` bytes from `position` on. Raises OSError of pread(2)."""
        return os.pread(self.plain_fd, count, position)

    def resumes_at(self, position: int) -> int:  # noqa: ARG002 - as a compressed file is asked
        """Nowhere but at the end: what is missing was cut off there."""
        return self.size()

    def is_final(self) -> bool:
        """Its writer takes the right to write away before it begins another, or removes it."""
        found = os.fstat(self.plain_fd)
        return found.st_nlink == 0 or not found.st_mode & stat.S_IWUSR

    def rest(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Close the descriptor. Once only."""
        os.close(self.plain_fd)


class CompressedFile:
    """The compressed file that is open as `fd`, which belongs to this object from now on.

    The frame that was read last is kept until rest(), so that reading in order decompresses
    each once.
    `report` is called with a sentence about what is damaged: the table, and then the file is
    empty; or a frame, and then reading ends before it.

    Raises OSError of pread(2), after closing `fd`.
    """

    plain_fd = None

    def __init__(self, fd: int, report: Callable[[str], None]) -> None:
        self._fd = fd
        self._report = report
        # Where each frame begins, and where the last one ends: compressed, and plain.
        self._packed = self._plain = array("Q", [0])
        self._number = -1
        self._frame = b""
        try:
            self._read_table()
        except OSError:
            os.close(fd)
            raise

    def size(self) -> int:
        """How many plain bytes there are."""
        return self._plain[-1]

    def read_at(self, count: int, position: int) -> bytes:
        """At most `count` plain bytes from `position` on. Raises OSError of pread(2)."""
        parts = []
        stop = min(position + count, self.size())
        while position < stop:
            number = bisect_right(self._plain, position) - 1
            if not (frame := self._load(number)):
                break
            begin = position - self._plain[number]
            parts.append(frame[begin : begin + stop - position])
            position += len(parts[-1])
        return b"".join(parts)

    def resumes_at(self, position: int) -> int:
        """Where the frame after the one of `position` begins."""
        return self._plain[min(bisect_right(self._plain, position), len(self._plain) - 1)]

    def is_final(self) -> bool:
        """Only what is finished is compressed."""
        return True

    def rest(self) -> None:
        """Forget the frame that was read last."""
        self._number = -1
        self._frame = b""

    def close(self) -> None:
        """Close the descriptor. Once only."""
        os.close(self._fd)

    def _read_table(self) -> None:
        size = os.fstat(self._fd).st_size
        sizes = self._sizes(size)
        packed = array("Q", accumulate((entry[0] for entry in sizes), initial=0))
        plain = array("Q", accumulate((entry[1] for entry in sizes), initial=0))
        table = _TABLE_EDGES + len(sizes) * TABLE_ENTRY.size
        if sizes and all(map(_is_possible, sizes)) and packed[-1] + table == size:
            self._packed, self._plain = packed, plain
        else:
            self._report("its table of frames is damaged")

    def _sizes(self, file_size: int) -> list[tuple[int, int]]:
        """What the table says, compressed and plain; empty when it is none of ours."""
        footer = os.pread(self._fd, TABLE_FOOTER.size, max(0, file_size - TABLE_FOOTER.size))
        if len(footer) < TABLE_FOOTER.size:
            return []
        number, descriptor, magic = TABLE_FOOTER.unpack(footer)
        if magic != SEEKABLE_MAGIC or descriptor or number > MOST_FRAMES:
            return []
        length = number * TABLE_ENTRY.size + _TABLE_EDGES
        table = os.pread(self._fd, length, max(0, file_size - length))
        expected = TABLE_HEADER.pack(SKIPPABLE_MAGIC, length - TABLE_HEADER.size)
        if len(table) < length or not table.startswith(expected):
            return []
        entries = table[TABLE_HEADER.size : -TABLE_FOOTER.size]
        return list(TABLE_ENTRY.iter_unpack(entries))

    def _load(self, number: int) -> bytes:
        """The plain bytes of a frame; empty when it is damaged."""
        if number != self._number:
            begin, end = self._packed[number], self._packed[number + 1]
            packed = os.pread(self._fd, end - begin, begin)
            size = self._plain[number + 1] - self._plain[number]
            self._frame = _decompressed(packed, size)
            self._number = number
            if not self._frame:
                self._report("a frame of it is damaged")
        return self._frame


def _is_possible(sizes: tuple[int, int]) -> bool:
    packed, plain = sizes
    return 0 < packed <= _MOST_COMPRESSED and 0 < plain <= FRAME_BYTES


def _decompressed(packed: bytes, size: int) -> bytes:
    """The plain bytes of one frame; empty when it is not one whole frame of `size` bytes."""
    try:
        # What the frame says of itself, before memory is taken for it.
        if zstd.get_frame_info(packed).decompressed_size != size:
            return b""
        decompressor = zstd.ZstdDecompressor(options=_OPTIONS)
        plain = decompressor.decompress(packed, max_length=size + 1)
    except zstd.ZstdError:
        return b""
    whole = decompressor.eof and not decompressor.unused_data and len(plain) == size
    return plain if whole else b""
