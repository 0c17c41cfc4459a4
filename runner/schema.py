"""What of the store's schema is ours, and whether it is there.

An administrator's own indexes, tables and statistics (ANALYZE) are nobody's damage, nor is
another way to write down the same: words are compared, not spaces, quotes or their order.
How the schema came to be is `runner.migrations`'.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from typing import Final, NamedTuple

from runner.migrations import SCRIPTS

_WORDS: Final = re.compile(r"\w+|[<>=!]+")


class Thing(NamedTuple):
    """A table or an index: the table it is of, and the SQL that makes it."""

    kind: str
    table: str
    sql: str

    def says_all_of(self, other: Thing) -> bool:
        """Whether it is the other one, perhaps with more to it."""
        missing = _words(other.sql) - _words(self.sql)
        return (self.kind, self.table) == (other.kind, other.table) and not missing


def things(db: sqlite3.Connection) -> dict[str, Thing]:
    """The tables and indexes that a database has, by name. Raises sqlite3.Error."""
    query = (
        "SELECT name, type, tbl_name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND type IN ('table', 'index') AND name <> 'sqlite_sequence'"
    )
    return {name: Thing(kind, table, str(sql)) for name, kind, table, sql in db.execute(query)}


def things_of(version: int) -> dict[str, Thing]:
    """Those of a version of ours."""
    with _new(version) as db:
        return things(db)


def lacks(db: sqlite3.Connection, version: int) -> str | None:
    """The first table of ours that is not as it was made; None when all are. Raises sqlite3.Error.

    An index is no loss: `make_indexes`.
    """
    there = things(db)
    with _new(version) as new:
        for name, thing in things(new).items():
            if thing.kind != "table":
                continue
            is_there = name in there and there[name].says_all_of(thing)
            if not is_there or not _columns(new, name) <= _columns(db, name):
                return name
    return None


def make_indexes(db: sqlite3.Connection) -> list[str]:
    """Make those of ours again that are missing, or are others than ours; which were.

    Raises sqlite3.Error.
    """
    there = things(db)
    ours = {name: thing for name, thing in things_of(len(SCRIPTS)).items() if thing.kind == "index"}
    wrong = [n for n, thing in ours.items() if n not in there or not _same(there[n], thing)]
    for name in wrong:
        db.executescript(f"BEGIN; DROP INDEX IF EXISTS {name}; {ours[name].sql}; COMMIT")
    return wrong


def _same(one: Thing, other: Thing) -> bool:
    return one.says_all_of(other) and other.says_all_of(one)


def _words(sql: str) -> Counter[str]:
    return Counter(_WORDS.findall(sql.lower()))


def _columns(db: sqlite3.Connection, table: str) -> set[tuple[object, ...]]:
    """Name, type, NOT NULL, default and place in the key of each; not their order."""
    return {row[1:] for row in db.execute(f"PRAGMA table_info({table})")}


def _new(version: int) -> closing[sqlite3.Connection]:
    db = sqlite3.connect(":memory:")
    for script in SCRIPTS[:version]:
        db.executescript(script)
    return closing(db)
