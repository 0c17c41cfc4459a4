"""Queued jobs: what they wait for, in which order; labels, attempts, queues. A part of the store.

When one starts is decided in `runner.scheduling`, what is asked of whom in `runner.queueing`; here
it is kept and read. The lives of jobs, also their launch, are `runner.store`'s.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, Unpack

from runner import queries
from runner.lifecycle import Event, ImpossibleTransition, State, advance
from runner.rows import (
    RANK_STEP,
    Attempt,
    Fate,
    Job,
    QueuedColumns,
    QueueState,
    RetryColumns,
    StoredDependency,
    state_of,
)
from runner.scheduling.kinds import Dependency, Needs, Waiting
from runner.store_base import NotUpdatableError, Standing, StoreBase
from runner.store_file import described

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.rows import EventData, Row
    from runner.scheduling.kinds import Met
    from runner.store_base import Value

QueueChange = Literal["hold", "release", "move", "priority"]

# What the event of a change says of it.
_TOLD: Final = ("queue", "priority")
# The columns of `queries.WAITING`.
_WAITING: Final = (
    "id", "submitted_by_uid", "queue", "priority", "rank", "seq", "reserved_millicpus",
    "reserved_memory_bytes", "not_before_ns", "deadline_ns", "held_by_uid", "time_limit_ms",
)  # fmt: skip


class StoredQueue(StoreBase):
    """The store's queued jobs. Every method may raise StoreError."""

    def keyed(self, submitted_by_uid: int, key: str) -> Job | None:
        """The job that a submitter has given this idempotency key, unless it was removed."""
        found = list(self._jobs(queries.BY_KEY, uid=submitted_by_uid, key=key))
        return found[0] if found else None

    # What is waited for

    def waiting(self) -> list[Waiting]:
        """Every queued job, in the order of submission. No spec is read.

        `after` is what is not stored as met, whatever has become of it (`became`).
        """
        after: dict[str, list[Dependency]] = {}
        with described(self.path):
            for job_id, on_id, kind in self._db.execute(queries.AFTER):
                after.setdefault(job_id, []).append(_dependency(on_id, kind))
            rows = self._db.execute(queries.WAITING)
            return [_waiting(row, tuple(after.get(row[0], ()))) for row in rows]

    def waiting_one(self, job: Job) -> Waiting:
        """The same of one job that is queued."""
        unmet = (known for known in self.dependencies(job.id) if not known.met)
        after = tuple(_dependency(known.on_id, known.kind) for known in unmet)
        columns = (getattr(job, name) for name in _WAITING)
        return _waiting(tuple(columns), after)

    def became(self, ids: Iterable[str]) -> dict[str, Fate]:
        """What has become of jobs so far, of those that are there."""
        fates = {}
        with described(self.path):
            for job_id in ids:
                row = self._db.execute(queries.FATE, {"id": job_id}).fetchone()
                if row is not None:
                    fates[job_id] = Fate(state_of(row[0]), *row[1:])
        return fates

    def dependencies(self, job_id: str) -> list[StoredDependency]:
        """What a job comes after, met or not, by the other's id."""
        rows = self._all(queries.DEPENDENCIES, id=job_id)
        return [StoredDependency(on_id, kind, bool(met)) for on_id, kind, met in rows]

    def dependents(self, on_id: str) -> list[tuple[str, str]]:
        """Queued jobs that still wait for one, and for what of it, in the order of submission."""
        return [(job_id, kind) for job_id, kind in self._all(queries.DEPENDENTS, on_id=on_id)]

    def meet_many(self, became: Iterable[tuple[str, Met]]) -> None:
        """Jobs have become this much: whoever waits for that never waits for it again.

        All at once; nothing is written where nobody waits.
        """
        asked = [{"on_id": on_id, "kind": kind} for on_id, kind in became]
        with described(self.path):
            unmet = [a for a in asked if self._db.execute(queries.HAS_UNMET, a).fetchone()]
        if unmet:
            with self._transaction():
                self._db.executemany(queries.MEET_ON, unmet)

    # What there is to say of them

    def labels(self, job_ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """The labels of jobs, by their ids; none of a job that is not there."""
        return {job_id: dict(self._all(queries.LABELS, id=job_id)) for job_id in job_ids}

    def attempts(self, job_id: str) -> list[Attempt]:
        """The attempts before the one that the job's row tells of, oldest first."""
        return [Attempt._make(row) for row in self._all(queries.ATTEMPTS, id=job_id)]

    # Changes

    def change_queued(
        self,
        job_id: str,
        time_ns: int,
        kind: QueueChange,
        by_uid: int,
        *,
        others: Mapping[str, int] | None = None,
        **columns: Unpack[QueuedColumns],
    ) -> Job:
        """Hold, release or move a queued job, or change its priority: those columns given.

        `others` are the ranks of queued jobs that make room for it, which is no event of theirs.
        Raises NotUpdatableError unless it is queued, NoSuchJobError.
        """
        changed = as_values(columns)
        about: EventData = {"by_uid": by_uid}
        about |= {k: v for k, v in changed.items() if k in _TOLD and isinstance(v, str | int)}
        with self._transaction():
            standing = self._standing(job_id)
            if standing.state is not State.QUEUED:
                raise NotUpdatableError(f"job {job_id} is {standing.state.value}")
            self._set(job_id, changed)
            room = ({"id": other, "rank": rank} for other, rank in (others or {}).items())
            self._db.executemany(queries.MAKE_ROOM, room)
            self._record(job_id, time_ns, kind, about, standing.uid)
        return self._existing(job_id)

    def mark_retried(  # noqa: PLR0913 - an attempt's end and the next one's beginning
        self,
        job_id: str,
        time_ns: int,
        *,
        ended_ns: int | None = None,
        reason: str | None = None,
        result: bytes | None = None,
        started_ns: int | None = None,
        not_before_ns: int | None = None,
        spec: bytes | None = None,
        by_uid: int | None = None,
        **columns: Unpack[RetryColumns],
    ) -> Job:
        """Queue a job again, as its next attempt, and keep what became of the one before.

        Of itself, one that goes: then `ended_ns`, `reason` and `result` say how the attempt ended,
        and `started_ns` when it began if `running` was never committed. By somebody's hand
        (`by_uid`), one that has ended: its row says the same, and retries are counted anew. A
        `spec` takes the place of the old one. Its dependencies stay as they are.

        Raises ImpossibleTransition, NoSuchJobError.
        """
        before = {"ended_ns": ended_ns, "reason": reason, "result": result}
        values: dict[str, Value] = {**before, "id": job_id, "started_ns": started_ns}
        values |= {"not_before_ns": not_before_ns, "by_hand": by_uid is not None}
        with self._transaction():
            standing = self._standing(job_id)
            following = advance(standing.state, Event.RETRY)
            if (standing.state is State.ENDED) != (by_uid is not None):
                raise ImpossibleTransition(standing.state, Event.RETRY)
            old = self._existing(job_id)
            self._db.execute(queries.INSERT_ATTEMPT, values)
            self._db.execute(queries.UPDATES[Event.RETRY], {**values, "state": following.value})
            self._set(job_id, as_values(columns))
            if spec is not None:
                self._db.execute(queries.UPDATE_SPEC, {"id": job_id, "spec": spec})
            about = _about_retry(old, old.reason or reason or "", by_uid)
            self._record(job_id, time_ns, Event.RETRY.value, about, standing.uid)
        self._has_moved(standing, following)
        if standing.state is State.ENDED:
            self.ended.changed(standing.uid, -1, -old.disk_bytes)
        return self._existing(job_id)

    def end_queued(self, ends: Sequence[tuple[str, str, bytes]], time_ns: int) -> list[str]:
        """End queued jobs, all at once: ids, reasons, encoded results.

        Which these were: one that is not there or not queued any more is left out.
        """
        gone = {}
        with self._transaction():
            for job_id, reason, result in ends:
                row = self._db.execute(queries.STATE, {"id": job_id}).fetchone()
                if row is None or row[0] != State.QUEUED.value:
                    continue
                self._db.execute(queries.UPDATES[Event.FINISH], {
                    "id": job_id, "state": State.ENDED.value, "ended_ns": time_ns, "reason": reason,
                    "result": result, "started_ns": None, "disk_bytes": 0,
                })  # fmt: skip
                gone[job_id] = self._recorded_end(job_id, time_ns, reason, row[1])
        for uid in gone.values():
            self._has_left_the_queue(uid)
        return list(gone)

    # Queues

    def queue_states(self) -> dict[str, QueueState]:
        """What was set of queues, by their names."""
        rows = self._all(queries.QUEUE_STATES)
        return {name: QueueState(bool(paused), most) for name, paused, most in rows}

    def set_queue_state(self, name: str, paused: bool, max_running: int | None) -> None:  # noqa: FBT001 - one column of two
        """Keep what an admin says of a queue."""
        values = {"name": name, "paused": paused, "max_running": max_running}
        with self._transaction():
            self._db.execute(queries.SET_QUEUE, values)

    def _recorded_end(self, job_id: str, time_ns: int, reason: str, uid: int) -> int:
        self._record(job_id, time_ns, Event.FINISH.value, {"reason": reason}, uid)
        return uid

    def _has_left_the_queue(self, uid: int) -> None:
        self._has_moved(Standing(State.QUEUED, uid), State.ENDED)
        self.ended.changed(uid, 1, 0)

    def _all(self, query: str, **values: Value) -> list[Row]:
        with described(self.path):
            return self._db.execute(query, values).fetchall()


def as_values(columns: Mapping[str, object]) -> dict[str, Value]:
    """As they are bound; their types are those of the method they were given to."""
    return {k: v for k, v in columns.items() if v is None or isinstance(v, str | int)}


def _about_retry(old: Job, reason: str, by_uid: int | None) -> EventData:
    about: EventData = {"attempt": old.attempt + 1, "reason": reason}
    return about if by_uid is None else {**about, "by_uid": by_uid}


@lru_cache(maxsize=4096)
def _dependency(on_id: str, kind: Met) -> Dependency:
    """One for all that come after the same job: there may be 200,000."""
    return Dependency(on_id, kind)


def _waiting(row: Row, after: tuple[Dependency, ...]) -> Waiting:
    """Of a row of `queries.WAITING`. Positions, because there may be 100,000."""
    (job_id, uid, queue, priority, rank, seq, millicpus, memory_bytes,
     not_before_ns, deadline_ns, held_by_uid, time_limit_ms) = row  # fmt: skip
    return Waiting(
        job_id, uid, queue, priority, seq * RANK_STEP if rank is None else rank,
        Needs(millicpus, memory_bytes), not_before_ns, deadline_ns, held_by_uid is not None, after,
        time_limit_ms,
    )  # fmt: skip
