"""What reading a log gives: output that was read, output that lies in a file, a gap.

Values, without I/O. `runner.logs.segment` and `runner.logs.reader` make them; what is sent of
them is `runner.server.pieces`'s.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

# docs/PROTOCOL.md: the data of one event, as far as it is read; its arrays hold 8,192 items.
MAX_CHUNK_BYTES: Final = 256 * 1024
# The same of what is not read here.
MAX_EXTENT_BYTES: Final = 1024 * 1024
MAX_CHUNK_RUNS: Final = 4000

# stream, length, time_ns
Run = tuple[int, int, int]


class Chunk(NamedTuple):
    """Output: `data` begins at the absolute `offset`; `runs`, in order, cut all of it."""

    offset: int
    runs: list[Run]
    data: bytes


class Extent(NamedTuple):
    """Output that was not read: it lies in the file that is open as `fd`, from `position` on.

    Otherwise as a Chunk. `fd` is the reader's, and open until that is asked for more; the
    segment begins at `segment`, and `place` is where its index is read on.
    """

    offset: int
    runs: list[Run]
    fd: int
    position: int
    length: int
    segment: int
    place: tuple[int, int, int]


class Gap(NamedTuple):
    """`gap_bytes` bytes from the cursor on are gone; reading goes on at the absolute `offset`.

    `why`: retention removed them, or they are damaged, or neither can be seen: then the writer
    dropped them for want of room, if it can have.
    """

    gap_bytes: int
    offset: int
    why: Literal["removed", "dropped", "damaged"]


class CursorError(ValueError):
    """The cursor lies beyond the log's visible end, which is `end`."""

    def __init__(self, cursor: int, end: int) -> None:
        super().__init__(f"cursor {cursor}; the log ends at {end}")
        self.end = end
