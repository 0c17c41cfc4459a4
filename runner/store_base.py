"""What every part of the store stands on: jobs by their ids, their events, and counts.

Nothing is counted, and nobody told, before a commit; when that is on disk is
`runner.store_commits`', which rows need not be read again `runner.store_rows`'. The parts are
`runner.store_queue`, `runner.store_lists` and `runner.store_events`; together, with the life of a
job, they are `runner.store`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from runner import group_rows, queries
from runner.ended import EndedJobs
from runner.lifecycle import GOING, Event, State, advance
from runner.rows import EventData, Job, Value, sound_jobs, state_of
from runner.stats import Stats
from runner.store_commits import JobChange, StoreCommits
from runner.store_file import StoreError, described
from runner.store_rows import RecentAttached, RecentRows, advanced

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from runner.rows import Row

GROUP_ENDED: Final = "group-ended"
# The states of a job that was launched and has not ended.
LAUNCHED: Final = frozenset({State.STARTING, *GOING})
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


def standing_of(job: Job) -> Standing:
    """Of a whole row."""
    return Standing(job.state, job.submitted_by_uid, job.group_id, job.fate)


class StoreBase(StoreCommits):
    """The open database."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        super().__init__(db, path)
        self._recent = RecentRows()
        self._attached = RecentAttached()
        self._counts = dict.fromkeys(State, 0)
        self._queued_by_uid: Counter[int] = Counter()
        # Who submitted those that are starting, running or paused.
        self._launched: dict[str, int] = {}
        # The spec that was read last of those that are a group's. It never changes.
        self._shared: tuple[str, bytes] | None = None
        # Of what is committed from now on.
        self.stats = Stats(time.time_ns(), time.monotonic_ns())
        self._count()
        self.ended = EndedJobs(db, path)

    def get(self, job_id: str) -> Job | None:
        """The job of this full id."""
        job = self._recent.get(job_id)
        if job is None:
            job = self._read(job_id)
            # Of those that have ended there are too many to be asked about again.
            if job is not None and job.state is not State.ENDED:
                self._recent.put(job)
        return job

    def launched_of(self, submitted_by_uid: int | None) -> list[str]:
        """The ids of a submitter's jobs that are starting, running or paused; None: everybody's.

        Costs no read.
        """
        return [job_id for job_id, uid in self._launched.items() if submitted_by_uid in {None, uid}]

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
        *,
        soon: bool = False,
    ) -> Job:
        """Nobody is promised any of these: `runner.store_commits`.

        `soon`: with the next commit, where nobody need hear of it before.
        """
        before = self._existing(job_id)
        following = advance(before.state, event)
        values |= {"id": job_id, "state": following.value}
        sql, uid = queries.UPDATES[event], before.submitted_by_uid
        change = JobChange(sql, values, uid, time_ns, event.value, about)
        if soon and self._attached.has_no_hooks(job_id) and self._may_defer():
            self._defer(job_id, change)
        else:
            with self._transaction(durable=False):
                self._write(job_id, change)
        self._has_moved(job_id, standing_of(before), following)
        return self._now(before, job_id, event, values)

    def _now(
        self, before: Job | None, job_id: str, event: Event, values: Mapping[str, Value]
    ) -> Job:
        """A job after a change that is committed; `before` as it was, where that is known."""
        job = self._existing(job_id) if before is None else advanced(before, event, values)
        self._recent.put(job)
        return job

    def _has_moved(
        self, job_id: str, before: Standing | None, following: State | None, uid: int = 0
    ) -> None:
        """Count a job: into a state, from one, or both. `uid` is of one that is new."""
        if before is None:
            self.stats.submitted += 1
        else:
            uid = before.uid
            self._counts[before.state] -= 1
            if before.state is State.QUEUED:
                self._queued_by_uid[uid] -= 1
        if following is not None:
            self._counts[following] += 1
            if following is State.QUEUED:
                self._queued_by_uid[uid] += 1
        if following in LAUNCHED:
            self._launched[job_id] = uid
        else:
            self._launched.pop(job_id, None)
            self.stats.leave(job_id)
        if not self._queued_by_uid[uid]:
            del self._queued_by_uid[uid]

    def _standing(self, job_id: str) -> Standing:
        # What waits for a commit is so already, also where that commit cannot be made.
        job = self._existing(job_id) if job_id in self._deferred else self._recent.get(job_id)
        if job is not None:
            return standing_of(job)
        with described(self.path):
            row = self._db.execute(queries.STATE, {"id": job_id}).fetchone()
            if row is None:
                raise NoSuchJobError(f"there is no job {job_id}")
            return Standing(state_of(row[0]), *row[1:])

    def _existing(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise NoSuchJobError(f"there is no job {job_id}")
        return job

    def _read(self, job_id: str) -> Job | None:
        with described(self.path):
            rows = self._db.execute(queries.BY_ID, {"id": job_id}).fetchall()
            job = next(sound_jobs(self._with_specs(rows)), None)
        late = self._deferred.get(job_id)
        # Where that cannot be written, which is no reason not to read.
        return job if late is None or job is None else advanced(job, Event(late.kind), late.values)

    def _begin_late(self, job_id: str, standing: Standing, started_ns: int | None) -> None:
        """Within a transaction, before an end: a start that was never committed, if there was one.

        So hooks and events tell of it, whenever the daemon was killed.
        """
        if standing.state is not State.STARTING or started_ns is None:
            return
        if self._attached.has_no_hooks(job_id):
            # The end sets the same.
            self._record(job_id, started_ns, Event.STARTED.value, {}, standing.uid)
            return
        # The schema wants a process of what runs. This one is gone with the end that follows.
        values: dict[str, Value] = {"id": job_id, "started_ns": started_ns, "monitor_pid": 0}
        values |= {"limits": None, "state": advance(standing.state, Event.STARTED).value}
        self._db.execute(queries.UPDATES[Event.STARTED], values)
        self._record(job_id, started_ns, Event.STARTED.value, {}, standing.uid)

    def _set(self, job_id: str, columns: Mapping[str, Value]) -> None:
        if columns:
            self._recent.drop(job_id)
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
            self._launched.update(self._db.execute(queries.LAUNCHED))
        self._counts[State.ENDED] = total - sum(self._counts.values())


def as_values(columns: Mapping[str, object]) -> dict[str, Value]:
    """As they are bound; their types are those of the method they were given to."""
    return {k: v for k, v in columns.items() if v is None or isinstance(v, str | int)}
