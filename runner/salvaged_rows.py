"""Reads what can still be read of a damaged database: all rows but those that are garbled.

A query ends at the first page that SQLite cannot make sense of. So a table is read by ranges
of its numbers, from both ends, and what lies between two failures is halved, the largest
range first, until single rows are left. Reads only; what the rows are put into is
`runner.salvaged_copy`'s.
"""

from __future__ import annotations

import sqlite3
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.soundness import LARGEST_NUMBER, checks

if TYPE_CHECKING:
    from collections.abc import Iterator

# Queries that fail: what is left then are the smallest ranges. And before any row was read.
_MOST_FAILURES: Final = 4000
_FIRST_FAILURES: Final = 200
# The last number at most, where neither the table nor SQLite's count of it can be read.
_LIKELY: Final = 10_000_000
_SMALLEST: Final = -(2**63) + 1


class ReadRow(NamedTuple):
    """Values by column, and the names of those that are none of ours."""

    values: dict[str, Any]
    unsound: frozenset[str]


class RowReader:
    """The rows of one table. `failed` counts the numbers that could not be read."""

    def __init__(self, db: sqlite3.Connection, table: str) -> None:
        """Raises sqlite3.Error when the table itself is gone."""
        self._db = db
        self._table = table
        sound = checks(db, table)
        self._names = tuple(sound)
        if "seq" not in sound:
            raise sqlite3.DatabaseError(f"there is no table {table}")
        columns = ", ".join((*self._names, *sound.values()))
        # What is put together is text of `runner.soundness`; values are bound.
        self._select = (
            f"SELECT {columns} FROM {table} NOT INDEXED"  # noqa: S608
            " WHERE seq > ? AND seq <= ? ORDER BY seq "
        )
        self.failed = 0
        self._failures = 0
        self._ranges: list[tuple[int, int, int]] = []

    def rows(self) -> Iterator[ReadRow]:
        """All that can be read, each once; in no certain order where there is damage."""
        self._leave(min(self._end("min"), 1) - 1, self._end("max"))
        most = _FIRST_FAILURES
        while self._ranges and self._failures < most:
            _size, low, high = heappop(self._ranges)
            for row in self._read(low, high):
                most = _MOST_FAILURES
                yield row
        self.failed += sum(high - low for _size, low, high in self._ranges)

    def _end(self, which: str) -> int:
        """The first or the last number; what it can be at most where that cannot be read."""
        query = f"SELECT coalesce({which}(seq), 0) FROM {self._table} NOT INDEXED"  # noqa: S608
        try:
            (number,) = self._db.execute(query).fetchone()
        except sqlite3.Error:
            return 1 if which == "min" else given_away(self._db, self._table) or _LIKELY
        return max(int(number), _SMALLEST)

    def _leave(self, low: int, high: int) -> None:
        """The numbers above `low` up to `high` are still to be read."""
        heappush(self._ranges, (low - high, low, high))

    def _read(self, low: int, high: int) -> Iterator[ReadRow]:
        """From both ends; what neither reaches is left for later, in halves."""
        try:
            for number, row in self._query("ASC", low, high):
                low = number
                yield row
        except sqlite3.Error:
            self._failures += 1
        else:
            return
        try:
            for number, row in self._query("DESC", low, high):
                high = number - 1
                yield row
        except sqlite3.Error:
            self._failures += 1
        if high - low <= 1:
            self.failed += high - low
            return
        middle = (low + high) // 2
        self._leave(low, middle)
        self._leave(middle, high)

    def _query(self, order: str, low: int, high: int) -> Iterator[tuple[int, ReadRow]]:
        last = low if order == "ASC" else high + 1
        for row in self._db.execute(self._select + order, (low, high)):
            number = row[0]
            # Pages that point at each other in a circle would be read for ever.
            if not (last < number <= high if order == "ASC" else low < number < last):
                raise sqlite3.DatabaseError("rows out of order")
            last = number
            yield number, self._told_apart(row)

    def _told_apart(self, row: tuple[Any, ...]) -> ReadRow:
        count = len(self._names)
        values = dict(zip(self._names, row[:count], strict=True))
        unsound = (n for n, good in zip(self._names, row[count:], strict=True) if not good)
        return ReadRow(values, frozenset(unsound))


def given_away(db: sqlite3.Connection, table: str) -> int:
    """The last number that a table ever gave away; 0 where that is not to be trusted."""
    try:
        query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        row = db.execute(query, (table,)).fetchone()
    except sqlite3.Error:
        return 0
    is_likely = row is not None and isinstance(row[0], int) and 0 < row[0] < LARGEST_NUMBER
    return row[0] if is_likely else 0
