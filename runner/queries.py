"""The SQL of the store: text only, named for what it asks.

Each listing names the index that serves it (INDEXED BY): the planner has no statistics to
choose by, and a query that needed a scan should fail in a test, not slow down a daemon
with a million jobs. Pages of jobs are `runner.selecting`'s; the schema is `runner.migrations`',
running these `runner.store`'s.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from runner.lifecycle import Event
from runner.rows import Job

if TYPE_CHECKING:
    from collections.abc import Collection


# The fields of Job, in their order. A job of a group has no spec of its own until it is changed
# alone: then it is NULL here, and `runner.store_base` puts the group's in.
FIELDS: Final = ", ".join(
    f"specs.{name}" if name == "spec" else f"jobs.{name}" for name in Job.__struct_fields__
)


def select_jobs(index: str, where: str) -> str:
    """A query for whole jobs, in the order of Job's fields, through one index."""
    through = f"INDEXED BY {index}" if index else ""
    # LEFT JOIN keeps the order of the tables, so specs are looked up one by one. What is
    # put together here is text of this module; values are always bound.
    return f"SELECT {FIELDS} FROM jobs {through} LEFT JOIN specs USING (seq) WHERE {where}"  # noqa: S608


def _ended(index: str, of: str) -> str:
    """The fields of EndedJob, from the index alone: of jobs without a group."""
    return (
        f"SELECT id, submitted_by_uid, ended_ns, seq, disk_bytes FROM jobs INDEXED BY {index}"  # noqa: S608
        f" WHERE ended_ns IS NOT NULL AND group_id IS NULL AND {of}(ended_ns, seq) >"
        " (:ended_ns, :seq) ORDER BY ended_ns, seq LIMIT :limit"
    )


# sqlite3 binds nothing larger.
MAX_INTEGER: Final = 2**63 - 1

BY_ID: Final = select_jobs("", "jobs.id = :id")
# A range, not LIKE: nothing to escape, and the index of ids serves it.
BY_PREFIX: Final = select_jobs(
    "",
    "jobs.id >= :low AND jobs.id < :high AND (:uid IS NULL OR jobs.submitted_by_uid = :uid)"
    " ORDER BY jobs.seq DESC LIMIT :limit",
)
NEWEST_NAMED: Final = select_jobs("jobs_named", "jobs.name = :name ORDER BY jobs.seq DESC LIMIT 1")
NEWEST_NAMED_OF: Final = select_jobs(
    "jobs_named_of",
    "jobs.submitted_by_uid = :uid AND jobs.name = :name ORDER BY jobs.seq DESC LIMIT 1",
)

BY_KEY: Final = select_jobs(
    "jobs_keyed", "jobs.submitted_by_uid = :uid AND jobs.idempotency_key = :key"
)

ENDED: Final = _ended("jobs_ended", "")
ENDED_OF: Final = _ended("jobs_ended_of", "submitted_by_uid = :uid AND ")
UNMEASURED: Final = (
    "SELECT seq, id FROM jobs INDEXED BY jobs_unmeasured"
    " WHERE ended_ns IS NOT NULL AND disk_bytes = 0 AND seq > :seq ORDER BY seq LIMIT :limit"
)
# Those of groups are counted apart (`runner.group_rows`).
COUNT_ENDED: Final = (
    "SELECT submitted_by_uid, count(*), sum(disk_bytes) FROM jobs INDEXED BY jobs_ended_of"
    " WHERE ended_ns IS NOT NULL AND group_id IS NULL GROUP BY submitted_by_uid"
)

# In the order of what `runner.store_queue` makes of a row.
_WAITING: Final = (
    "SELECT id, submitted_by_uid, queue, priority, rank, seq, reserved_millicpus,"
    " reserved_memory_bytes, not_before_ns, deadline_ns, held_by_uid, time_limit_ms, group_id"
    " FROM jobs"
)
WAITING: Final = (
    f"{_WAITING} INDEXED BY jobs_active WHERE ended_ns IS NULL AND state = 'queued' ORDER BY seq"
)
TRIED: Final = (
    "SELECT id, disk_bytes FROM jobs INDEXED BY jobs_tried"
    " WHERE ended_ns IS NULL AND disk_bytes > 0 AND submitted_by_uid = :uid"
)
WAITING_ONE: Final = f"{_WAITING} WHERE id = :id AND state = 'queued'"
# What queued jobs wait for.
AFTER: Final = (
    "SELECT jobs.id, dependencies.on_id, dependencies.kind FROM jobs INDEXED BY jobs_active"
    " CROSS JOIN dependencies USING (seq) WHERE jobs.ended_ns IS NULL AND jobs.state = 'queued'"
    " AND jobs.dependencies > 0 AND dependencies.met = 0 ORDER BY jobs.seq"
)
DEPENDENCIES: Final = (
    "SELECT dependencies.on_id, dependencies.kind, dependencies.met FROM jobs"
    " CROSS JOIN dependencies USING (seq) WHERE jobs.id = :id"
)
DEPENDENTS: Final = (
    "SELECT jobs.id, dependencies.kind FROM dependencies INDEXED BY dependencies_on"
    " CROSS JOIN jobs USING (seq) WHERE dependencies.on_id = :on_id AND dependencies.met = 0"
    " AND jobs.state = 'queued' ORDER BY dependencies.seq"
)
HAS_UNMET: Final = (
    "SELECT 1 FROM dependencies INDEXED BY dependencies_on"
    " WHERE on_id = :on_id AND kind = :kind AND met = 0 LIMIT 1"
)
FATE: Final = "SELECT state, started_ns, reason, result, fate FROM jobs WHERE id = :id"
LABELS: Final = (
    "SELECT labels.name, labels.value FROM jobs CROSS JOIN labels USING (seq) WHERE jobs.id = :id"
)
ATTEMPTS: Final = (
    "SELECT attempts.attempt, attempts.started_ns, attempts.ended_ns, attempts.reason,"
    " attempts.result, attempts.limits FROM jobs CROSS JOIN attempts USING (seq)"
    " WHERE jobs.id = :id ORDER BY attempts.attempt"
)
# Whether there is any: most jobs have none of these.
ATTACHED: Final = (
    "SELECT EXISTS (SELECT 1 FROM labels WHERE seq = :seq),"
    " EXISTS (SELECT 1 FROM dependencies WHERE seq = :seq),"
    " EXISTS (SELECT 1 FROM hooks WHERE owner_id = :id)"
)
# There are as many as were ever set.
QUEUE_STATES: Final = "SELECT name, paused, max_running FROM queues"

STATE: Final = "SELECT state, submitted_by_uid, group_id, fate FROM jobs WHERE id = :id"
QUEUED_STATE: Final = (
    "SELECT state, submitted_by_uid, group_id, disk_bytes FROM jobs WHERE id = :id"
)
ENDED_STATE: Final = "SELECT state, submitted_by_uid, disk_bytes, group_id FROM jobs WHERE id = :id"
COUNT: Final = "SELECT count(*) FROM jobs"
COUNT_ACTIVE: Final = (
    "SELECT state, submitted_by_uid, count(*) FROM jobs INDEXED BY jobs_active"
    " WHERE ended_ns IS NULL GROUP BY state, submitted_by_uid"
)
LAUNCHED: Final = (
    "SELECT id, submitted_by_uid FROM jobs INDEXED BY jobs_active"
    " WHERE ended_ns IS NULL AND state IN ('starting', 'running', 'paused') ORDER BY seq"
)
_EVENT: Final = "SELECT seq, job_id, time_ns, kind, data FROM events"
_LATER: Final = "seq > :seq ORDER BY seq LIMIT :limit"
EVENTS: Final = f"{_EVENT} WHERE {_LATER}"
EVENTS_OF: Final = f"{_EVENT} INDEXED BY events_of WHERE uid = :uid AND {_LATER}"
EVENTS_ABOUT: Final = (
    f"{_EVENT} INDEXED BY events_about"
    f" WHERE job_id = :job_id AND (:uid IS NULL OR uid = :uid) AND {_LATER}"
)

_NEW: Final = (
    "id", "submitted_by_uid", "uid", "gid", "name", "submitted_ns", "queue", "priority",
    "not_before_ns", "deadline_ns", "held_by_uid", "reserved_millicpus", "reserved_memory_bytes",
    "time_limit_ms", "idempotency_key", "group_id", "member",
)  # fmt: skip
INSERT: Final = (
    f"INSERT INTO jobs ({', '.join(_NEW)}, dependencies, state, boot_id, at_once)"  # noqa: S608 - names of this module
    f" VALUES ({'?, ' * len(_NEW)}?, ?, ?, ?)"
)
new_values: Final = attrgetter(*_NEW)
INSERT_LABEL: Final = "INSERT INTO labels (seq, name, value) VALUES (?, ?, ?)"
INSERT_DEPENDENCY: Final = "INSERT INTO dependencies (seq, on_id, kind, met) VALUES (?, ?, ?, ?)"
ENDED_ATTEMPT: Final = (
    "SELECT state, submitted_by_uid, group_id, fate, disk_bytes, attempt, reason FROM jobs"
    " WHERE id = :id"
)
# Of a job that is tried again by hand.
FORGET_DEADLINE: Final = (
    "UPDATE jobs SET deadline_ns = NULL WHERE id = :id AND deadline_ns <= :time_ns"
)
# What is there already is of a job that has ended.
INSERT_ATTEMPT: Final = (
    "INSERT INTO attempts (seq, attempt, started_ns, ended_ns, reason, result, limits)"
    " SELECT seq, attempt, coalesce(started_ns, :started_ns), coalesce(ended_ns, :ended_ns),"
    " coalesce(reason, :reason), coalesce(result, :result), limits FROM jobs WHERE id = :id"
)
INSERT_SPEC: Final = "INSERT INTO specs (seq, spec) VALUES (?, ?)"
INSERT_EVENT: Final = "INSERT INTO events (job_id, time_ns, kind, data, uid) VALUES (?, ?, ?, ?, ?)"
UPDATE_LIMITS: Final = "UPDATE jobs SET limits = :limits WHERE id = :id"
# A job of a group gets its own where it had none.
UPDATE_SPEC: Final = (
    "INSERT INTO specs (seq, spec) SELECT seq, :spec FROM jobs WHERE id = :id"
    " ON CONFLICT (seq) DO UPDATE SET spec = excluded.spec"
)
ON_IDS: Final = (
    "SELECT jobs.seq, dependencies.on_id FROM jobs CROSS JOIN dependencies USING (seq)"
    " WHERE jobs.id = :id AND dependencies.met = 1"
)
UNMEET: Final = "UPDATE dependencies SET met = 0 WHERE seq = :seq AND on_id = :on_id"
MEET_ON: Final = (
    "UPDATE dependencies INDEXED BY dependencies_on SET met = 1"
    " WHERE on_id = :on_id AND kind = :kind AND met = 0"
)
MAKE_ROOM: Final = "UPDATE jobs SET rank = :rank WHERE id = :id AND state = 'queued'"
SET_QUEUE: Final = (
    "INSERT INTO queues (name, paused, max_running) VALUES (:name, :paused, :max_running)"
    " ON CONFLICT (name) DO UPDATE SET paused = :paused, max_running = :max_running"
)
DELETE: Final = "DELETE FROM jobs WHERE id = :id"
# The calls of them that are due already are made all the same.
DELETE_HOOKS: Final = "DELETE FROM hooks WHERE owner_id = :id"
MEASURE: Final = "UPDATE jobs SET disk_bytes = :bytes WHERE id = :id"
OLDEST_EVENT: Final = "SELECT seq FROM events ORDER BY seq LIMIT 1"
LAST_EVENT: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
# Of the oldest so many: the first that is young enough to stay.
FIRST_YOUNG_EVENT: Final = (
    "SELECT seq FROM (SELECT seq, time_ns FROM events ORDER BY seq LIMIT :limit)"
    " WHERE time_ns >= :before_ns LIMIT 1"
)
DELETE_EVENTS: Final = "DELETE FROM events WHERE seq < :before"

UPDATES: Final = {
    Event.LAUNCH: (
        "UPDATE jobs SET state = :state, boot_id = :boot_id, at_once = 0 WHERE id = :id"
    ),
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
        " started_ns = coalesce(started_ns, :started_ns), limits = coalesce(limits, :limits),"
        " reason = :reason, result = :result,"
        " disk_bytes = :disk_bytes, fate = :fate"
        " WHERE id = :id"
    ),
    Event.RETRY: (
        "UPDATE jobs SET state = :state, attempt = attempt + 1,"
        " first_attempt = CASE WHEN :by_hand THEN attempt + 1 ELSE first_attempt END,"
        " held_by_uid = CASE WHEN held_by_uid <> submitted_by_uid THEN held_by_uid END,"
        " not_before_ns = :not_before_ns, started_ns = NULL, limits = NULL,"
        " monitor_pid = NULL, paused_ns = 0, paused_since_ns = NULL, ended_ns = NULL,"
        " reason = NULL, result = NULL, fate = NULL,"
        " disk_bytes = CASE WHEN :by_hand THEN disk_bytes ELSE :disk_bytes END"
        " WHERE id = :id"
    ),
}

_SETTABLE: Final = frozenset({
    "queue", "priority", "rank", "held_by_uid", "reserved_millicpus", "reserved_memory_bytes",
    "time_limit_ms", "deadline_ns",
})  # fmt: skip


def set_columns(names: Collection[str]) -> str:
    """To change these columns of one job. Raises ValueError for another than there is."""
    if not names or not _SETTABLE.issuperset(names):
        raise ValueError(f"no columns to be set: {', '.join(names)}")
    changes = ", ".join(f"{name} = :{name}" for name in names)
    return f"UPDATE jobs SET {changes} WHERE id = :id"  # noqa: S608 - names of this module
