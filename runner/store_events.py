"""What happened: the events of the store, read and trimmed. A part of `runner.store`.

They are written with what they tell of, by the other parts. A user sees those of the jobs that the
user submitted: whose they are is in the event, for it outlives its job. Who may ask for whose is
not asked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner import queries
from runner.rows import StoredEvent, sound_events
from runner.store_base import StoreBase
from runner.store_file import described

if TYPE_CHECKING:
    from runner.rows import Row


class StoredEvents(StoreBase):
    """The store's events. Every method may raise StoreError."""

    def events_since(
        self, seq: int, limit: int, uid: int | None = None, job_id: str | None = None
    ) -> list[StoredEvent]:
        """Events after number `seq`, oldest first, at most `limit`; none: there are no more yet.

        `uid`: of jobs that this user submitted; `job_id`: of this one, which may have been removed.
        """
        # What a power cut takes back must not have been told.
        self.sync()
        found: list[StoredEvent] = []
        # A list of damaged ones only would read as the end.
        while not found and (rows := self._event_rows(seq, limit, uid, job_id)):
            found = list(sound_events(rows))
            seq = rows[-1][0]
        return found

    def oldest_event(self) -> int:
        """The number of the oldest event that is kept; the next one's where none is."""
        with described(self.path):
            row = self._db.execute(queries.OLDEST_EVENT).fetchone()
        return self._newest_event() + 1 if row is None else int(row[0])

    def newest_event(self) -> int:
        """The last number that was given to an event, kept or not; 0 before the first."""
        self.sync()
        return self._newest_event()

    def _newest_event(self) -> int:
        with described(self.path):
            row = self._db.execute(queries.LAST_EVENT).fetchone()
        return 0 if row is None else int(row[0])

    def trim_events(self, most: int, at_once: int, before_ns: int | None = None) -> bool:
        """Remove the oldest events: those beyond `most`, and those of before a time.

        At most `at_once` of them. True: there are more. The order is that of the numbers, so one
        that a clock dated into the future keeps those after it for as long as there is room.
        """
        oldest = self.oldest_event()
        keep_from = max(
            self._newest_event() - most + 1, self._young_from(oldest, at_once, before_ns)
        )
        if oldest >= keep_from:
            return False
        before = min(oldest + at_once, keep_from)
        with self._transaction(durable=False):
            self._db.execute(queries.DELETE_EVENTS, {"before": before})
        return before < keep_from

    def _event_rows(self, seq: int, limit: int, uid: int | None, job_id: str | None) -> list[Row]:
        query = queries.EVENTS if uid is None else queries.EVENTS_OF
        if job_id is not None:
            query = queries.EVENTS_ABOUT
        values = {"seq": seq, "limit": limit, "uid": uid, "job_id": job_id}
        with described(self.path):
            return self._db.execute(query, values).fetchall()

    def _young_from(self, oldest: int, at_once: int, before_ns: int | None) -> int:
        """The first number that its age lets stay; beyond what goes at once where more are old."""
        if before_ns is None:
            return oldest
        values = {"limit": at_once + 1, "before_ns": before_ns}
        with described(self.path):
            row = self._db.execute(queries.FIRST_YOUNG_EVENT, values).fetchone()
        newest = self._newest_event()
        return min(oldest + at_once, newest) + 1 if row is None else int(row[0])
