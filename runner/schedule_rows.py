"""What the store takes and gives of schedules, and the SQL for it. Values and text, no I/O.

The template of a schedule is bytes here (`runner.schedule_template`); what its times are is
`runner.scheduling.calendar`'s, how it is kept `runner.store_schedules`'.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

from runner.rows import DamagedRowError
from runner.scheduling.schedules import Missed, Overlap  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.rows import Row

_logger: Final = logging.getLogger(__name__)


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is made. `created_ns` is Unix time; nothing before it is ever due."""

    id: str
    submitted_by_uid: int
    name: str | None
    every: str
    zone: str | None
    missed: Missed
    overlap: Overlap
    paused: bool
    created_ns: int
    template: bytes

    def __repr__(self) -> str:
        """Without the template, which holds an environment."""
        return f"NewSchedule(id={self.id!r}, template of {len(self.template)} bytes)"


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was when it was read, without its template.

    All times up to `handled_ns` are dealt with. `last_job` is what it was run as last, `last_ns`
    the time that this was for, None when somebody asked for it; `last_error` what the last run was
    refused with, None again after one that was not. Counted are jobs, times that were refused, and
    times passed over.
    """

    seq: int
    id: str
    submitted_by_uid: int
    name: str | None
    every: str
    zone: str | None
    missed: Missed
    overlap: Overlap
    paused: bool
    created_ns: int
    handled_ns: int
    last_job: str | None
    last_ns: int | None
    last_error: str | None
    runs: int
    failed: int
    skipped: int

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The schedule of a row that has the fields in their order here. Raises DamagedRowError."""
        fields = dict(zip(cls.__struct_fields__, row, strict=True))
        fields["paused"] = bool(fields["paused"])
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise DamagedRowError(f"row {row[0]!a} of the schedules is damaged: {error}") from None


class Progress(NamedTuple):
    """What became of times of a schedule: up to which it is dealt with, and how.

    `handled_ns` None: as far as before. `job` was run for the time `time_ns`, None: for none; or a
    run was refused (`error`); or neither.
    """

    handled_ns: int | None
    job: str | None = None
    time_ns: int | None = None
    error: str | None = None
    skipped: int = 0


def sound_schedules(rows: Iterable[Row]) -> Iterator[Schedule]:
    """The schedules of rows. One that is damaged hides itself, not the others of its list."""
    for row in rows:
        try:
            yield Schedule.from_row(row)
        except DamagedRowError as error:
            _logger.error("%s", error)  # noqa: TRY400 - the text says it


_FIELDS: Final = ", ".join(Schedule.__struct_fields__)
_SELECT: Final = f"SELECT {_FIELDS} FROM schedules WHERE"  # noqa: S608 - text of this module

EVERY: Final = f"{_SELECT} 1 ORDER BY seq"
BY_ID: Final = f"{_SELECT} id = :id"
# A range, not LIKE: nothing to escape, and the index of ids serves it.
BY_PREFIX: Final = (
    f"{_SELECT} id >= :low AND id < :high AND (:uid IS NULL OR submitted_by_uid = :uid)"
    " ORDER BY seq DESC LIMIT :limit"
)
NAMED_OF: Final = f"{_SELECT} submitted_by_uid = :uid AND name = :name"
NAMED: Final = f"{_SELECT} name = :name ORDER BY seq DESC LIMIT :limit"
PAGE: Final = f"{_SELECT} seq > :after ORDER BY seq LIMIT :limit"
PAGE_OF: Final = f"{_SELECT} submitted_by_uid = :uid AND seq > :after ORDER BY seq LIMIT :limit"
COUNT_OF: Final = "SELECT count(*) FROM schedules WHERE submitted_by_uid = :uid"
TEMPLATE: Final = (
    "SELECT template FROM schedule_templates JOIN schedules USING (seq) WHERE id = :id"
)
INSERT: Final = (
    "INSERT INTO schedules (id, submitted_by_uid, name, every, zone, missed, overlap, paused,"
    " created_ns, handled_ns) VALUES (:id, :submitted_by_uid, :name, :every, :zone, :missed,"
    " :overlap, :paused, :created_ns, :created_ns)"
)
INSERT_TEMPLATE: Final = "INSERT INTO schedule_templates (seq, template) VALUES (:seq, :template)"
SET_PAUSED: Final = "UPDATE schedules SET paused = :paused, handled_ns = :handled_ns WHERE id = :id"
# A job that a person asked for is for no time; a time that was only passed over changes no job.
PROGRESS: Final = (
    "UPDATE schedules SET handled_ns = coalesce(:handled_ns, handled_ns),"
    " last_job = coalesce(:job, last_job),"
    " last_ns = CASE WHEN :job IS NULL THEN last_ns ELSE :time_ns END,"
    " last_error = CASE WHEN :job IS NULL THEN coalesce(:error, last_error) END,"
    " runs = runs + (:job IS NOT NULL), failed = failed + (:error IS NOT NULL),"
    " skipped = skipped + :skipped WHERE id = :id"
)
DELETE: Final = "DELETE FROM schedules WHERE id = :id"
# The newest run, by its key: times have the same number of digits for some centuries.
NEWEST_RUN: Final = (
    "SELECT id, idempotency_key FROM jobs INDEXED BY jobs_keyed"
    " WHERE idempotency_key IS NOT NULL AND submitted_by_uid = :uid"
    " AND idempotency_key >= :low AND idempotency_key < :high"
    " ORDER BY idempotency_key DESC LIMIT 1"
)
