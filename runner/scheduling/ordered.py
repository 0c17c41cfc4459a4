"""A sorted set that stays quick when it is large: chunks of a few hundred, each a sorted list.

Adding and removing cost a bisection and moving one chunk; nothing here knows what is sorted.
Items have to be comparable with each other and may not be there twice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T", bound=Any)
_CHUNK: Final = 512


class Ordered(Generic[T]):
    """Items from the smallest to the largest."""

    __slots__ = ("_chunks", "_lasts", "_length")

    def __init__(self) -> None:
        self._chunks: list[list[T]] = []
        self._lasts: list[T] = []  # the largest of each chunk
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            yield from chunk

    def __contains__(self, item: T) -> bool:
        index = bisect_left(self._lasts, item)
        if index == len(self._chunks):
            return False
        chunk = self._chunks[index]
        return bool(chunk[bisect_left(chunk, item)] == item)

    @property
    def first(self) -> T | None:
        """The smallest, None of nothing."""
        return self._chunks[0][0] if self._chunks else None

    @property
    def last(self) -> T | None:
        """The largest, None of nothing."""
        return self._lasts[-1] if self._lasts else None

    def add(self, item: T) -> None:
        """Put it in its place; it must not be there yet."""
        if not self._chunks:
            self._chunks.append([])
            self._lasts.append(item)
        index = min(bisect_left(self._lasts, item), len(self._chunks) - 1)
        chunk = self._chunks[index]
        insort(chunk, item)
        self._lasts[index] = chunk[-1]
        self._length += 1
        if len(chunk) > 2 * _CHUNK:
            self._split(index)

    def discard(self, item: T) -> bool:
        """Take it out; False: it was not there."""
        index = bisect_left(self._lasts, item)
        if index == len(self._chunks):
            return False
        chunk = self._chunks[index]
        place = bisect_left(chunk, item)
        if chunk[place] != item:
            return False
        del chunk[place]
        self._length -= 1
        if chunk:
            self._lasts[index] = chunk[-1]
        else:
            del self._chunks[index], self._lasts[index]
        return True

    def after(self, item: T) -> T | None:
        """The smallest of those that are larger; the item itself need not be there."""
        index = bisect_right(self._lasts, item)
        if index == len(self._chunks):
            return None
        chunk = self._chunks[index]
        return chunk[bisect_right(chunk, item)]

    def up_to(self, low: T, high: T) -> list[T]:
        """Those larger than `low`, `high` included."""
        found: list[T] = []
        item = self.after(low)
        while item is not None and item <= high:
            found.append(item)
            item = self.after(item)
        return found

    def count_before(self, item: T) -> int:
        """How many are smaller."""
        index = bisect_left(self._lasts, item)
        count = sum(map(len, self._chunks[:index]))
        return count if index == len(self._chunks) else count + bisect_left(
            self._chunks[index], item
        )  # fmt: skip

    def _split(self, index: int) -> None:
        chunk = self._chunks[index]
        rest = chunk[_CHUNK:]
        del chunk[_CHUNK:]
        self._lasts[index] = chunk[-1]
        self._chunks.insert(index + 1, rest)
        self._lasts.insert(index + 1, rest[-1])
