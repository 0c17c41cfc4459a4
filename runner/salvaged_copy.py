"""Copies what can be read of a damaged database into a new one, row by row.

A value that we cannot have written makes its job a doubtful one: not run, not believed, but
looked for where it may be (`_of_doubtful`). What is read of is `runner.salvaged_source`'s to find,
how rows are read `runner.salvaged_rows`', groups and hooks are `runner.salvaged_groups`'.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.lifecycle import State
from runner.salvaged_groups import SalvagedGroups
from runner.salvaged_rows import ReadRow, RowReader, few_rows, given_away
from runner.salvaged_source import readable_source
from runner.soundness import ATTACHED, GROUPS, HOOK_CALLS, QUEUES, SCHEDULES, TABLES
from runner.taking_up import LOST_UID, NO_UID, UNKNOWN_BOOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where the tables' roots were only guessed, old pages may have been read: a job is queued when
# the newest that was heard of it says so too.
_DOUBT_THE_QUEUE: Final = """
UPDATE jobs SET state = 'starting', boot_id = ?1 WHERE state = 'queued' AND id NOT IN (
    SELECT job_id FROM (SELECT job_id, kind, max(seq) FROM events
                        WHERE kind NOT IN ('update', 'hold', 'release', 'move', 'priority', 'hook')
                        GROUP BY job_id)
    WHERE kind IN ('submit', 'requeue', 'retry'))
"""
# Columns of a doubtful job that are kept where they are sound: where it is looked for, what it
# was promised, and that its key is not given to another.
_KEPT: Final = (
    "name", "queue", "priority", "attempt", "first_attempt", "reserved_millicpus",
    "reserved_memory_bytes", "time_limit_ms", "deadline_ns", "idempotency_key", "group_id",
    "member",
)  # fmt: skip


class Copied(NamedTuple):
    """Numbers of jobs: read, with values that are not to be trusted, not readable.

    `lost_queues`: what was set of queues may be lost; and so many schedules and groups are, and
    hooks, or calls of them, may be.
    """

    read: int
    doubtful: int
    failed: int
    lost_queues: bool = False
    lost_schedules: int = 0
    lost_groups: int = 0
    lost_hooks: bool = False

    def __str__(self) -> str:
        """For people."""
        doubtful = f"{self.doubtful} of them had garbled values" if self.doubtful else ""
        failed = f"{self.failed} numbers of jobs could not be read" if self.failed else ""
        queues = "what was set of queues is lost (pauses, caps)" if self.lost_queues else ""
        lost = self.lost_schedules
        schedules = f"{lost} numbers of schedules could not be read" if lost else ""
        text = "{} arrays or flows could not be read, whose jobs are jobs by themselves now"
        groups = text.format(self.lost_groups) if self.lost_groups else ""
        hooks = "hooks, or calls of hooks, are lost" if self.lost_hooks else ""
        parts = (f"{self.read} jobs were read", doubtful, failed, queues, schedules, groups, hooks)
        return ", ".join(filter(None, parts))


def copy_readable(path: str, target: sqlite3.Connection) -> Copied:
    """Fill a new database, in one transaction. Raises sqlite3.Error of the new one."""
    with readable_source(path) as source:
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
        self._groups = SalvagedGroups(source, target, self._put)

    def all(self) -> Copied:
        """Specs and dependencies first, because a job without them is a doubtful one."""
        self._groups.copy_groups()
        specs = {row.values["seq"]: self._put("specs", row) for row in self._rows("specs")}
        for table in ATTACHED:
            for row in self._rows(table):
                if self._put(table, row) and table == "dependencies":
                    self._dependencies[row.values["seq"]] += 1
        for row in self._rows("jobs"):
            has_spec = specs.get(row.values["seq"])
            self._put_job(
                row, has_spec=self._groups.has_spec(row) if has_spec is None else has_spec
            )
        for row in self._rows("events"):
            self._put("events", row)
        for table in ("specs", *ATTACHED):
            self._target.execute(f"DELETE FROM {table} WHERE seq NOT IN (SELECT seq FROM jobs)")  # noqa: S608
        for table in (*TABLES, SCHEDULES[0], GROUPS[0], HOOK_CALLS):
            self._keep_count(table)
        lost_queues, lost_schedules = not self._put_queues(), self._put_schedules()
        lost = self._groups.finish()
        return Copied(self._read, self._doubtful, self._failed, lost_queues, lost_schedules, *lost)

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
        row = self._groups.freed(row)
        if (
            has_spec
            and _agrees(row.values)
            and self._has_dependencies(row.values)
            and self._put("jobs", row)
        ):
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


def _agrees(values: dict[str, Any]) -> bool:
    """Whether only what has ended has a fate."""
    return values.get("fate") is None or values.get("state") == State.ENDED.value


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
