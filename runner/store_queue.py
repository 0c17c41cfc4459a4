"""Queued jobs: what they wait for, in which order; labels, attempts, queues. A part of the store.

When one starts is decided in `runner.scheduling`, what is asked of whom in `runner.queueing`; here
it is kept and read. The lives of jobs, also their launch, are `runner.store`'s.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, Unpack

from runner import group_rows, queries
from runner.ended import Change
from runner.group_rows import FAILED, OK, SKIPPED
from runner.lifecycle import Event, State
from runner.outcome import DEPENDENCY
from runner.rows import (
    RANK_STEP,
    Fate,
    Job,
    QueuedColumns,
    QueueState,
    StoredDependency,
    state_of,
)
from runner.scheduling.kinds import Dependency, Needs, Waiting
from runner.store_base import NotUpdatableError, Standing, StoreBase, as_values
from runner.store_file import described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runner.rows import EventData, NewJob, Row, Value
    from runner.scheduling.kinds import Met

QueueChange = Literal["hold", "release", "move", "priority"]

# What the event of a change says of it.
_TOLD: Final = ("queue", "priority")


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
        caps = _Caps(self._group_cap)
        with described(self.path):
            for job_id, on_id, kind in self._db.execute(queries.AFTER):
                after.setdefault(job_id, []).append(_dependency(on_id, kind))
            rows = self._db.execute(queries.WAITING)
            return [_waiting(row, tuple(after.get(row[0], ())), caps[row[-1]]) for row in rows]

    def waiting_of(self, ids: Iterable[str]) -> list[Waiting]:
        """The same of those of some jobs that are queued, in the order given."""
        caps = _Caps(self._group_cap)
        found = []
        for job_id in ids:
            job = self._recent.get(job_id)
            if job is not None and self._attached.comes_after_nothing(job_id):
                if job.state is State.QUEUED:
                    found.append(waiting_from(job, job.seq))
                continue
            for row in self._all(queries.WAITING_ONE, id=job_id):
                unmet = (known for known in self.dependencies(job_id) if not known.met)
                after = tuple(_dependency(known.on_id, known.kind) for known in unmet)
                found.append(_waiting(row, after, caps[row[-1]]))
        return found

    def became(self, ids: Iterable[str]) -> dict[str, Fate]:
        """What has become of jobs and groups so far, of those that are there."""
        fates = {}
        with described(self.path):
            for job_id in ids:
                row = self._db.execute(queries.FATE, {"id": job_id}).fetchone()
                fate = self._group_fate(job_id) if row is None else Fate(state_of(row[0]), *row[1:])
                if fate is not None:
                    fates[job_id] = fate
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
            # That one has started nobody finds out again who has not seen it.
            with self._transaction(durable=any(a["kind"] == "started" for a in unmet)):
                self._db.executemany(queries.MEET_ON, unmet)

    # What there is to say of them

    def labels(self, job_ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """The labels of jobs, by their ids; none of a job that is not there."""
        return {job_id: dict(self._all(queries.LABELS, id=job_id)) for job_id in job_ids}

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
        with self._transaction():
            standing = self._standing(job_id)
            if standing.state is not State.QUEUED:
                raise NotUpdatableError(f"job {job_id} is {standing.state.value}")
            self._change(job_id, time_ns, kind, by_uid, as_values(columns), standing.uid)
            for other, rank in (others or {}).items():
                self._recent.drop(other)
                self._db.execute(queries.MAKE_ROOM, {"id": other, "rank": rank})
        return self._existing(job_id)

    def change_queued_many(
        self,
        ids: Iterable[str],
        time_ns: int,
        kind: QueueChange,
        by_uid: int,
        **columns: Unpack[QueuedColumns],
    ) -> list[str]:
        """The same of many, all at once; those that are queued, the others are left out."""
        changed, values = [], as_values(columns)
        with self._transaction():
            for job_id in ids:
                row = self._db.execute(queries.STATE, {"id": job_id}).fetchone()
                if row is not None and row[0] == State.QUEUED.value:
                    self._change(job_id, time_ns, kind, by_uid, values, row[1])
                    changed.append(job_id)
        return changed

    def _change(
        self, job_id: str, time_ns: int, kind: str, by_uid: int, columns: dict[str, Value], uid: int
    ) -> None:
        """Within a transaction."""
        about: EventData = {"by_uid": by_uid}
        about |= {k: v for k, v in columns.items() if k in _TOLD and isinstance(v, str | int)}
        self._set(job_id, columns)
        self._record(job_id, time_ns, kind, about, uid)

    def end_queued(self, ends: Sequence[tuple[str, str, bytes]], time_ns: int) -> list[str]:
        """End queued jobs, all at once: ids, reasons, encoded results.

        Which these were: one that is not there or not queued any more is left out. Who can never
        start comes after the one for whose end that is: in a group it may be skipped for that.
        """
        gone: dict[str, Change] = {}
        lost: dict[str, Counter[str]] = {}
        with self._transaction():
            for job_id, reason, result in ends:
                row = self._db.execute(queries.QUEUED_STATE, {"id": job_id}).fetchone()
                if row is None or row[0] != State.QUEUED.value:
                    continue
                self._recent.drop(job_id)
                fate = self._fate_of(job_id, reason, row[2])
                self._db.execute(queries.UPDATES[Event.FINISH], {
                    "id": job_id, "state": State.ENDED.value, "ended_ns": time_ns, "reason": reason,
                    "result": result, "started_ns": None, "limits": None, "disk_bytes": row[3],
                    "fate": fate,
                })  # fmt: skip
                self._record(job_id, time_ns, Event.FINISH.value, {"reason": reason}, row[1])
                gone[job_id] = Change(row[1], 1, row[3], row[2])
                if row[2] is not None:
                    lost.setdefault(row[2], Counter())[fate] += 1
            for group_id, fates in lost.items():
                self._members_moved(group_id, -fates.total(), fates[FAILED], time_ns)
        for job_id, change in gone.items():
            self._has_moved(job_id, Standing(State.QUEUED, change.uid), State.ENDED)
            self._attached.ended(job_id)
        self.stats.end_all(reason for job_id, reason, _ in ends if job_id in gone)
        self.ended.changed(gone.values())
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

    def _fate_of(self, job_id: str, reason: str, group_id: str | None) -> str:
        """Of a job that ends without having begun."""
        if group_id is None or reason != DEPENDENCY:
            return FAILED
        row = self._db.execute(group_rows.WAS_SKIPPED, {"id": job_id}).fetchone()
        return FAILED if row is None else SKIPPED

    def _group_fate(self, group_id: str) -> Fate | None:
        row = self._db.execute(group_rows.FATE, {"id": group_id}).fetchone()
        if row is None:
            return None
        started = self._db.execute(group_rows.HAS_STARTED, {"id": group_id}).fetchone()
        started_ns = None if started is None else started[0]
        if row[0] is not None:
            return Fate(State.ENDED, started_ns, None, None, FAILED if row[1] else OK)
        state = State.QUEUED if started is None else State.RUNNING
        return Fate(state, started_ns, None, None)

    def _group_cap(self, group_id: str | None) -> int | None:
        if group_id is None:
            return None
        row = self._db.execute(group_rows.CAP, {"id": group_id}).fetchone()
        return None if row is None else row[0]

    def _all(self, query: str, **values: Value) -> list[Row]:
        with described(self.path):
            return self._db.execute(query, values).fetchall()


@lru_cache(maxsize=4096)
def _dependency(on_id: str, kind: Met) -> Dependency:
    """One for all that come after the same job: there may be 200,000."""
    return Dependency(on_id, kind)


class _Caps(dict[str | None, int | None]):
    """The caps of groups, each asked for once."""

    def __init__(self, ask: Callable[[str | None], int | None]) -> None:
        super().__init__()
        self._ask = ask

    def __missing__(self, group_id: str | None) -> int | None:
        self[group_id] = cap = self._ask(group_id)
        return cap


def waiting_from(job: Job | NewJob, seq: int) -> Waiting:
    """A job without a group that comes after nothing, as it waits. `seq`: its number."""
    rank = job.rank if isinstance(job, Job) else None
    return Waiting(
        job.id, job.submitted_by_uid, job.queue, job.priority,
        seq * RANK_STEP if rank is None else rank,
        Needs(job.reserved_millicpus, job.reserved_memory_bytes), job.not_before_ns,
        job.deadline_ns, job.held_by_uid is not None, (), job.time_limit_ms,
    )  # fmt: skip


def _waiting(row: Row, after: tuple[Dependency, ...], cap: int | None) -> Waiting:
    """Of a row of `queries.WAITING`. Positions, because there may be 100,000."""
    (job_id, uid, queue, priority, rank, seq, millicpus, memory_bytes,
     not_before_ns, deadline_ns, held_by_uid, time_limit_ms, group_id) = row  # fmt: skip
    return Waiting(
        job_id, uid, queue, priority, seq * RANK_STEP if rank is None else rank,
        Needs(millicpus, memory_bytes), not_before_ns, deadline_ns, held_by_uid is not None, after,
        time_limit_ms, group_id, cap,
    )  # fmt: skip
