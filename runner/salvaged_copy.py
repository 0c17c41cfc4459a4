"""Copies what can be read of a damaged database into a new one, row by row.

A value that we cannot have written makes its job a doubtful one: not run, not believed, but
looked for where it may be (`_of_doubtful`). When nothing can be read because of the first
page, copies are read with another one. The damaged files themselves are never changed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.lifecycle import State
from runner.migrations import migrate
from runner.salvaged_rows import ReadRow, RowReader, given_away
from runner.soundness import TABLES, connect_reading
from runner.taking_up import LOST_UID, NO_UID, UNKNOWN_BOOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# How the directories begin that copies are read in, after the database's name.
SCRATCH: Final = ".reading-"

_HEADER_BYTES: Final = 100
_PAGE_BYTES: Final = 4096
# Where the header says how many pages there are, and which are free: sqlite.org/fileformat.html.
_PAGES_AT: Final = 28

# Where the tables' roots were only guessed, old pages may have been read: a job is queued when
# the newest that was heard of it says so too.
_DOUBT_THE_QUEUE: Final = """
UPDATE jobs SET state = 'starting', boot_id = ?1 WHERE state = 'queued' AND id NOT IN (
    SELECT job_id FROM (SELECT job_id, kind, max(seq) FROM events WHERE kind <> 'update'
                        GROUP BY job_id)
    WHERE kind IN ('submit', 'requeue'))
"""


class Copied(NamedTuple):
    """Numbers of jobs: read, with values that are not to be trusted, not readable."""

    read: int
    doubtful: int
    failed: int

    def __str__(self) -> str:
        """For people."""
        doubtful = f"{self.doubtful} of them had garbled values" if self.doubtful else ""
        failed = f"{self.failed} numbers of jobs could not be read" if self.failed else ""
        return ", ".join(filter(None, (f"{self.read} jobs were read", doubtful, failed)))


class _Source(NamedTuple):
    """A database that may fail anywhere. `guessed`: its first page is not its own."""

    db: sqlite3.Connection
    guessed: bool


def copy_readable(path: str, target: sqlite3.Connection) -> Copied:
    """Fill a new database, in one transaction. Raises sqlite3.Error of the new one."""
    with _readable_source(path) as source:
        if source is None:
            return Copied(0, 0, 0)
        target.execute("PRAGMA foreign_keys = OFF")
        target.execute("BEGIN")
        copy = _Copy(source.db, target)
        copied = copy.all()
        if source.guessed:
            target.execute(_DOUBT_THE_QUEUE, (UNKNOWN_BOOT,))
        target.execute("COMMIT")
        return copied


class _Copy:
    """One copying, from a database that may fail anywhere."""

    def __init__(self, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        self._source = source
        self._target = target
        self._read = self._doubtful = self._failed = 0

    def all(self) -> Copied:
        """Specs first, because a job without one is a doubtful one."""
        specs = {row.values["seq"] for row in self._rows("specs") if self._put("specs", row)}
        for row in self._rows("jobs"):
            self._put_job(row, has_spec=row.values["seq"] in specs)
        for row in self._rows("events"):
            self._put("events", row)
        self._target.execute("DELETE FROM specs WHERE seq NOT IN (SELECT seq FROM jobs)")
        for table in TABLES:
            self._keep_count(table)
        return Copied(self._read, self._doubtful, self._failed)

    def _rows(self, table: str) -> Iterator[ReadRow]:
        try:
            reader = RowReader(self._source, table)
        except sqlite3.Error:
            return
        yield from reader.rows()
        if table == "jobs":
            self._failed = reader.failed

    def _put_job(self, row: ReadRow, *, has_spec: bool) -> None:
        self._read += 1
        if has_spec and self._put("jobs", row):
            return
        self._doubtful += 1
        values, unsound = row
        if {"seq", "id"} & unsound:
            # Nobody could ask for it; if it has a directory it is taken up from there.
            return
        if not has_spec:
            self._insert("specs", {"seq": values["seq"], "spec": b""})
        self._insert("jobs", _of_doubtful(values, unsound))

    def _put(self, table: str, row: ReadRow) -> bool:
        return not row.unsound and self._insert(table, row.values)

    def _insert(self, table: str, values: dict[str, Any]) -> bool:
        """False for a row that contradicts itself or another."""
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        try:
            self._target.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608
        except sqlite3.IntegrityError:
            return False
        return True

    def _keep_count(self, table: str) -> None:
        """A number that was given away is not given to another."""
        if last := given_away(self._source, table):
            query = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
            self._target.execute(query, (last, table))


def _of_doubtful(values: dict[str, Any], unsound: frozenset[str]) -> dict[str, Any]:
    """A row that makes the next step ask the kernel and the directory what became of the job.

    It is never queued: what may be garbled is not run.
    """

    def sound(name: str, otherwise: int | None) -> Any:  # noqa: ANN401 - a value of SQLite
        return otherwise if name in unsound else values.get(name, otherwise)

    return {
        "seq": values["seq"],
        "id": values["id"],
        "submitted_by_uid": sound("submitted_by_uid", NO_UID),
        "uid": sound("uid", LOST_UID),
        "gid": sound("gid", LOST_UID),
        "name": sound("name", None),
        "submitted_ns": sound("submitted_ns", 0),
        "state": State.STARTING.value,
        "boot_id": UNKNOWN_BOOT,
    }


# Reading what is damaged


@contextmanager
def _readable_source(path: str) -> Iterator[_Source | None]:
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
            yield _Source(db, best[1])


def _try(path: str) -> tuple[int, int]:
    """How many jobs can be read, and how many not."""
    try:
        with closing(connect_reading(path)) as db:
            readers = [RowReader(db, table) for table in TABLES]
            return sum(1 for _ in readers[0].rows()), readers[0].failed
    except sqlite3.Error:
        return 0, 1


def _attempts(path: str, scratch: str) -> Iterator[tuple[str, bool]]:
    """As it is; with a new header; with the first page of a new database.

    The tables' roots are where they are in a new database, if this runnerd made it.
    """
    if os.path.lexists(path) and os.path.getsize(path):
        yield path, False
    with suppress(OSError):
        for length in (_HEADER_BYTES, _PAGE_BYTES):
            copy = os.path.join(scratch, str(length))
            _copy_file(path, copy)
            _copy_file(f"{path}-wal", f"{copy}-wal")
            _patch(copy, _template(scratch)[:length])
            yield copy, length == _PAGE_BYTES


def _copy_file(old: str, new: str) -> None:
    with suppress(FileNotFoundError):
        shutil.copyfile(old, new, follow_symlinks=False)


def _template(scratch: str) -> bytes:
    """The first page of a new database."""
    path = os.path.join(scratch, "template")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db)
    with open(path, "rb") as file:
        return file.read(_PAGE_BYTES)


def _patch(path: str, start: bytes) -> None:
    """Put another beginning on a file, and make it whole pages."""
    with open(path, "r+b" if os.path.lexists(path) else "w+b") as file:
        pages = max(1, -(-os.fstat(file.fileno()).st_size // _PAGE_BYTES))
        # The number of pages; no list of free ones.
        counts = pages.to_bytes(4, "big") + bytes(8)
        file.write(start[:_PAGES_AT] + counts + start[_PAGES_AT + len(counts) :])
        file.truncate(pages * _PAGE_BYTES)
