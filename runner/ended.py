"""The ended jobs of the store: listed oldest first, counted by user as they come and go.

Reads only, and for the store's thread only; ends, sizes and removals are committed by
`runner.store`, which says here what it has done. Which of them have to go is decided in
`runner.retention`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner import queries
from runner.rows import EndedJob, Total
from runner.store_file import described

if TYPE_CHECKING:
    import sqlite3

_NOTHING: Final = Total(0, 0)
# Before every other: a clock may have been set to anything.
_BEFORE_ALL: Final = (-queries.MAX_INTEGER, 0)


class EndedJobs:
    """Part of the store, as `Store.ended`. Every listing may raise StoreError."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self._path = path
        with described(path):
            rows = db.execute(queries.COUNT_ENDED).fetchall()
        self._by_uid = {uid: Total(jobs, size) for uid, jobs, size in rows}
        self._all = Total(
            sum(total.jobs for total in self._by_uid.values()),
            sum(total.bytes for total in self._by_uid.values()),
        )

    def total(self, uid: int | None = None) -> Total:
        """What a user's ended jobs come to; everybody's without one. Costs nothing."""
        return self._all if uid is None else self._by_uid.get(uid, _NOTHING)

    def totals(self) -> dict[int, Total]:
        """The same for each user who has ended jobs."""
        return dict(self._by_uid)

    def page(self, uid: int | None, after: EndedJob | None, limit: int) -> list[EndedJob]:
        """Ended jobs of a user, or everybody's, oldest end first, from after `after` on."""
        ended_ns, seq = _BEFORE_ALL if after is None else (after.ended_ns, after.seq)
        query = queries.ENDED if uid is None else queries.ENDED_OF
        values = {"uid": uid, "ended_ns": ended_ns, "seq": seq, "limit": limit}
        with described(self._path):
            rows = self._db.execute(query, values).fetchall()
        return [EndedJob._make(row) for row in rows]

    def unmeasured(self, after_seq: int, limit: int) -> list[tuple[int, str]]:
        """Number and id of those that take 0 bytes, as far as is known, by number."""
        with described(self._path):
            found: list[tuple[int, str]] = self._db.execute(
                queries.UNMEASURED, {"seq": after_seq, "limit": limit}
            ).fetchall()
        return found

    def changed(self, uid: int, jobs: int, size: int) -> None:
        """So many more, or fewer, of a user were committed."""
        self._all = self._all.plus(jobs, size)
        total = self.total(uid).plus(jobs, size)
        if total.jobs:
            self._by_uid[uid] = total
        else:
            self._by_uid.pop(uid, None)
