"""A job's row, as the spec in its directory has it, and as the store gets it back from there.

What is written to a store in which rows are missing or behind; what that is, is found out in
`runner.taking_up`. All of it goes in one transaction.
"""

from __future__ import annotations

import logging
import time
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from runner import queries
from runner.lifecycle import Event, State
from runner.message_kinds import Name  # noqa: TC001 - msgspec looks at the types of fields
from runner.message_queue import IdempotencyKey, Labels, Priority, UnixTime  # noqa: TC001
from runner.policy import MAX_UID
from runner.rows import DEFAULT_QUEUE
from runner.soundness import LARGEST_NUMBER

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from runner.rows import Job, NewJob

_logger: Final = logging.getLogger(__name__)

# In the place of a boot's id (random(4)): none has it.
UNKNOWN_BOOT: Final = "unknown"
# Of whom nothing is known: administrators alone see it.
NO_UID: Final = 0

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class DirectoryRow(msgspec.Struct, frozen=True):
    """What a row says and a spec does not."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_NUMBER)]
    name: Annotated[str, msgspec.Meta(pattern="^[ -~]+$", max_length=1000)] | None
    submitted_by_uid: Annotated[int, msgspec.Meta(ge=0, le=MAX_UID)]
    submitted_ns: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    # An older runnerd wrote none of these.
    queue: Name = DEFAULT_QUEUE
    priority: Priority = 0
    first_attempt: _Count = 1
    reserved_millicpus: _Count = 0
    reserved_memory_bytes: _Count = 0
    time_limit_ms: _Count | None = None
    deadline_ns: UnixTime | None = None
    idempotency_key: IdempotencyKey | None = None
    labels: Labels = {}


class Stray(NamedTuple):
    """A job that its directory knows; `attempt`: the newest one of which that can be read."""

    row: DirectoryRow
    job: NewJob
    attempt: int = 1


UNKNOWN_ROW: Final = DirectoryRow(LARGEST_NUMBER, None, NO_UID, 0)

# Those of removed jobs count too: none is used twice.
_LAST: Final = """
SELECT max(coalesce((SELECT max(seq) FROM jobs), 0),
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0))
"""
# What is between the jobs of a group is not shown where a list has the group in their place.
_IS_TAKEN: Final = (
    "SELECT 1 FROM jobs WHERE seq = ?1 UNION ALL"
    " SELECT 1 FROM groups WHERE ?1 BETWEEN first_seq AND first_seq + size - 1"
)
_HAS_KEY: Final = "SELECT 1 FROM jobs WHERE submitted_by_uid = ? AND idempotency_key = ?"
_COLUMNS: Final = (
    "seq", "id", "submitted_by_uid", "uid", "gid", "name", "state", "submitted_ns", "boot_id",
    "queue", "priority", "attempt", "first_attempt", "reserved_millicpus", "reserved_memory_bytes",
    "time_limit_ms", "deadline_ns", "idempotency_key",
)  # fmt: skip
_INSERT: Final = (
    f"INSERT INTO jobs ({', '.join(_COLUMNS)})"  # noqa: S608 - names of this module
    f" VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_INSERT_SPEC: Final = "INSERT INTO specs (seq, spec) VALUES (?, ?)"
_INSERT_LABEL: Final = "INSERT INTO labels (seq, name, value) VALUES (?, ?, ?)"
# Of an attempt before the one that was begun no more is known than its end.
_KEEP_END: Final = (
    "INSERT OR IGNORE INTO attempts (seq, attempt, started_ns, ended_ns, reason, result, limits)"
    " SELECT seq, attempt, started_ns, ended_ns, reason, result, limits FROM jobs"
    " WHERE id = :id AND state = 'ended'"
)
# A launch that nobody was told of before a power cut took it back: what follows needs it.
_KEEP_LAUNCH: Final = (
    "INSERT INTO events (job_id, time_ns, kind, data, uid)"
    " SELECT id, :time_ns, :kind, NULL, submitted_by_uid FROM jobs"
    " WHERE id = :id AND state = 'queued'"
)
_BEGUN: Final = (
    "UPDATE jobs SET state = :state, boot_id = :boot_id, attempt = :attempt,"
    " first_attempt = min(first_attempt, :attempt), started_ns = NULL, limits = NULL,"
    " monitor_pid = NULL, paused_ns = 0, paused_since_ns = NULL, ended_ns = NULL, reason = NULL,"
    " result = NULL, disk_bytes = 0, held_by_uid = NULL, fate = NULL WHERE id = :id"
)
# Its group had counted its end.
_UNCOUNT: Final = (
    "UPDATE groups SET unended = unended + 1, ended_ns = NULL, failed = max(0, failed - ("
    " SELECT fate IS NULL OR fate = 'failed' FROM jobs WHERE id = :id))"
    " WHERE id = (SELECT group_id FROM jobs WHERE id = :id AND state = 'ended')"
)


_OF_JOB: Final = tuple(name for name in DirectoryRow.__struct_fields__ if name != "labels")
_of_job: Final = attrgetter(*_OF_JOB)


def row_of(job: Job, labels: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """What the directory's spec is to say of a job's row, and its labels."""
    return {**dict(zip(_OF_JOB, _of_job(job), strict=True)), "labels": dict(labels)}


def write(
    db: sqlite3.Connection,
    strays: Iterable[Stray],
    begun: Mapping[str, int],
    specs: Mapping[str, bytes],
) -> None:
    """Strays get rows, jobs the attempts that were begun, and their specs. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        last = db.execute(_LAST).fetchone()[0]
        for stray in strays:
            last = max(last, _write_stray(db, stray, last))
        for job_id, attempt in begun.items():
            values = {"id": job_id, "state": State.STARTING.value, "boot_id": UNKNOWN_BOOT}
            db.execute(_KEEP_END, values)
            launch = {"id": job_id, "time_ns": time.time_ns(), "kind": Event.LAUNCH.value}
            db.execute(_KEEP_LAUNCH, launch)
            db.execute(_UNCOUNT, values)
            db.execute(_BEGUN, {**values, "attempt": attempt})
        for job_id, spec in specs.items():
            db.execute(queries.UPDATE_SPEC, {"id": job_id, "spec": spec})
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _write_stray(db: sqlite3.Connection, stray: Stray, last: int) -> int:
    """Its number: the one that it had, if no other has it."""
    row, job, attempt = stray
    is_free = row.seq < LARGEST_NUMBER and not db.execute(_IS_TAKEN, (row.seq,)).fetchone()
    seq = row.seq if is_free else last + 1
    values = {
        **msgspec.structs.asdict(row), "id": job.id, "uid": job.uid, "gid": job.gid, "seq": seq,
        "state": State.STARTING.value, "boot_id": UNKNOWN_BOOT, "attempt": attempt,
        "first_attempt": max(1, min(row.first_attempt, attempt)),
    }  # fmt: skip
    if db.execute(_HAS_KEY, (row.submitted_by_uid, row.idempotency_key)).fetchone():
        values["idempotency_key"] = None
    db.execute(_INSERT, values)
    db.execute(_INSERT_SPEC, (seq, job.spec))
    db.executemany(_INSERT_LABEL, ((seq, *label) for label in row.labels.items()))
    _logger.warning("job %s taken up from its directory", job.id)
    return seq
