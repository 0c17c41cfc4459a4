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

from runner.soundness import ATTACHED, LARGEST_NUMBER, checks

if TYPE_CHECKING:
    from collections.abc import Iterator

# Queries that fail: what is left then are the smallest ranges. And before any row was read.
_MOST_FAILURES: Final = 4000
_FIRST_FAILURES: Final = 200
# The last number at most, where neither the table nor SQLite's count of it can be read.
_LIKELY: Final = 10_000_000
# Rows of one number: labels, attempts. Of most tables one.
_MOST_OF_ONE: Final = 100_000
_SMALLEST: Final = -(2**63) + 1


class ReadRow(NamedTuple):
    """Values by column, and the names of those that are none of ours."""

    values: dict[str, Any]
    unsound: frozenset[str]


class RowReader:
    """The rows of one table with numbers. `failed` counts those that could not be read."""

    def __init__(self, db: sqlite3.Connection, table: str) -> None:
        """Raises sqlite3.Error when the table itself is gone."""
        self._db = db
        self._table = table
        sound = checks(db, table)
        self._names = tuple(sound)
        self._most_of_one = _MOST_OF_ONE if table in ATTACHED else 1
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
            number = None
        if isinstance(number, int):
            return max(number, _SMALLEST)
        counted = "jobs" if self._table in ATTACHED else self._table
        return 1 if which == "min" else given_away(self._db, counted) or _LIKELY

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
        last, count = (low if order == "ASC" else high + 1), 0
        for row in self._db.execute(self._select + order, (low, high)):
            number = row[0]
            count = count + 1 if number == last else 1
            # Pages that point at each other in a circle would be read for ever.
            is_next = number >= last if order == "ASC" else number <= last
            if not (low < number <= high and is_next and count <= self._most_of_one):
                raise sqlite3.DatabaseError("rows out of order")
            last = number
            yield number, _told_apart(self._names, row)


def few_rows(db: sqlite3.Connection, table: str) -> list[ReadRow]:
    """The rows of a small table without numbers, all or none; raises sqlite3.Error."""
    sound = checks(db, table)
    if not sound:
        return []
    columns = ", ".join((*sound, *sound.values()))
    rows = db.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608
    return [_told_apart(tuple(sound), row) for row in rows]


class KeyedReader:
    """The rows of a table without numbers, by its key: from both ends, as far as can be read.

    `has_failed`: there may be more in between.
    """

    def __init__(self, db: sqlite3.Connection, table: str, key: tuple[str, ...]) -> None:
        self._db = db
        sound = checks(db, table)
        self._names = tuple(sound)
        self._key = [self._names.index(name) for name in key] if sound else []
        columns = ", ".join((*self._names, *sound.values()))
        self._select = f"SELECT {columns} FROM {table} ORDER BY "  # noqa: S608 - text of ours
        self._orders = [", ".join(f"{name} {way}" for name in key) for way in ("ASC", "DESC")]
        self.has_failed = False

    def rows(self) -> Iterator[ReadRow]:
        """Where something fails, those that both ends reach come twice; none of an old version."""
        for order in self._orders if self._names else ():
            try:
                yield from self._read(order)
            except sqlite3.Error:
                self.has_failed = True
            else:
                return

    def _read(self, order: str) -> Iterator[ReadRow]:
        last = None
        for row in self._db.execute(self._select + order):
            key = [row[at] for at in self._key]
            # Pages that point at each other in a circle would be read for ever.
            if last is not None and not _is_next(last, key, order):
                raise sqlite3.DatabaseError("rows out of order")
            last = key
            yield _told_apart(self._names, row)


def _is_next(last: list[Any], key: list[Any], order: str) -> bool:
    try:
        return key < last if "DESC" in order else key > last
    except TypeError:
        # Values of other types than were ever written, which are in an order of their own.
        return False


def _told_apart(names: tuple[str, ...], row: tuple[Any, ...]) -> ReadRow:
    count = len(names)
    values = dict(zip(names, row[:count], strict=True))
    unsound = (name for name, good in zip(names, row[count:], strict=True) if not good)
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
