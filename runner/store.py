"""The daemon's memory: jobs and what happened to them, in one SQLite file.

A change is on disk, its event with it, when the method that makes it returns; only then
may anybody be told (WAL, synchronous=FULL). The store asks `runner.lifecycle` whether a
change is possible and decides nothing else; who may see a job is `runner.policy`'s. It
belongs to one thread, the event loop's, and to one process: the lock of the state
directory sees to that.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final, Self

import msgspec

from client.protocol import MIN_JOB_PREFIX_CHARS
from runner import queries
from runner.ended import EndedJobs
from runner.lifecycle import GOING, Event, State, advance
from runner.rows import EventData, Job, NewJob, StoredEvent, sound_jobs, state_of
from runner.store_file import StoreError, described, make_private, set_up

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    Value = str | int | bytes | None

__all__ = [
    "Job", "JobActiveError", "NewJob", "NoSuchJobError", "NotUpdatableError", "Store", "StoreError",
]  # fmt: skip

SUBMIT: Final = "submit"
UPDATE: Final = "update"
REMOVE: Final = "remove"

MAX_MATCHES: Final = 20
# A page of the protocol's list is one frame; the specs that go into it stay below that.
PAGE_SPEC_BYTES: Final = 3 * 1024 * 1024

# Without limits that were read back: nothing of it is there yet.
_UPDATABLE: Final = frozenset({State.QUEUED})


class NoSuchJobError(StoreError):
    """There is no job of this id."""


class JobActiveError(StoreError):
    """The job has not ended, and only an ended job can be removed."""


class NotUpdatableError(StoreError):
    """The job is starting or has ended: its limits are being used, or of no use any more."""


class Store:
    """The open database. Made by `Store.open`; every method may raise StoreError."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self.path = path
        self._counts = self._counted()
        self.ended = EndedJobs(db, path)

    @classmethod
    def open(cls, path: str) -> Self:
        """Open the database, made (mode 0600) or brought to today's schema where needed.

        Raises StoreError when it cannot be opened, is damaged, is not ours, or was written
        by a newer program.
        """
        make_private(path)
        with described(path):
            db = sqlite3.connect(path, isolation_level=None)
        try:
            set_up(db, path)
            return cls(db, path)
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        """Close the database. Nothing is lost without it."""
        self._db.close()

    def insert(self, new: NewJob) -> Job:
        """Keep a new job, queued."""
        about: EventData = {"submitted_by_uid": new.submitted_by_uid, "uid": new.uid}
        with self._transaction():
            inserted = self._db.execute(queries.INSERT, msgspec.structs.asdict(new))
            self._db.execute(queries.INSERT_SPEC, {"seq": inserted.lastrowid, "spec": new.spec})
            self._record(new.id, new.submitted_ns, SUBMIT, about)
        self._counts[State.QUEUED] += 1
        return self._existing(new.id)

    def mark_starting(self, job_id: str, time_ns: int, boot_id: str) -> Job:
        """From queued to starting. Every mark raises ImpossibleTransition, NoSuchJobError."""
        return self._advance(job_id, Event.LAUNCH, time_ns, {"boot_id": boot_id}, {})

    def mark_running(
        self, job_id: str, monitor_pid: int, started_ns: int, limits: bytes | None
    ) -> Job:
        """From starting to running. `limits` as read back, encoded by the caller."""
        values: dict[str, Value] = {
            "monitor_pid": monitor_pid,
            "started_ns": started_ns,
            "limits": limits,
        }
        about: EventData = {"monitor_pid": monitor_pid}
        return self._advance(job_id, Event.STARTED, started_ns, values, about)

    def mark_requeued(self, job_id: str, time_ns: int, why: str = "") -> Job:
        """From starting to queued, in its old place: reconciliation found that it never ran."""
        return self._advance(job_id, Event.REQUEUE, time_ns, {}, {"why": why} if why else {})

    def mark_paused(self, job_id: str, time_ns: int, by_uid: int) -> Job:
        """From running to paused: the kernel says that it is."""
        return self._advance(job_id, Event.PAUSE, time_ns, {"time_ns": time_ns}, {"by_uid": by_uid})

    def mark_resumed(self, job_id: str, time_ns: int, by_uid: int) -> Job:
        """From paused to running."""
        values: dict[str, Value] = {"time_ns": time_ns}
        return self._advance(job_id, Event.RESUME, time_ns, values, {"by_uid": by_uid})

    def update(
        self, job_id: str, time_ns: int, spec: bytes, limits: bytes | None, about: EventData
    ) -> Job:
        """Other limits: those of the spec, and as read back, None for a job that is queued.

        Raises NotUpdatableError unless it is queued, running or paused, NoSuchJobError.
        """
        with self._transaction():
            state = self._state(job_id)
            if state not in (_UPDATABLE if limits is None else GOING):
                raise NotUpdatableError(f"job {job_id} is {state.value}")
            self._db.execute(queries.UPDATE_SPEC, {"id": job_id, "spec": spec})
            self._db.execute(queries.UPDATE_LIMITS, {"id": job_id, "limits": limits})
            self._record(job_id, time_ns, UPDATE, about)
        return self._existing(job_id)

    def mark_ended(
        self,
        job_id: str,
        ended_ns: int,
        reason: str,
        result: bytes,
        *,
        started_ns: int | None = None,
        disk_bytes: int = 0,
    ) -> Job:
        """From any other state to ended. `result` is encoded by the caller.

        `started_ns` is for a job that ran though `running` was never committed; a time that
        is already there stays. `disk_bytes` is what its directory takes, 0 if not known.
        """
        values: dict[str, Value] = {
            "ended_ns": ended_ns,
            "reason": reason,
            "result": result,
            "started_ns": started_ns,
            "disk_bytes": disk_bytes,
        }
        job = self._advance(job_id, Event.FINISH, ended_ns, values, {"reason": reason})
        self.ended.changed(job.submitted_by_uid, 1, job.disk_bytes)
        return job

    def delete(self, job_id: str, time_ns: int, removed_by_uid: int) -> None:
        """Remove an ended job; its events stay. Raises JobActiveError, NoSuchJobError."""
        if not self.delete_ended([job_id], time_ns, removed_by_uid):
            state = self._state(job_id)
            raise JobActiveError(f"job {job_id} is {state.value}; it has not ended")

    def delete_ended(self, ids: Iterable[str], time_ns: int, removed_by_uid: int) -> list[str]:
        """Remove those of the jobs that are there and have ended, all at once; which these were."""
        gone: dict[str, tuple[int, int]] = {}
        with self._transaction():
            for job_id in ids:
                row = self._db.execute(queries.ENDED_STATE, {"id": job_id}).fetchone()
                if row is not None and row[0] == State.ENDED.value:
                    self._db.execute(queries.DELETE, {"id": job_id})
                    self._record(job_id, time_ns, REMOVE, {"removed_by_uid": removed_by_uid})
                    gone[job_id] = row[1:]
        for uid, size in gone.values():
            self.ended.changed(uid, -1, -size)
        self._counts[State.ENDED] -= len(gone)
        return list(gone)

    def measure(self, sizes: Mapping[str, int]) -> None:
        """Say what the directories of ended jobs take, in bytes; other jobs are left out."""
        changes: dict[str, tuple[int, int]] = {}
        with self._transaction():
            for job_id, size in sizes.items():
                row = self._db.execute(queries.ENDED_STATE, {"id": job_id}).fetchone()
                if row is not None and row[0] == State.ENDED.value:
                    self._db.execute(queries.MEASURE, {"id": job_id, "bytes": size})
                    changes[job_id] = (row[1], size - row[2])
        for uid, more in changes.values():
            self.ended.changed(uid, 0, more)

    def trim_events(self, most: int, at_once: int) -> bool:
        """Remove the oldest events beyond `most`, so many at once. True: there are more of them."""
        with described(self.path):
            ends = [self._db.execute(query).fetchone()
                    for query in (queries.OLDEST_EVENT, queries.NEWEST_EVENT)]  # fmt: skip
        if None in ends:
            return False
        oldest, keep_from = ends[0][0], ends[1][0] - most + 1
        if oldest >= keep_from:
            return False
        before = min(oldest + at_once, keep_from)
        with self._transaction():
            self._db.execute(queries.DELETE_EVENTS, {"before": before})
        return bool(before < keep_from)

    def get(self, job_id: str) -> Job | None:
        """The job of this full id."""
        found = list(self._jobs(queries.BY_ID, id=job_id))
        return found[0] if found else None

    def launched(self) -> list[Job]:
        """The jobs that are starting, running or paused, in the order of submission."""
        return list(self._jobs(queries.LAUNCHED))

    def queued(self, limit: int = queries.MAX_INTEGER) -> list[Job]:
        """The first queued jobs, in the order of submission, requeued ones in their old place."""
        return list(self._jobs(queries.QUEUED, limit=limit))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state. Costs nothing: counted as they change."""
        return dict(self._counts)

    def find(self, text: str, submitted_by_uid: int | None) -> list[Job]:
        """The jobs that `text` may mean to a submitter; None stands for who sees all.

        A full id; else the ids that begin with it, from 4 characters on, newest first and
        at most MAX_MATCHES; else the newest job of that name.
        """
        # Ids and names are printable ASCII. Anything else may not even be a valid string.
        if not (text.isascii() and text.isprintable()):
            return []
        job = self.get(text)
        if job is not None and submitted_by_uid in {None, job.submitted_by_uid}:
            return [job]
        return self._begins_with(text, submitted_by_uid) or self._named(text, submitted_by_uid)

    def list_jobs(
        self, *, submitted_by_uid: int | None, include_ended: bool, limit: int, before: int | None
    ) -> tuple[list[Job], int | None]:
        """One page of jobs, newest first, and the `before` of the next page, None at the end.

        At most `limit` (at least 1) jobs, fewer when their specs together pass
        PAGE_SPEC_BYTES: argument lists may be long, and a page has to be sent.
        """
        query = queries.PAGES[submitted_by_uid is not None, include_ended]
        older = queries.MAX_INTEGER if before is None else min(before, queries.MAX_INTEGER)
        found = self._jobs(query, uid=submitted_by_uid, before=max(older, 0), limit=limit + 1)
        page: list[Job] = []
        size = 0
        with contextlib.closing(found):
            for job in found:
                size += len(job.spec)
                if page and (len(page) == limit or size > PAGE_SPEC_BYTES):
                    return page, page[-1].seq
                page.append(job)
        return page, None

    def events_since(self, seq: int, limit: int) -> list[StoredEvent]:
        """Events after number `seq`, oldest first, at most `limit`."""
        with described(self.path):
            rows = self._db.execute(queries.EVENTS, {"seq": seq, "limit": limit}).fetchall()
        return [StoredEvent.from_row(row) for row in rows]

    def _advance(
        self,
        job_id: str,
        event: Event,
        time_ns: int,
        values: dict[str, Value],
        about: EventData,
    ) -> Job:
        with self._transaction():
            state = self._state(job_id)
            following = advance(state, event)
            values |= {"id": job_id, "state": following.value}
            self._db.execute(queries.UPDATES[event], values)
            self._record(job_id, time_ns, event.value, about)
        self._counts[state] -= 1
        self._counts[following] += 1
        return self._existing(job_id)

    def _state(self, job_id: str) -> State:
        row = self._db.execute(queries.STATE, {"id": job_id}).fetchone()
        if row is None:
            raise NoSuchJobError(f"there is no job {job_id}")
        return state_of(row[0])

    def _existing(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise NoSuchJobError(f"there is no job {job_id}")
        return job

    def _record(self, job_id: str, time_ns: int, kind: str, about: EventData) -> None:
        data = msgspec.msgpack.encode(about) if about else None
        event = {"job_id": job_id, "time_ns": time_ns, "kind": kind, "data": data}
        self._db.execute(queries.INSERT_EVENT, event)

    def _begins_with(self, prefix: str, uid: int | None) -> list[Job]:
        if len(prefix) < MIN_JOB_PREFIX_CHARS:
            return []
        # DEL comes after every printable character.
        high = f"{prefix}\x7f"
        return list(
            self._jobs(queries.BY_PREFIX, low=prefix, high=high, uid=uid, limit=MAX_MATCHES)
        )

    def _named(self, name: str, uid: int | None) -> list[Job]:
        if uid is None:
            return list(self._jobs(queries.NEWEST_NAMED, name=name))
        return list(self._jobs(queries.NEWEST_NAMED_OF, name=name, uid=uid))

    def _jobs(self, query: str, **values: Value) -> Generator[Job]:
        """The jobs of a query, read one at a time."""
        with described(self.path), contextlib.closing(self._db.execute(query, values)) as rows:
            yield from sound_jobs(rows)

    def _counted(self) -> dict[State, int]:
        counts = dict.fromkeys(State, 0)
        with described(self.path):
            (total,) = self._db.execute(queries.COUNT).fetchone()
            counts.update((State(s), n) for s, n in self._db.execute(queries.COUNT_ACTIVE))
        counts[State.ENDED] = total - sum(counts.values())
        return counts

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the body on disk, or nothing of it."""
        with described(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
