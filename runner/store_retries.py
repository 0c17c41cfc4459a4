"""Jobs that are tried again, and the attempts before. A part of the store.

Whether there is another attempt is decided in `runner.retrying`, or by a person; here the one
before is kept and the job is queued. How it waits is `runner.store_queue`'s.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Unpack

from runner import queries
from runner.ended import Change
from runner.group_rows import OK, SKIPPED
from runner.lifecycle import Event, ImpossibleTransition, State, advance
from runner.rows import Attempt, Job, RetryColumns
from runner.store_base import Standing, StoreBase, as_values
from runner.store_file import described

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from runner.rows import EventData, Value


class StoredRetries(StoreBase):
    """The store's further attempts. Every method may raise StoreError."""

    def attempts(self, job_id: str) -> list[Attempt]:
        """The attempts before the one that the job's row tells of, oldest first."""
        with described(self.path):
            rows = self._db.execute(queries.ATTEMPTS, {"id": job_id}).fetchall()
        return [Attempt._make(row) for row in rows]

    def tried_bytes(self, submitted_by_uid: int) -> dict[str, int]:
        """What the earlier attempts of a submitter's jobs take that have not ended, where known."""
        with described(self.path):
            rows = self._db.execute(queries.TRIED, {"uid": submitted_by_uid})
            return dict(rows.fetchall())

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
        disk_bytes: int = 0,
        **columns: Unpack[RetryColumns],
    ) -> Job:
        """Queue a job again, as its next attempt, and keep what became of the one before.

        Of itself, one that goes: then `ended_ns`, `reason` and `result` say how the attempt ended,
        and `started_ns` when it began if `running` was never committed. By somebody's hand
        (`by_uid`), one that has ended: its row says the same, and retries are counted anew. A
        `spec` takes the place of the old one. Its dependencies stay as they are. `disk_bytes` is
        what its directory takes by then; of one that had ended that is known.

        Raises ImpossibleTransition, NoSuchJobError.
        """
        before = {"ended_ns": ended_ns, "reason": reason, "result": result}
        values: dict[str, Value] = {**before, "id": job_id, "started_ns": started_ns}
        values |= {"not_before_ns": not_before_ns, "by_hand": by_uid is not None}
        values["disk_bytes"] = disk_bytes
        with self._transaction():
            standing = self._standing(job_id)
            following = advance(standing.state, Event.RETRY)
            if (standing.state is State.ENDED) != (by_uid is not None):
                raise ImpossibleTransition(standing.state, Event.RETRY)
            self._begin_late(job_id, standing, started_ns)
            old = self._existing(job_id)
            self._recent.drop(job_id)
            self._db.execute(queries.INSERT_ATTEMPT, values)
            self._db.execute(queries.UPDATES[Event.RETRY], {**values, "state": following.value})
            self._set(job_id, as_values(columns))
            if spec is not None:
                self._db.execute(queries.UPDATE_SPEC, {"id": job_id, "spec": spec})
            self._uncount([standing], time_ns)
            about = _about_retry(old, old.reason or reason or "", by_uid)
            self._record(job_id, time_ns, Event.RETRY.value, about, standing.uid)
        self._has_moved(job_id, standing, following)
        self.stats.retries += 1
        if standing.state is State.ENDED:
            self.ended.changed([Change(standing.uid, -1, -old.disk_bytes, standing.group_id)])
        return self._existing(job_id)

    def mark_retried_many(self, ids: Iterable[str], time_ns: int, by_uid: int) -> list[str]:
        """Queue jobs that have ended once more, by somebody's hand and all at once; these.

        What they come after among these is waited for anew. A deadline that has passed counts no
        more. One that is not there, or has not ended, is left out.
        """
        moved: dict[str, tuple[Standing, int]] = {}
        with self._transaction():
            for job_id in dict.fromkeys(ids):
                row = self._db.execute(queries.ENDED_ATTEMPT, {"id": job_id}).fetchone()
                if row is None or row[0] != State.ENDED.value:
                    continue
                standing = Standing(State.ENDED, *row[1:4])
                moved[job_id] = standing, row[4]
                self._queue_again(job_id, time_ns)
                about: EventData = {"attempt": row[5] + 1, "reason": row[6], "by_uid": by_uid}
                self._record(job_id, time_ns, Event.RETRY.value, about, standing.uid)
            self._unmeet(moved)
            self._uncount([standing for standing, _ in moved.values()], time_ns)
        for job_id, (standing, _) in moved.items():
            self._has_moved(job_id, standing, State.QUEUED)
        self.stats.retries += len(moved)
        self.ended.changed(
            [
                Change(standing.uid, -1, -size, standing.group_id)
                for standing, size in moved.values()
            ]
        )
        return list(moved)

    def _uncount(self, standings: Iterable[Standing], time_ns: int) -> None:
        """Within a transaction: jobs go on, which their groups had counted if they had ended."""
        unended: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for standing in standings:
            if standing.group_id is not None and standing.state is State.ENDED:
                unended[standing.group_id] += 1
                failed[standing.group_id] += standing.fate not in {OK, SKIPPED}
        for group_id, count in unended.items():
            self._members_moved(group_id, count, -failed[group_id], time_ns)

    def _queue_again(self, job_id: str, time_ns: int) -> None:
        """Within a transaction: the row of a job that has ended, and is tried again by hand."""
        values: dict[str, Value] = {"id": job_id, "by_hand": True, "state": State.QUEUED.value}
        unset = ("started_ns", "ended_ns", "reason", "result", "not_before_ns", "disk_bytes")
        values |= dict.fromkeys(unset)
        self._recent.drop(job_id)
        self._db.execute(queries.INSERT_ATTEMPT, values)
        self._db.execute(queries.UPDATES[Event.RETRY], values)
        self._db.execute(queries.FORGET_DEADLINE, {"id": job_id, "time_ns": time_ns})

    def _unmeet(self, ids: Collection[str]) -> None:
        """Within a transaction: what these jobs come after among themselves is to become again."""
        met = [
            {"seq": seq, "on_id": on_id}
            for job_id in ids
            for seq, on_id in self._db.execute(queries.ON_IDS, {"id": job_id})
            if on_id in ids
        ]
        self._db.executemany(queries.UNMEET, met)


def _about_retry(old: Job, reason: str, by_uid: int | None) -> EventData:
    about: EventData = {"attempt": old.attempt + 1, "reason": reason}
    return about if by_uid is None else {**about, "by_uid": by_uid}
