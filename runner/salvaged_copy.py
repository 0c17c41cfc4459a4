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
from collections import Counter
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.lifecycle import State
from runner.migrations import migrate
from runner.salvaged_rows import ReadRow, RowReader, few_rows, given_away
from runner.soundness import ATTACHED, QUEUES, SCHEDULES, TABLES, connect_reading
from runner.taking_up import LOST_UID, NO_UID, UNKNOWN_BOOT

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

# Where the tables' roots were only guessed, old pages may have been read: a job is queued when
# the newest that was heard of it says so too.
_DOUBT_THE_QUEUE: Final = """
UPDATE jobs SET state = 'starting', boot_id = ?1 WHERE state = 'queued' AND id NOT IN (
    SELECT job_id FROM (SELECT job_id, kind, max(seq) FROM events
                        WHERE kind NOT IN ('update', 'hold', 'release', 'move', 'priority')
                        GROUP BY job_id)
    WHERE kind IN ('submit', 'requeue', 'retry'))
"""
# Columns of a doubtful job that are kept where they are sound: where it is looked for, what it
# was promised, and that its key is not given to another.
_KEPT: Final = (
    "name", "queue", "priority", "attempt", "first_attempt", "reserved_millicpus",
    "reserved_memory_bytes", "time_limit_ms", "deadline_ns", "idempotency_key",
)  # fmt: skip


class Copied(NamedTuple):
    """Numbers of jobs: read, with values that are not to be trusted, not readable.

    `lost_queues`: what was set of queues may be lost; and so many schedules are.
    """

    read: int
    doubtful: int
    failed: int
    lost_queues: bool = False
    lost_schedules: int = 0

    def __str__(self) -> str:
        """For people."""
        doubtful = f"{self.doubtful} of them had garbled values" if self.doubtful else ""
        failed = f"{self.failed} numbers of jobs could not be read" if self.failed else ""
        queues = "what was set of queues is lost (pauses, caps)" if self.lost_queues else ""
        lost = self.lost_schedules
        schedules = f"{lost} numbers of schedules could not be read" if lost else ""
        parts = (f"{self.read} jobs were read", doubtful, failed, queues, schedules)
        return ", ".join(filter(None, parts))


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
        self._dependencies: Counter[int] = Counter()

    def all(self) -> Copied:
        """Specs and dependencies first, because a job without them is a doubtful one."""
        specs = {row.values["seq"] for row in self._rows("specs") if self._put("specs", row)}
        for table in ATTACHED:
            for row in self._rows(table):
                if self._put(table, row) and table == "dependencies":
                    self._dependencies[row.values["seq"]] += 1
        for row in self._rows("jobs"):
            self._put_job(row, has_spec=row.values["seq"] in specs)
        for row in self._rows("events"):
            self._put("events", row)
        for table in ("specs", *ATTACHED):
            self._target.execute(f"DELETE FROM {table} WHERE seq NOT IN (SELECT seq FROM jobs)")  # noqa: S608
        for table in (*TABLES, "schedules"):
            self._keep_count(table)
        lost_queues, lost_schedules = not self._put_queues(), self._put_schedules()
        return Copied(self._read, self._doubtful, self._failed, lost_queues, lost_schedules)

    def _put_queues(self) -> bool:
        """False where something was there and could not be read."""
        try:
            rows = few_rows(self._source, QUEUES)
        except sqlite3.Error:
            return False
        were_put = [self._put(QUEUES, row) for row in rows]
        return all(were_put)

    def _put_schedules(self) -> int:
        """How many are lost. One without what it runs, or with garbled values, is not run."""
        found, lost = dict.fromkeys(SCHEDULES, 0), 0
        for table in SCHEDULES:
            with suppress(sqlite3.Error):
                reader = RowReader(self._source, table)
                found[table] = [self._put(table, row) for row in reader.rows()].count(True)
                lost = max(lost, reader.failed)
        for one, other in (SCHEDULES, SCHEDULES[::-1]):
            self._target.execute(f"DELETE FROM {one} WHERE seq NOT IN (SELECT seq FROM {other})")  # noqa: S608
        (kept,) = self._target.execute("SELECT count(*) FROM schedules").fetchone()
        return max(lost, max(found.values()) - int(kept))

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
        if has_spec and self._has_dependencies(row.values) and self._put("jobs", row):
            return
        self._doubtful += 1
        values, unsound = row
        if {"seq", "id"} & unsound:
            # Nobody could ask for it; if it has a directory it is taken up from there.
            return
        if not has_spec:
            self._insert("specs", {"seq": values["seq"], "spec": b""})
        doubtful = _of_doubtful(values, unsound)
        doubtful["dependencies"] = self._dependencies[values["seq"]]
        if not self._insert("jobs", doubtful):
            # Another has the same key: one of them is garbled.
            self._insert("jobs", {**doubtful, "idempotency_key": None})

    def _has_dependencies(self, values: dict[str, Any]) -> bool:
        """All that it is to come after. What goes, or has ended, does not wait any more."""
        if values.get("state") not in {State.QUEUED.value, State.STARTING.value}:
            return True
        return bool(values.get("dependencies", 0) == self._dependencies[values["seq"]])

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

    kept: dict[str, Any] = {
        name: values[name] for name in _KEPT if name in values and name not in unsound
    }
    if kept.get("first_attempt", 1) > kept.get("attempt", 1):
        kept["first_attempt"] = 1
    return {
        **kept,
        "seq": values["seq"],
        "id": values["id"],
        "submitted_by_uid": sound("submitted_by_uid", NO_UID),
        "uid": sound("uid", LOST_UID),
        "gid": sound("gid", LOST_UID),
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
