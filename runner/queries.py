"""The SQL of the store: text only, named for what it asks.

Each listing names the index that serves it (INDEXED BY): the planner has no statistics to
choose by, and a query that needed a scan should fail in a test, not slow down a daemon
with a million jobs. The schema is `runner.migrations`', running these `runner.store`'s.
"""

from __future__ import annotations

from typing import Final

from runner.lifecycle import Event
from runner.rows import Job


def _select(index: str, where: str) -> str:
    """A query for whole jobs, in the order of Job's fields, through one index."""
    fields = ", ".join(
        f"specs.{name}" if name == "spec" else f"jobs.{name}" for name in Job.__struct_fields__
    )
    through = f"INDEXED BY {index}" if index else ""
    # CROSS JOIN keeps the order of the tables, so specs are looked up one by one. What is
    # put together here is text of this module; values are always bound.
    return f"SELECT {fields} FROM jobs {through} CROSS JOIN specs USING (seq) WHERE {where}"  # noqa: S608


def _ended(index: str, of: str) -> str:
    """The fields of EndedJob, from the index alone."""
    return (
        f"SELECT id, submitted_by_uid, ended_ns, seq, disk_bytes FROM jobs INDEXED BY {index}"  # noqa: S608
        f" WHERE state = 'ended' AND {of}(ended_ns, seq) > (:ended_ns, :seq)"
        " ORDER BY ended_ns, seq LIMIT :limit"
    )


# sqlite3 binds nothing larger.
MAX_INTEGER: Final = 2**63 - 1

BY_ID: Final = _select("", "jobs.id = :id")
QUEUED: Final = _select(
    "jobs_active",
    "jobs.state <> 'ended' AND jobs.state = 'queued' ORDER BY jobs.seq LIMIT :limit",
)
LAUNCHED: Final = _select(
    "jobs_active",
    "jobs.state <> 'ended' AND jobs.state IN ('starting', 'running', 'paused') ORDER BY jobs.seq",
)
# A range, not LIKE: nothing to escape, and the index of ids serves it.
BY_PREFIX: Final = _select(
    "",
    "jobs.id >= :low AND jobs.id < :high AND (:uid IS NULL OR jobs.submitted_by_uid = :uid)"
    " ORDER BY jobs.seq DESC LIMIT :limit",
)
NEWEST_NAMED: Final = _select("jobs_named", "jobs.name = :name ORDER BY jobs.seq DESC LIMIT 1")
NEWEST_NAMED_OF: Final = _select(
    "jobs_named_of",
    "jobs.submitted_by_uid = :uid AND jobs.name = :name ORDER BY jobs.seq DESC LIMIT 1",
)

_OLDER: Final = "jobs.seq < :before ORDER BY jobs.seq DESC LIMIT :limit"
# By (of one submitter, ended ones too).
PAGES: Final = {
    (False, True): _select("", _OLDER),
    (False, False): _select("jobs_active", f"jobs.state <> 'ended' AND {_OLDER}"),
    (True, True): _select("jobs_of", f"jobs.submitted_by_uid = :uid AND {_OLDER}"),
    (True, False): _select(
        "jobs_active_of", f"jobs.state <> 'ended' AND jobs.submitted_by_uid = :uid AND {_OLDER}"
    ),
}

ENDED: Final = _ended("jobs_ended", "")
ENDED_OF: Final = _ended("jobs_ended_of", "submitted_by_uid = :uid AND ")
UNMEASURED: Final = (
    "SELECT seq, id FROM jobs INDEXED BY jobs_unmeasured"
    " WHERE state = 'ended' AND disk_bytes = 0 AND seq > :seq ORDER BY seq LIMIT :limit"
)
COUNT_ENDED: Final = (
    "SELECT submitted_by_uid, count(*), sum(disk_bytes) FROM jobs INDEXED BY jobs_ended_of"
    " WHERE state = 'ended' GROUP BY submitted_by_uid"
)

STATE: Final = "SELECT state FROM jobs WHERE id = :id"
ENDED_STATE: Final = "SELECT state, submitted_by_uid, disk_bytes FROM jobs WHERE id = :id"
COUNT: Final = "SELECT count(*) FROM jobs"
COUNT_ACTIVE: Final = (
    "SELECT state, count(*) FROM jobs INDEXED BY jobs_active WHERE state <> 'ended' GROUP BY state"
)
EVENTS: Final = (
    "SELECT seq, job_id, time_ns, kind, data FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit"
)

INSERT: Final = (
    "INSERT INTO jobs (id, submitted_by_uid, uid, gid, name, state, submitted_ns)"
    " VALUES (:id, :submitted_by_uid, :uid, :gid, :name, 'queued', :submitted_ns)"
)
INSERT_SPEC: Final = "INSERT INTO specs (seq, spec) VALUES (:seq, :spec)"
INSERT_EVENT: Final = (
    "INSERT INTO events (job_id, time_ns, kind, data) VALUES (:job_id, :time_ns, :kind, :data)"
)
UPDATE_LIMITS: Final = "UPDATE jobs SET limits = :limits WHERE id = :id"
UPDATE_SPEC: Final = (
    "UPDATE specs SET spec = :spec WHERE seq = (SELECT seq FROM jobs WHERE id = :id)"
)
DELETE: Final = "DELETE FROM jobs WHERE id = :id"
MEASURE: Final = "UPDATE jobs SET disk_bytes = :bytes WHERE id = :id"
OLDEST_EVENT: Final = "SELECT seq FROM events ORDER BY seq LIMIT 1"
NEWEST_EVENT: Final = "SELECT seq FROM events ORDER BY seq DESC LIMIT 1"
DELETE_EVENTS: Final = "DELETE FROM events WHERE seq < :before"

UPDATES: Final = {
    Event.LAUNCH: "UPDATE jobs SET state = :state, boot_id = :boot_id WHERE id = :id",
    Event.STARTED: (
        "UPDATE jobs SET state = :state, monitor_pid = :monitor_pid, started_ns = :started_ns,"
        " limits = :limits WHERE id = :id"
    ),
    Event.REQUEUE: "UPDATE jobs SET state = :state WHERE id = :id",
    Event.PAUSE: "UPDATE jobs SET state = :state, paused_since_ns = :time_ns WHERE id = :id",
    # A clock that was set back meanwhile must not make it negative.
    Event.RESUME: (
        "UPDATE jobs SET state = :state,"
        " paused_ns = paused_ns + max(0, :time_ns - paused_since_ns), paused_since_ns = NULL"
        " WHERE id = :id"
    ),
    Event.FINISH: (
        "UPDATE jobs SET state = :state, monitor_pid = NULL, ended_ns = :ended_ns,"
        " paused_ns = paused_ns + coalesce(max(0, :ended_ns - paused_since_ns), 0),"
        " paused_since_ns = NULL,"
        " started_ns = coalesce(started_ns, :started_ns), reason = :reason, result = :result,"
        " disk_bytes = :disk_bytes"
        " WHERE id = :id"
    ),
}
