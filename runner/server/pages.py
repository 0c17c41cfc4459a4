"""How many entries of an answer go into one frame, by what they take there.

Measured as they are sent, whatever they are made of: a page that passed the frame's bound would be
no answer at all. What an entry looks like is `runner.views`', where the next page begins the
handler's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from client import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

# Far less than a frame: what is made at once, the others wait for. It leaves room for what is
# around it, and for one entry that is longer by itself.
PAGE_BYTES: Final = protocol.MAX_FRAME_BYTES // 4


class Page:
    """Entries that take no more than `most` bytes together; the first one in any case."""

    def __init__(self, most: int = PAGE_BYTES) -> None:
        self.entries: list[dict[str, Any]] = []
        self._left = most

    def add(self, entry: dict[str, Any]) -> bool:
        """Take one more; False, and it is not taken, when there is no room for it.

        Raises FrameError for an entry that is longer than a frame.
        """
        # Its length in front is more than what an array adds.
        self._left -= len(protocol.encode_frame(entry))
        if self.entries and self._left < 0:
            return False
        self.entries.append(entry)
        return True


def fitting(entries: Iterable[dict[str, Any]], most: int = PAGE_BYTES) -> list[dict[str, Any]]:
    """The first entries, as many as fit: no more are made than one that is too many."""
    page = Page(most)
    for entry in entries:
        if not page.add(entry):
            break
    return page.entries
