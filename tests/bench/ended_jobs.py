"""Many ended jobs in a state directory, without the hours that running them would take.

A few are run by the daemon. It is stopped, and what it has left of each, rows and files byte for
byte, is written again and again under ids and numbers of their own. So everything is what the
daemon writes, whatever that is in the version that is measured. No measuring here.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import uuid
from contextlib import closing
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DATABASE: Final = "runnerd.sqlite3"
JOBS: Final = "jobs"
# What refers to a job by its number, and by its id.
_BY_NUMBER: Final = ("specs", "labels")
_BY_ID: Final = ("events",)


Row = dict[str, object]


class Left(NamedTuple):
    """What is left of one job: its id, its rows by table, its files below its directory."""

    job: str
    rows: dict[str, list[Row]]
    files: list[tuple[str, int, bytes]]


def multiply(state: Path, count: int) -> list[str]:
    """Have so many ended jobs where a few are; the ids of the new ones.

    The daemon must not run. Raises RuntimeError where none is there, OSError, sqlite3.Error.
    """
    with closing(sqlite3.connect(state / DATABASE)) as db:
        db.row_factory = sqlite3.Row
        left = list(_all_left(db, state / JOBS))
        if not left:
            raise RuntimeError(f"no ended job in {state}")
        new = [(one, str(uuid.uuid4())) for one in islice(cycle(left), count - len(left))]
        with db:
            _write_rows(db, new)
    for one, job in new:
        write_files(state / JOBS / job, one, job)
    return [job for _one, job in new]


def _all_left(db: sqlite3.Connection, directories: Path) -> Iterator[Left]:
    for row in db.execute("SELECT seq, id FROM jobs WHERE ended_ns IS NOT NULL").fetchall():
        rows = {"jobs": _rows(db, "jobs", "seq", row["seq"])}
        rows |= {table: _rows(db, table, "seq", row["seq"]) for table in _BY_NUMBER}
        rows |= {table: _rows(db, table, "job_id", row["id"]) for table in _BY_ID}
        yield Left(row["id"], rows, read_files(directories / row["id"]))


def _rows(db: sqlite3.Connection, table: str, column: str, value: object) -> list[Row]:
    found = db.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))
    return [dict(row) for row in found.fetchall()]


def _write_rows(db: sqlite3.Connection, new: Sequence[tuple[Left, str]]) -> None:
    (seq,) = db.execute("SELECT max(seq) FROM jobs").fetchone()
    for number, (one, job) in enumerate(new, seq + 1):
        for table, rows in one.rows.items():
            for row in rows:
                _insert(db, table, renamed(table, row, job, number))


def renamed(table: str, row: Row, job: str, number: int) -> Row:
    """A row as another job's."""
    if table in _BY_ID:
        # Its own number is the table's to give.
        return {name: value for name, value in row.items() if name != "seq"} | {"job_id": job}
    if table == "jobs":
        return row | {"seq": number, "id": job}
    return row | {"seq": number}


def _insert(db: sqlite3.Connection, table: str, row: Row) -> None:
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def read_files(directory: Path) -> list[tuple[str, int, bytes]]:
    """Names below a directory, parents first, with mode and contents (of others: none)."""
    found = []
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        data = path.read_bytes() if stat.S_ISREG(mode) else b""
        found.append((str(path.relative_to(directory)), mode, data))
    return found


def write_files(directory: Path, one: Left, job: str) -> None:
    """What `read_files` read, as another job's: its id stands for that of the first one."""
    below = str(directory)
    os.mkdir(below, 0o700)
    for name, mode, data in one.files:
        path = f"{below}/{name}"
        if stat.S_ISDIR(mode):
            os.mkdir(path, mode & 0o777)
        elif stat.S_ISREG(mode):
            _write(path, mode, data.replace(one.job.encode(), job.encode()))
        else:
            os.mknod(path, mode)


def _write(path: str, mode: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o777)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
