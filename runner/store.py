"""The daemon's memory: jobs and what happened to them, in one SQLite file.

A change is on disk, its event with it, when the method that makes it returns; only then
may anybody be told (WAL, synchronous=FULL). The store asks `runner.lifecycle` whether a
change is possible and decides nothing else; who may see a job is `runner.policy`'s. It
belongs to one thread, the event loop's, and to one process: the lock of the state
directory sees to that. Here is the life of a job; what waits is `runner.store_queue`'s,
listing `runner.store_lists`', what happened `runner.store_events`', each a part of the store.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, Self, Unpack

import msgspec

from runner import queries
from runner.lifecycle import GOING, Event, State
from runner.rows import Job, LimitColumns, NewJob
from runner.store_base import JobActiveError, NoSuchJobError, NotUpdatableError, Standing
from runner.store_events import StoredEvents
from runner.store_file import StoreError, described, make_private, set_up
from runner.store_lists import StoredLists
from runner.store_queue import StoredQueue, as_values
from runner.store_schedules import StoredSchedules

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from runner.rows import EventData
    from runner.store_base import Value

__all__ = [
    "Job", "JobActiveError", "NewJob", "NoSuchJobError", "NotUpdatableError", "Store", "StoreError",
]  # fmt: skip

SUBMIT: Final = "submit"
UPDATE: Final = "update"
REMOVE: Final = "remove"

# Without limits that were read back: nothing of it is there yet.
_UPDATABLE: Final = frozenset({State.QUEUED})


class Store(StoredQueue, StoredSchedules, StoredLists, StoredEvents):
    """The open database. Made by `Store.open`; every method may raise StoreError."""

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

    def insert(self, new: NewJob, met: Container[str] = ()) -> Job:
        """Keep a new job, queued, with its labels and what it comes after.

        Those in `met` have become already what it waits for. A key that the submitter has given
        to another job is refused: `keyed` tells.
        """
        about: EventData = {"submitted_by_uid": new.submitted_by_uid, "uid": new.uid}
        values = {**msgspec.structs.asdict(new), "dependencies": len(new.after)}
        with self._transaction():
            seq = self._db.execute(queries.INSERT, values).lastrowid
            self._db.execute(queries.INSERT_SPEC, {"seq": seq, "spec": new.spec})
            labels = ((seq, name, value) for name, value in new.labels.items())
            self._db.executemany(queries.INSERT_LABEL, labels)
            after = ((seq, on_id, kind, on_id in met) for on_id, kind in new.after)
            self._db.executemany(queries.INSERT_DEPENDENCY, after)
            self._record(new.id, new.submitted_ns, SUBMIT, about, new.submitted_by_uid)
        self._has_moved(None, State.QUEUED, new.submitted_by_uid)
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
        """From starting to queued, in its old place: it never ran."""
        return self._advance(job_id, Event.REQUEUE, time_ns, {}, {"why": why} if why else {})

    def mark_paused(self, job_id: str, time_ns: int, by_uid: int) -> Job:
        """From running to paused: the kernel says that it is."""
        return self._advance(job_id, Event.PAUSE, time_ns, {"time_ns": time_ns}, {"by_uid": by_uid})

    def mark_resumed(self, job_id: str, time_ns: int, by_uid: int) -> Job:
        """From paused to running."""
        values: dict[str, Value] = {"time_ns": time_ns}
        return self._advance(job_id, Event.RESUME, time_ns, values, {"by_uid": by_uid})

    def update(
        self,
        job_id: str,
        time_ns: int,
        spec: bytes,
        limits: bytes | None,
        about: EventData,
        **columns: Unpack[LimitColumns],
    ) -> Job:
        """Other limits: those of the spec, and as read back, None for a job that is queued.

        With them what it is promised and how long it may run, or its priority.
        Raises NotUpdatableError unless it is queued, running or paused, NoSuchJobError.
        """
        with self._transaction():
            standing = self._standing(job_id)
            if standing.state not in (_UPDATABLE if limits is None else GOING):
                raise NotUpdatableError(f"job {job_id} is {standing.state.value}")
            self._db.execute(queries.UPDATE_SPEC, {"id": job_id, "spec": spec})
            self._db.execute(queries.UPDATE_LIMITS, {"id": job_id, "limits": limits})
            self._set(job_id, as_values(columns))
            self._record(job_id, time_ns, UPDATE, about, standing.uid)
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
            state = self._standing(job_id).state
            raise JobActiveError(f"job {job_id} is {state.value}; it has not ended")

    def delete_ended(self, ids: Iterable[str], time_ns: int, removed_by_uid: int) -> list[str]:
        """Remove those of the jobs that are there and have ended, all at once; which these were."""
        gone: dict[str, tuple[int, int]] = {}
        with self._transaction():
            for job_id in ids:
                row = self._db.execute(queries.ENDED_STATE, {"id": job_id}).fetchone()
                if row is not None and row[0] == State.ENDED.value:
                    self._db.execute(queries.DELETE, {"id": job_id})
                    about: EventData = {"removed_by_uid": removed_by_uid}
                    self._record(job_id, time_ns, REMOVE, about, row[1])
                    gone[job_id] = row[1:]
        for uid, size in gone.values():
            self._has_moved(Standing(State.ENDED, uid), None)
            self.ended.changed(uid, -1, -size)
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
