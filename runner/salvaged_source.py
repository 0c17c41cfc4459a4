"""The database that can be read: the damaged one, or a copy of it that gives more.

When nothing can be read because of the first page, copies are read with another one. The damaged
files themselves are never changed. What the rows are put into is `runner.salvaged_copy`'s.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.migrations import migrate
from runner.salvaged_rows import RowReader
from runner.soundness import SCHEDULES, TABLES, connect_reading

if TYPE_CHECKING:
    from collections.abc import Iterator

# How the directories begin that copies are read in, after the database's name.
SCRATCH: Final = ".reading-"

_HEADER_BYTES: Final = 100
_PAGE_BYTES: Final = 4096
# Where the header says how many pages there are, and which are free: sqlite.org/fileformat.html.
_PAGES_AT: Final = 28
# The kind of a page of a table that refers to others.
_INTERIOR: Final = 5


class Source(NamedTuple):
    """A database that may fail anywhere. `guessed`: its first page is not its own."""

    db: sqlite3.Connection
    guessed: bool


@contextmanager
def readable_source(path: str) -> Iterator[Source | None]:
    """The damaged database, or the copy of it that gives most; None when none gives anything."""
    directory, name = os.path.split(path)
    with tempfile.TemporaryDirectory(prefix=f"{name}{SCRATCH}", dir=directory) as scratch:
        best, most = None, 0
        for attempt, guessed in _attempts(path, scratch):
            read, failed = _try(attempt)
            if read > most:
                best, most = (attempt, guessed), read
            if read and not failed:
                break
        if best is None:
            yield None
            return
        with closing(connect_reading(best[0])) as db:
            yield Source(db, best[1])


def _try(path: str) -> tuple[int, int]:
    """How many jobs and schedules can be read, and how many jobs not."""
    try:
        with closing(connect_reading(path)) as db:
            readers = [RowReader(db, table) for table in TABLES]
            jobs = sum(1 for _ in readers[0].rows())
            return jobs + _schedules(db), readers[0].failed
    except sqlite3.Error:
        return 0, 1


def _schedules(db: sqlite3.Connection) -> int:
    """How many can be read; none of a version that had none."""
    with suppress(sqlite3.Error):
        return sum(1 for _ in RowReader(db, SCHEDULES[0]).rows())
    return 0


def _attempts(path: str, scratch: str) -> Iterator[tuple[str, bool]]:
    """As it is; with a new header; with the schema's pages of a new database.

    They, and the tables' roots, are where they are in a new one if this runnerd made it.
    """
    if os.path.lexists(path) and os.path.getsize(path):
        yield path, False
    with suppress(OSError):
        pages = _template(scratch)
        for name, patches in (("header", {1: pages[1][:_HEADER_BYTES]}), ("schema", pages)):
            copy = os.path.join(scratch, name)
            _copy_file(path, copy)
            _copy_file(f"{path}-wal", f"{copy}-wal")
            _patch(copy, patches)
            yield copy, name == "schema"


def _copy_file(old: str, new: str) -> None:
    with suppress(FileNotFoundError):
        shutil.copyfile(old, new, follow_symlinks=False)


def _template(scratch: str) -> dict[int, bytes]:
    """The pages that hold the schema of a new database, by their numbers, from 1 on."""
    path = os.path.join(scratch, "template")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db)
    with open(path, "rb") as file:
        data = file.read()
    return {number: _page(data, number) for number in (1, *_children(_page(data, 1)))}


def _page(data: bytes, number: int) -> bytes:
    return data[(number - 1) * _PAGE_BYTES : number * _PAGE_BYTES]


def _children(first: bytes) -> list[int]:
    """What the first page refers to: sqlite.org/fileformat.html, "B-tree Pages"."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(first[at : at + length], "big")

    if first[_HEADER_BYTES] != _INTERIOR:
        return []
    cells = range(_HEADER_BYTES + 12, _HEADER_BYTES + 12 + 2 * number(_HEADER_BYTES + 3, 2), 2)
    return [*(number(number(cell, 2), 4) for cell in cells), number(_HEADER_BYTES + 8, 4)]


def _patch(path: str, patches: dict[int, bytes]) -> None:
    """Put other beginnings on pages of a file, and make it whole pages."""
    with open(path, "r+b" if os.path.lexists(path) else "w+b") as file:
        pages = max(*patches, 1, -(-os.fstat(file.fileno()).st_size // _PAGE_BYTES))
        for number, data in patches.items():
            file.seek((number - 1) * _PAGE_BYTES)
            file.write(data)
        # The number of pages; no list of free ones.
        file.seek(_PAGES_AT)
        file.write(pages.to_bytes(4, "big") + bytes(8))
        file.truncate(pages * _PAGE_BYTES)
