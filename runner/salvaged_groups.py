"""Groups and hooks in a database that is made anew: which can be kept, and their counts.

A group whose row is damaged is lost, and its jobs are jobs without one: whether they can go on
without its spec is `runner.salvaged_copy`'s to say, which copies them in between. Of a job whose
own spec was on a page that is gone nobody knows that it had one: it has its group's, as submitted.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.salvaged_rows import KeyedReader, ReadRow, RowReader
from runner.soundness import GROUPS, HOOK_CALLS, HOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

_COLUMNS: Final = ("group_id", "member")

_DROP_EMPTY: Final = (
    "DELETE FROM groups WHERE id NOT IN (SELECT group_id FROM jobs WHERE group_id IS NOT NULL)"
)
_DROP_SPECS: Final = "DELETE FROM group_specs WHERE seq NOT IN (SELECT seq FROM groups)"
_DROP_HOOKS: Final = (
    "DELETE FROM hooks WHERE owner_id NOT IN (SELECT id FROM jobs UNION ALL SELECT id FROM groups)"
)
_EVERY: Final = (
    "SELECT id, size, unended, failed, first_seq, coalesce(ended_ns, submitted_ns) FROM groups"
)
# What is there of a group's jobs: how many, how many have not ended, how many failed, between
# which numbers they are, when the last one ended.
_PRESENT: Final = (
    "SELECT count(*), sum(state <> 'ended'),"
    " sum(state = 'ended' AND (fate IS NULL OR fate = 'failed')), min(seq), max(seq),"
    " max(ended_ns) FROM jobs WHERE group_id = ?"
)
_RECOUNT: Final = (
    "UPDATE groups SET unended = :unended, failed = :failed, ended_ns = :ended_ns, size = :size,"
    " first_seq = :first_seq WHERE id = :id"
)


class LostGroups(NamedTuple):
    """How many groups, or numbers of groups, are lost; whether hooks, or calls of hooks, are."""

    groups: int
    hooks: bool


class SalvagedGroups:
    """The copying of groups and hooks. `put` puts a sound row into a table of the new database."""

    def __init__(
        self,
        source: sqlite3.Connection,
        target: sqlite3.Connection,
        put: Callable[[str, ReadRow], bool],
    ) -> None:
        self._source, self._target, self._put = source, target, put
        self._lost = 0
        self._ids: set[str] = set()
        self._with_spec: set[str] = set()

    def copy_groups(self) -> None:
        """Before the jobs, which are asked whether their group is there."""
        numbers = {}
        with suppress(sqlite3.Error):
            reader = RowReader(self._source, GROUPS[0])
            for row in reader.rows():
                if self._put(GROUPS[0], _agreeing(row)):
                    numbers[row.values["seq"]] = row.values["id"]
                else:
                    self._lost += 1
            self._lost += reader.failed
        self._ids = set(numbers.values())
        with suppress(sqlite3.Error):
            for row in RowReader(self._source, GROUPS[1]).rows():
                if row.values["seq"] in numbers and self._put(GROUPS[1], row):
                    self._with_spec.add(numbers[row.values["seq"]])

    def has_spec(self, row: ReadRow) -> bool:
        """Whether a job that has no spec of its own has that of its group."""
        return self.is_member(row) and row.values["group_id"] in self._with_spec

    def is_member(self, row: ReadRow) -> bool:
        """Whether a job is of a group that is there."""
        values, unsound = row
        are_sound = unsound.isdisjoint(_COLUMNS) and values.get("member") is not None
        return are_sound and values.get("group_id") in self._ids

    def freed(self, row: ReadRow) -> ReadRow:
        """A job as it is without the group that is not there, or is not to be told."""
        if self.is_member(row):
            return row
        others = {name: value for name, value in row.values.items() if name not in _COLUMNS}
        return ReadRow(others, row.unsound.difference(_COLUMNS))

    def finish(self) -> LostGroups:
        """After the jobs: their hooks, and the counts of their groups anew."""
        for statement in (_DROP_EMPTY, _DROP_SPECS):
            self._target.execute(statement)
        for row in self._target.execute(_EVERY).fetchall():
            self._recount(*row)
        reader = KeyedReader(self._source, HOOKS, ("owner_id", "number"))
        were_put = [self._put(HOOKS, row) for row in reader.rows()]
        self._target.execute(_DROP_HOOKS)
        is_lost = reader.has_failed or not all(were_put)
        with suppress(sqlite3.Error):
            calls = RowReader(self._source, HOOK_CALLS)
            were_put = [self._put(HOOK_CALLS, row) for row in calls.rows()]
            is_lost = is_lost or calls.failed > 0 or not all(were_put)
        return LostGroups(self._lost, is_lost)

    def _recount(
        self, group_id: str, size: int, unended: int, failed: int, first_seq: int, ended_ns: int
    ) -> None:
        """A job that is lost was to end and cannot, so it counts for one that failed."""
        count, active, lost, low, high, last_ns = self._target.execute(
            _PRESENT, (group_id,)
        ).fetchone()
        if not first_seq <= low <= high < first_seq + size:
            first_seq, size = low, max(high - low + 1, size)
        gone = max(size - count, 0)
        failed_before = min(gone, max(failed - lost, 0))
        never_to_end = min(gone - failed_before, max(unended - active, 0))
        self._target.execute(_RECOUNT, {
            "id": group_id, "size": size, "first_seq": first_seq, "unended": active,
            "failed": lost + failed_before + never_to_end,
            "ended_ns": None if active else max(ended_ns, last_ns),
        })  # fmt: skip


def _agreeing(row: ReadRow) -> ReadRow:
    """Whether it has ended is told anew."""
    unended, ended_ns = row.values.get("unended"), row.values.get("ended_ns")
    if (unended == 0) == (ended_ns is not None):
        return row
    ended_ns = None if unended else row.values.get("submitted_ns")
    return row._replace(values={**row.values, "ended_ns": ended_ns})
