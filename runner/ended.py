"""The ended jobs of the store: listed oldest first, counted by user as they come and go.

What has ended of a group counts for whoever asks what is there, but is not listed before the
group has ended: it may be tried again with the others. Reads only, and for the store's thread
only; ends, sizes and removals are committed by `runner.store`, which says here what it has done.
Which of them have to go is decided in `runner.retention`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from runner import group_rows, queries
from runner.rows import EndedJob, Total
from runner.store_file import described

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

_NOTHING: Final = Total(0, 0)
# Before every other: a clock may have been set to anything.
_BEFORE_ALL: Final = (-queries.MAX_INTEGER, 0)


class Change(NamedTuple):
    """So many more ended jobs of a user, or fewer, with their bytes; of one group, or of none."""

    uid: int
    jobs: int
    bytes: int
    group_id: str | None = None


class EndedJobs:
    """Part of the store, as `Store.ended`. Whatever reads may raise StoreError."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self._path = path
        self._every = _Tally()
        # Without those of groups that go on.
        self._final = _Tally()
        # What has ended of groups that go on.
        self._held: dict[str, Total] = {}
        with described(path):
            for uid, jobs, size in db.execute(queries.COUNT_ENDED):
                self._every.add(uid, jobs, size)
                self._final.add(uid, jobs, size)
            for group_id, uid, goes_on, jobs, size in db.execute(group_rows.COUNT_ENDED):
                self._every.add(uid, jobs, size)
                if goes_on:
                    self._held[group_id] = Total(jobs, size)
                else:
                    self._final.add(uid, jobs, size)

    def total(self, uid: int | None = None) -> Total:
        """What a user's ended jobs come to; everybody's without one. Costs nothing."""
        return self._every.of(uid)

    def totals(self) -> dict[int, Total]:
        """The same for each user who has ended jobs."""
        return dict(self._every.by_uid)

    def final_total(self, uid: int | None = None) -> Total:
        """The same of what `page` lists: without what has ended of groups that go on."""
        return self._final.of(uid)

    def final_totals(self) -> dict[int, Total]:
        """The same for each user who has such jobs."""
        return dict(self._final.by_uid)

    def goes_on(self, group_id: str) -> bool:
        """Whether a group of which jobs have ended has not. Costs nothing."""
        return group_id in self._held

    def page(self, uid: int | None, after: EndedJob | None, limit: int) -> list[EndedJob]:
        """Ended jobs of a user, or everybody's, oldest end first, from after `after` on.

        Those of a group have its end for theirs, and none is here while it goes on. Jobs of the
        same end are in the order of their submission.
        """
        query = queries.ENDED if uid is None else queries.ENDED_OF
        start = _BEFORE_ALL if after is None else (after.ended_ns, after.seq)
        values = dict(zip(("ended_ns", "seq"), start, strict=True)) | {"uid": uid, "limit": limit}
        with described(self._path):
            alone = [EndedJob._make(row) for row in self._db.execute(query, values)]
            grouped = list(self._of_groups(uid, *start, limit))
        both = sorted(alone + grouped, key=lambda job: (job.ended_ns, job.seq))
        return both[:limit]

    def _of_groups(
        self, uid: int | None, after_ns: int, after_seq: int, limit: int
    ) -> Iterator[EndedJob]:
        query = group_rows.ENDED if uid is None else group_rows.ENDED_OF
        # Each has a job; but of the first one only the last may have been looked at.
        values = {"uid": uid, "ended_ns": after_ns, "seq": after_seq, "limit": limit + 1}
        left = limit
        for group_id, owner, ended_ns, first, size in self._db.execute(query, values).fetchall():
            after = max(first - 1, after_seq if ended_ns == after_ns else 0)
            members = self._db.execute(
                group_rows.ENDED_MEMBERS,
                {"id": group_id, "after": after, "end": first + size, "limit": left},
            ).fetchall()
            for job_id, seq, disk_bytes in members:
                yield EndedJob(job_id, owner, ended_ns, seq, disk_bytes)
            left -= len(members)
            if left <= 0:
                return

    def unmeasured(self, after_seq: int, limit: int) -> list[tuple[int, str]]:
        """Number and id of those that take 0 bytes, as far as is known, by number."""
        with described(self._path):
            found: list[tuple[int, str]] = self._db.execute(
                queries.UNMEASURED, {"seq": after_seq, "limit": limit}
            ).fetchall()
        return found

    def changed(self, changes: Iterable[Change]) -> None:
        """These were committed, together: of one group they are counted at once."""
        of_groups: defaultdict[tuple[str, int], Total] = defaultdict(lambda: _NOTHING)
        for uid, jobs, size, group_id in changes:
            self._every.add(uid, jobs, size)
            if group_id is None:
                self._final.add(uid, jobs, size)
            else:
                of_groups[group_id, uid] = of_groups[group_id, uid].plus(jobs, size)
        for (group_id, uid), more in of_groups.items():
            self._group_changed(group_id, uid, more)

    def _group_changed(self, group_id: str, uid: int, more: Total) -> None:
        """Count what has changed of a group; also when that is its end, or it goes on again."""
        before = self._held.pop(group_id, _NOTHING)
        now = self._held_now(group_id, before.plus(*more) if before.jobs else None)
        if now is not None:
            self._held[group_id] = now
        held = now or _NOTHING
        self._final.add(
            uid, more.jobs + before.jobs - held.jobs, more.bytes + before.bytes - held.bytes
        )

    def _held_now(self, group_id: str, known: Total | None) -> Total | None:
        """What has ended of a group that goes on; None: it does not, or has been removed."""
        with described(self._path):
            row = self._db.execute(group_rows.FATE, {"id": group_id}).fetchone()
            if row is None or row[0] is not None:
                return None
            if known is not None:
                return known
            counted = self._db.execute(group_rows.COUNT_ENDED_OF, {"id": group_id}).fetchone()
        return Total._make(counted)


class _Tally:
    """Jobs and bytes of each user, and of all."""

    def __init__(self) -> None:
        self.by_uid: dict[int, Total] = {}
        self._all = _NOTHING

    def of(self, uid: int | None) -> Total:
        return self._all if uid is None else self.by_uid.get(uid, _NOTHING)

    def add(self, uid: int, jobs: int, size: int) -> None:
        self._all = self._all.plus(jobs, size)
        total = self.of(uid).plus(jobs, size)
        if total.jobs:
            self.by_uid[uid] = total
        else:
            self.by_uid.pop(uid, None)
