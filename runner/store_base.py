"""What every part of the store stands on: one connection, its transactions, events and counts.

Nothing is counted, and nobody told, before a commit. The parts are `runner.store_queue`,
`runner.store_lists` and `runner.store_events`; together, with the life of a job, they are
`runner.store`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from runner import group_rows, queries
from runner.ended import EndedJobs
from runner.lifecycle import Event, State, advance
from runner.rows import EventData, Job, sound_jobs, state_of
from runner.store_file import StoreError, described

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from runner.rows import Row

    Value = str | int | bytes | None

GROUP_ENDED: Final = "group-ended"
_SPEC_AT: Final = Job.__struct_fields__.index("spec")
_GROUP_AT: Final = Job.__struct_fields__.index("group_id")


class NoSuchJobError(StoreError):
    """There is no job of this id."""


class NoSuchGroupError(StoreError):
    """There is no group of this id."""


class JobActiveError(StoreError):
    """The job has not ended, and only an ended job can be removed."""


class NotUpdatableError(StoreError):
    """The job is in a state in which this of it is being used, or of no use any more."""


class Standing(NamedTuple):
    """The state of a job, who submitted it (who sees its events), its group, and its fate."""

    state: State
    uid: int
    group_id: str | None = None
    fate: str | None = None


class StoreBase:
    """The open database. `on_events` is called after each commit that has recorded something.

    It is given the number of the newest event of each uid that the commit has recorded one for.
    It may only take note: the change may not have been counted yet.
    """

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self.path = path
        self.on_events: Callable[[Mapping[int, int]], None] | None = None
        self._recorded: dict[int, int] = {}
        self._counts = dict.fromkeys(State, 0)
        self._queued_by_uid: Counter[int] = Counter()
        # The spec that was read last of those that are a group's. It never changes.
        self._shared: tuple[str, bytes] | None = None
        self._count()
        self.ended = EndedJobs(db, path)

    def get(self, job_id: str) -> Job | None:
        """The job of this full id."""
        found = list(self._jobs(queries.BY_ID, id=job_id))
        return found[0] if found else None

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state. Costs nothing: counted as they change."""
        return dict(self._counts)

    def queued_of(self, submitted_by_uid: int) -> int:
        """How many jobs of a submitter are queued. Costs nothing."""
        return self._queued_by_uid[submitted_by_uid]

    def _advance(
        self,
        job_id: str,
        event: Event,
        time_ns: int,
        values: dict[str, Value],
        about: EventData,
    ) -> Job:
        with self._transaction():
            standing = self._standing(job_id)
            following = advance(standing.state, event)
            values |= {"id": job_id, "state": following.value}
            self._db.execute(queries.UPDATES[event], values)
            self._record(job_id, time_ns, event.value, about, standing.uid)
        self._has_moved(standing, following)
        return self._existing(job_id)

    def _has_moved(self, before: Standing | None, following: State | None, uid: int = 0) -> None:
        """Count a job: into a state, from one, or both. `uid` is of one that is new."""
        if before is not None:
            uid = before.uid
            self._counts[before.state] -= 1
            if before.state is State.QUEUED:
                self._queued_by_uid[uid] -= 1
        if following is not None:
            self._counts[following] += 1
            if following is State.QUEUED:
                self._queued_by_uid[uid] += 1
        if not self._queued_by_uid[uid]:
            del self._queued_by_uid[uid]

    def _standing(self, job_id: str) -> Standing:
        row = self._db.execute(queries.STATE, {"id": job_id}).fetchone()
        if row is None:
            raise NoSuchJobError(f"there is no job {job_id}")
        return Standing(state_of(row[0]), *row[1:])

    def _existing(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise NoSuchJobError(f"there is no job {job_id}")
        return job

    def _record(self, job_id: str, time_ns: int, kind: str, about: EventData, uid: int) -> None:
        data = msgspec.msgpack.encode(about) if about else None
        event = {"job_id": job_id, "time_ns": time_ns, "kind": kind, "data": data, "uid": uid}
        # Never None: it was inserted.
        self._recorded[uid] = self._db.execute(queries.INSERT_EVENT, event).lastrowid or 0

    def _begin_late(self, job_id: str, standing: Standing, started_ns: int | None) -> None:
        """Within a transaction, before an end: a start that was never committed, if there was one.

        So hooks and events tell of it, whenever the daemon was killed.
        """
        if standing.state is not State.STARTING or started_ns is None:
            return
        # The schema wants a process of what runs. This one is gone with the end that follows.
        values: dict[str, Value] = {"id": job_id, "started_ns": started_ns, "monitor_pid": 0}
        values |= {"limits": None, "state": advance(standing.state, Event.STARTED).value}
        self._db.execute(queries.UPDATES[Event.STARTED], values)
        self._record(job_id, started_ns, Event.STARTED.value, {}, standing.uid)

    def _set(self, job_id: str, columns: Mapping[str, Value]) -> None:
        if columns:
            self._db.execute(queries.set_columns(columns), {**columns, "id": job_id})

    def _jobs(self, query: str, **values: Value) -> Generator[Job]:
        """The jobs of a query, read one at a time."""
        with described(self.path), contextlib.closing(self._db.execute(query, values)) as rows:
            yield from sound_jobs(self._with_specs(rows))

    def _with_specs(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Rows of jobs, with the spec of their group where they have none of their own."""
        for row in rows:
            if row[_SPEC_AT] is None and row[_GROUP_AT] is not None:
                shared = self._shared_spec(row[_GROUP_AT])
                yield (*row[:_SPEC_AT], shared, *row[_SPEC_AT + 1 :])
            else:
                yield row

    def _shared_spec(self, group_id: str) -> bytes | None:
        """One for all jobs of a group: there may be 10,000."""
        if self._shared is None or self._shared[0] != group_id:
            row = self._db.execute(group_rows.SPEC, {"id": group_id}).fetchone()
            if row is None or not isinstance(row[0], bytes):
                return None
            self._shared = group_id, row[0]
        return self._shared[1]

    def _members_moved(self, group_id: str, unended: int, failed: int, time_ns: int) -> None:
        """Within a transaction: so many more jobs of a group are to end, or fewer, or have failed.

        The end of the last one is the end of the group.
        """
        row = self._db.execute(group_rows.STANDING, {"id": group_id}).fetchone()
        if row is None:
            return
        # Never below: what a disk has garbled must not keep a job from ending.
        left, lost = max(row[0] + unended, 0), max(row[1] + failed, 0)
        self._db.execute(
            group_rows.COUNT, {"id": group_id, "unended": left, "failed": lost, "time_ns": time_ns}
        )
        if row[0] and not left:
            about: EventData = {"ok": int(not lost), "failed": lost}
            self._record(group_id, time_ns, GROUP_ENDED, about, row[2])

    def _count(self) -> None:
        with described(self.path):
            (total,) = self._db.execute(queries.COUNT).fetchone()
            for state, uid, count in self._db.execute(queries.COUNT_ACTIVE):
                self._counts[State(state)] += count
                if state == State.QUEUED.value:
                    self._queued_by_uid[uid] = count
        self._counts[State.ENDED] = total - sum(self._counts.values())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the body on disk, or nothing of it."""
        self._recorded = {}
        with described(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        if self._recorded and self.on_events is not None:
            self.on_events(self._recorded)


def as_values(columns: Mapping[str, object]) -> dict[str, Value]:
    """As they are bound; their types are those of the method they were given to."""
    return {k: v for k, v in columns.items() if v is None or isinstance(v, str | int)}
