"""What the followers of one log share: where a piece of it ends, and what its index says there.

So the index is read once for all of them. In memory, and bounded; the bytes of the output stay in
the segment that each has open, but for those of a short piece that all who wait are sent now.
What becomes of a piece is the caller's, where it is cut `runner.logs.segment`'s.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# For one log: the newest pieces, whose followers are near each other.
_MOST_BYTES: Final = 256 * 1024
# What an entry takes besides its bytes.
_ENTRY_BYTES: Final = 512


class Cut(NamedTuple):
    """A piece that can't become longer: how long it is, and `packed`, what is said of it.

    `segment` begins at that offset, and its index is read on at `place`.
    """

    segment: int
    length: int
    place: tuple[int, int, int]
    packed: bytes


class Cuts:
    """By the offset at which a piece begins."""

    def __init__(self) -> None:
        self._cuts: dict[int, Cut] = {}
        self._bytes = 0
        # What came last, with its bytes packed, and where it begins. Only as long as those who
        # wait are called one after the other: then it is all that there was.
        self.newest: tuple[int, Cut] | None = None

    def get(self, cursor: int) -> Cut | None:
        """The piece that begins there, if somebody had it lately."""
        return self._cuts.get(cursor)

    def put(self, cursor: int, cut: Cut) -> None:
        """Have it for others, in the place of the oldest."""
        if cursor in self._cuts:
            return
        self._cuts[cursor] = cut
        self._bytes += len(cut.packed) + _ENTRY_BYTES
        while self._bytes > _MOST_BYTES:
            oldest = self._cuts.pop(next(iter(self._cuts)))
            self._bytes -= len(oldest.packed) + _ENTRY_BYTES
