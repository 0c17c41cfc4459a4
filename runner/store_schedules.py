"""Schedules: made, found, paused, removed, and how far each was dealt with. A part of the store.

A template has a table of its own: the row of its schedule is written at each run, and an
environment may be large. When a schedule is due is `runner.scheduling.schedules`', who makes its
runs `runner.schedules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from client.protocol import MIN_JOB_PREFIX_CHARS
from runner import schedule_rows as sql
from runner.schedule_rows import sound_schedules
from runner.store_base import StoreBase
from runner.store_file import StoreError, described

if TYPE_CHECKING:
    from runner.rows import Value
    from runner.schedule_rows import NewSchedule, Progress, Schedule

MAX_MATCHES: Final = 20
# Before the time in the key of a run; the characters after it come later than any digit.
_KEY: Final = "schedule:{}:{}"


class NoSuchScheduleError(StoreError):
    """There is no schedule of this id."""


def run_key(schedule_id: str, time_ns: int) -> str:
    """The key of the job that is the run of a schedule for a time: there is one at most."""
    return _KEY.format(schedule_id, time_ns)


class StoredSchedules(StoreBase):
    """The store's schedules. Every method may raise StoreError."""

    def insert_schedule(self, new: NewSchedule) -> Schedule:
        """Keep a new schedule. A name that its submitter's other schedules have is an error."""
        values = msgspec.structs.asdict(new)
        with self._transaction():
            seq = self._db.execute(sql.INSERT, values).lastrowid
            self._db.execute(sql.INSERT_TEMPLATE, {"seq": seq, "template": new.template})
        return self._existing_schedule(new.id)

    def get_schedule(self, schedule_id: str) -> Schedule | None:
        """The schedule of this full id."""
        found = self._schedules(sql.BY_ID, id=schedule_id)
        return found[0] if found else None

    def schedule_named(self, submitted_by_uid: int, name: str) -> Schedule | None:
        """A user's schedule of this name."""
        found = self._schedules(sql.NAMED_OF, uid=submitted_by_uid, name=name)
        return found[0] if found else None

    def every_schedule(self) -> list[Schedule]:
        """All of everybody."""
        return self._schedules(sql.EVERY)

    def schedules_after(self, seq: int, limit: int, submitted_by_uid: int | None) -> list[Schedule]:
        """Schedules by their numbers, in the order in which they were made; None: everybody's."""
        query = sql.PAGE if submitted_by_uid is None else sql.PAGE_OF
        return self._schedules(query, after=seq, limit=limit, uid=submitted_by_uid)

    def find_schedules(self, text: str, submitted_by_uid: int | None) -> list[Schedule]:
        """The schedules that a text may mean: by id, by the beginning of one, by name.

        None stands for who sees all. At most MAX_MATCHES.
        """
        if not (text.isascii() and text.isprintable()):
            return []
        if len(text) >= MIN_JOB_PREFIX_CHARS:
            # DEL comes after every printable character.
            found = self._schedules(
                sql.BY_PREFIX, low=text, high=f"{text}\x7f", uid=submitted_by_uid, limit=MAX_MATCHES
            )
            if found:
                return found
        query = sql.NAMED if submitted_by_uid is None else sql.NAMED_OF
        return self._schedules(query, name=text, uid=submitted_by_uid, limit=MAX_MATCHES)

    def count_schedules(self, submitted_by_uid: int) -> int:
        """How many schedules a user has."""
        with described(self.path):
            (count,) = self._db.execute(sql.COUNT_OF, {"uid": submitted_by_uid}).fetchone()
        return int(count)

    def schedule_template(self, schedule_id: str) -> bytes | None:
        """What a schedule runs; None when there is no such schedule."""
        with described(self.path):
            row = self._db.execute(sql.TEMPLATE, {"id": schedule_id}).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def set_schedule_paused(self, schedule_id: str, handled_ns: int, *, paused: bool) -> Schedule:
        """Pause a schedule or let it go on, dealt with up to a time. Raises NoSuchScheduleError."""
        values: dict[str, Value] = {"paused": paused, "handled_ns": handled_ns}
        return self._change_schedule(sql.SET_PAUSED, schedule_id, values)

    def record_progress(self, schedule_id: str, progress: Progress) -> Schedule:
        """Keep what became of some times of a schedule. Raises NoSuchScheduleError."""
        return self._change_schedule(sql.PROGRESS, schedule_id, progress._asdict())

    def remove_schedule(self, schedule_id: str) -> None:
        """Forget a schedule; its jobs stay. Raises NoSuchScheduleError."""
        with self._transaction():
            if not self._db.execute(sql.DELETE, {"id": schedule_id}).rowcount:
                raise NoSuchScheduleError(f"there is no schedule {schedule_id}")

    def newest_run(self, schedule: Schedule) -> tuple[str, int] | None:
        """The job that a schedule was run as for the latest time, and that time, if it is there."""
        low, high = (_KEY.format(schedule.id, end) for end in ("", "\x7f"))
        values = {"uid": schedule.submitted_by_uid, "low": low, "high": high}
        with described(self.path):
            row = self._db.execute(sql.NEWEST_RUN, values).fetchone()
        time = "" if row is None else row[1].removeprefix(low)
        return (row[0], int(time)) if time.isascii() and time.isdigit() else None

    def _change_schedule(self, query: str, schedule_id: str, values: dict[str, Value]) -> Schedule:
        with self._transaction():
            if not self._db.execute(query, {**values, "id": schedule_id}).rowcount:
                raise NoSuchScheduleError(f"there is no schedule {schedule_id}")
        return self._existing_schedule(schedule_id)

    def _existing_schedule(self, schedule_id: str) -> Schedule:
        schedule = self.get_schedule(schedule_id)
        if schedule is None:
            raise NoSuchScheduleError(f"there is no schedule {schedule_id}")
        return schedule

    def _schedules(self, query: str, **values: Value) -> list[Schedule]:
        with described(self.path):
            return list(sound_schedules(self._db.execute(query, values).fetchall()))
