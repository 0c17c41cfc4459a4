"""The daemon's memory: jobs and what happened to them, in one SQLite file.

A change is committed, its event with it, when the method that makes it returns; only then may
anybody be told. What somebody is promised is on disk by then (`runner.store_commits`), or before
anybody can hear of it (`runner.settling`). The store asks `runner.lifecycle` whether a change is
possible and decides nothing else; who may see a job is `runner.policy`'s. It belongs to one thread,
the event loop's, and to one process: the lock of the state directory sees to that. Here is the life
of a job; what waits is `runner.store_queue`'s, listing `runner.store_lists`', what happened
`runner.store_events`', groups `runner.store_groups`', hooks `runner.store_hooks`', each a part of
the store.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Final, Self, Unpack

from runner import group_rows, queries
from runner.ended import Change
from runner.group_rows import FAILED, OK
from runner.lifecycle import GOING, Event, State, advance
from runner.rows import Job, Launch, LimitColumns, NewJob
from runner.store_base import (
    JobActiveError,
    NoSuchGroupError,
    NoSuchJobError,
    NotUpdatableError,
    Standing,
    as_values,
)
from runner.store_events import StoredEvents
from runner.store_file import StoreError, described, make_private, set_up
from runner.store_groups import SUBMIT
from runner.store_lists import StoredLists
from runner.store_queue import StoredQueue
from runner.store_retries import StoredRetries
from runner.store_rows import inserted
from runner.store_schedules import StoredSchedules

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from runner.rows import EventData, Value

__all__ = [
    "SUBMIT", "Job", "JobActiveError", "NewJob", "NoSuchGroupError", "NoSuchJobError",
    "NotUpdatableError", "Store", "StoreError",
]  # fmt: skip

UPDATE: Final = "update"
REMOVE: Final = "remove"

# Without limits that were read back: nothing of it is there yet.
_UPDATABLE: Final = frozenset({State.QUEUED})


class Store(StoredQueue, StoredRetries, StoredLists, StoredSchedules, StoredEvents):
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
        with contextlib.suppress(StoreError):
            self.commit_deferred()
        self._close_log()
        self._connection.close()

    def insert(
        self,
        new: NewJob,
        met: Container[str] = (),
        call_seq: int | None = None,
        launch: Launch | None = None,
    ) -> Job:
        """Keep a new job, queued, with its labels and what it comes after.

        Those in `met` have become already what it waits for. A key that the submitter has given
        to another job is refused: `keyed` tells. `call_seq`: the call of a hook that is made with
        it, and waits no more. With a `launch` it is starting, and never was queued for anybody: not
        for one that has anything to wait for.
        """
        with self._transaction(promised=True):
            seq = self._insert_jobs([new], met, launch)
            self._insert_hooks(new.id, new.hooks)
            if call_seq is not None:
                self._forget_call(call_seq)
            self._record_submission(new, launch)
        following = State.QUEUED if launch is None else State.STARTING
        self._has_moved(new.id, None, following, new.submitted_by_uid)
        if launch is not None:
            self.stats.start(new.id, launch.time_ns, new.submitted_ns)
        if new.group_id is None:
            self._recent.put(inserted(new, seq, launch))
            self._attached.put(new)
        return self._existing(new.id)

    def _record_submission(self, new: NewJob, launch: Launch | None) -> None:
        about: EventData = {"submitted_by_uid": new.submitted_by_uid, "uid": new.uid}
        self._record(new.id, new.submitted_ns, SUBMIT, about, new.submitted_by_uid)
        if launch is not None:
            self._record(new.id, launch.time_ns, Event.LAUNCH.value, {}, new.submitted_by_uid)

    def mark_starting(self, job_id: str, time_ns: int, boot_id: str) -> Job:
        """From queued to starting. Every mark raises ImpossibleTransition, NoSuchJobError."""
        job = self._advance(job_id, Event.LAUNCH, time_ns, {"boot_id": boot_id}, {})
        self.stats.start(job_id, time_ns, job.submitted_ns if job.attempt == 1 else None)
        return job

    def mark_running(
        self, job_id: str, monitor_pid: int, started_ns: int, limits: bytes | None
    ) -> Job:
        """From starting to running, with the next commit. `limits`: encoded, as read back."""
        values: dict[str, Value] = {
            "monitor_pid": monitor_pid,
            "started_ns": started_ns,
            "limits": limits,
        }
        about: EventData = {"monitor_pid": monitor_pid}
        job = self._advance(job_id, Event.STARTED, started_ns, values, about, soon=True)
        self.stats.run(job_id, time.time_ns())
        return job

    def mark_requeued(self, job_id: str, time_ns: int, why: str = "") -> Job:
        """From starting to queued, in its old place: it never ran."""
        job = self._advance(job_id, Event.REQUEUE, time_ns, {}, {"why": why} if why else {})
        self.stats.requeued += 1
        return job

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
            self._recent.drop(job_id)
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
        is_ok: bool,
        started_ns: int | None = None,
        disk_bytes: int = 0,
    ) -> Job:
        """From any other state to ended. `result` is encoded by the caller.

        `is_ok`: by itself, with status 0. With the last job of a group the group has ended.
        `started_ns` is for a job that ran though `running` was never committed, which is recorded
        then; a time that is already there stays. `disk_bytes` is what its directory takes, 0 if not
        known.
        """
        values: dict[str, Value] = {
            "ended_ns": ended_ns,
            "reason": reason,
            "result": result,
            "started_ns": started_ns,
            "limits": None,
            "disk_bytes": disk_bytes,
            "fate": OK if is_ok else FAILED,
        }
        standing, before = self._standing(job_id), self._recent.get(job_id)
        values |= {"id": job_id, "state": advance(standing.state, Event.FINISH).value}
        late = self._deferred.get(job_id)
        if late is not None:
            values |= {name: late.values[name] for name in ("started_ns", "limits")}
        with self._transaction(promised=True, but=job_id):
            if late is not None:
                self._record(job_id, late.time_ns, late.kind, late.about, late.uid)
            self._begin_late(job_id, standing, started_ns)
            self._db.execute(queries.UPDATES[Event.FINISH], values)
            self._record(job_id, ended_ns, Event.FINISH.value, {"reason": reason}, standing.uid)
            if standing.group_id is not None:
                self._members_moved(standing.group_id, -1, int(not is_ok), ended_ns)
        self._has_moved(job_id, standing, State.ENDED)
        self.stats.end(reason)
        self._attached.ended(job_id)
        self.ended.changed([Change(standing.uid, 1, disk_bytes, standing.group_id)])
        return self._now(before, job_id, Event.FINISH, values)

    def delete(self, job_id: str, time_ns: int, removed_by_uid: int) -> None:
        """Remove an ended job; its events stay. Raises JobActiveError, NoSuchJobError."""
        if not self.delete_ended([job_id], time_ns, removed_by_uid):
            state = self._standing(job_id).state
            raise JobActiveError(f"job {job_id} is {state.value}; it has not ended")

    def delete_ended(self, ids: Iterable[str], time_ns: int, removed_by_uid: int) -> list[str]:
        """Remove those of the jobs that are there and have ended, all at once; which these were.

        Their hooks go with them, and a group with the last of its jobs.
        """
        gone: dict[str, tuple[int, int, str | None]] = {}
        with self._transaction():
            for job_id in ids:
                row = self._db.execute(queries.ENDED_STATE, {"id": job_id}).fetchone()
                if row is not None and row[0] == State.ENDED.value:
                    self._recent.drop(job_id)
                    self._db.execute(queries.DELETE, {"id": job_id})
                    self._db.execute(queries.DELETE_HOOKS, {"id": job_id})
                    about: EventData = {"removed_by_uid": removed_by_uid}
                    self._record(job_id, time_ns, REMOVE, about, row[1])
                    gone[job_id] = row[1:]
            self._drop_empty({group_id for _, _, group_id in gone.values() if group_id is not None})
        for job_id, (uid, _, _) in gone.items():
            self._has_moved(job_id, Standing(State.ENDED, uid), None)
        self.ended.changed(
            [Change(uid, -1, -size, group_id) for uid, size, group_id in gone.values()]
        )
        return list(gone)

    def _drop_empty(self, group_ids: Iterable[str]) -> None:
        """Within a transaction: remove groups that have no job any more."""
        for group_id in group_ids:
            if self._db.execute(group_rows.HAS_MEMBER, {"id": group_id}).fetchone() is None:
                self._db.execute(group_rows.DELETE, {"id": group_id})
                self._db.execute(queries.DELETE_HOOKS, {"id": group_id})

    def measure(self, sizes: Mapping[str, int]) -> None:
        """Say what the directories of ended jobs take, in bytes; other jobs are left out."""
        changes: list[Change] = []
        with self._transaction(durable=False):
            for job_id, size in sizes.items():
                row = self._db.execute(queries.ENDED_STATE, {"id": job_id}).fetchone()
                if row is not None and row[0] == State.ENDED.value:
                    self._recent.drop(job_id)
                    self._db.execute(queries.MEASURE, {"id": job_id, "bytes": size})
                    changes.append(Change(row[1], 0, size - row[2], row[3]))
        self.ended.changed(changes)
