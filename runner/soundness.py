"""Whether the store's file can be trusted: SQLite's own check, its schema, each value of a row.

Reads only, on a connection that changes nothing. What is done about a damaged file is
`runner.salvage`'s; that one is of another version or program is `runner.migrations`' to say.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from runner import schema
from runner.lifecycle import State
from runner.message_queue import HIGHEST_PRIORITY, LOWEST_PRIORITY
from runner.migrations import APPLICATION_ID, SCRIPTS
from runner.policy import MAX_UID
from runner.store_file import DamagedStoreError, described, readable

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLES: Final = ("jobs", "specs", "events")
# What hangs on a job: rows by its number, some to each.
ATTACHED: Final = ("labels", "dependencies", "attempts")
QUEUES: Final = "queues"
# Schedules, and what they run: rows by their own numbers.
SCHEDULES: Final = ("schedules", "schedule_templates")
# Jobs that were submitted as one thing, and the spec that they have in common.
GROUPS: Final = ("groups", "group_specs")
# What is to be done at changes of state: by its owner and a number; calls by numbers of their own.
HOOKS: Final = "hooks"
HOOK_CALLS: Final = "hook_calls"
# Far more versions than there will be: what is beyond them is no version.
_MOST_VERSIONS: Final = 10_000
# No row of ours is as long; a garbled one may claim to be of any length.
_MAX_VALUE_BYTES: Final = 64 * 1024 * 1024

# Of a row. More than will ever be, and room for as many again.
LARGEST_NUMBER: Final = 2**53

_HEX: Final = "[0-9a-f]"
_ID: Final = "-".join(_HEX * count for count in (8, 4, 4, 4, 12))
_STATES: Final = ", ".join(f"'{state.value}'" for state in State)
_IS_ID: Final = f"typeof({{0}}) = 'text' AND {{0}} GLOB '{_ID}'"
_IS_UID: Final = f"typeof({{0}}) = 'integer' AND {{0}} BETWEEN 0 AND {MAX_UID}"
_IS_COUNT: Final = "typeof({0}) = 'integer' AND {0} >= 0"
# A clock may have been set to anything.
_IS_TIME: Final = "typeof({0}) = 'integer'"
_IS_TEXT: Final = "typeof({0}) = 'text' AND {0} NOT GLOB '*[^ -~]*'"
# Of a queue; of a label with more signs.
_IS_NAME: Final = (
    "typeof({0}) = 'text' AND {0} GLOB '[A-Za-z0-9]*' AND {0} NOT GLOB '*[^A-Za-z0-9.%s_-]*'"
)
_IS_FLAG: Final = "typeof({0}) = 'integer' AND {0} IN (0, 1)"
_IS_NUMBER: Final = "typeof({0}) = 'integer' AND {0} >= 1"
_IS_PRIORITY: Final = (
    f"typeof({{0}}) = 'integer' AND {{0}} BETWEEN {LOWEST_PRIORITY} AND {HIGHEST_PRIORITY}"
)
_IS_BLOB: Final = "typeof({0}) = 'blob'"
_IS_FATE: Final = "typeof({0}) = 'text' AND {0} IN ('ok', 'failed', 'skipped')"
_OR_NONE: Final = "{{0}} IS NULL OR ({})"

# When a value of each column is one that we can have written. `{0}` is the column.
_SOUND: Final = {
    "jobs": {
        "seq": f"{{0}} BETWEEN 1 AND {LARGEST_NUMBER}",
        "id": _IS_ID,
        "submitted_by_uid": _IS_UID,
        "uid": _IS_UID,
        "gid": _IS_UID,
        "name": _OR_NONE.format(_IS_TEXT),
        "state": f"typeof({{0}}) = 'text' AND {{0}} IN ({_STATES})",
        "submitted_ns": _IS_TIME,
        "started_ns": _OR_NONE.format(_IS_TIME),
        "ended_ns": _OR_NONE.format(_IS_TIME),
        "boot_id": _OR_NONE.format(_IS_TEXT),
        "monitor_pid": _OR_NONE.format(_IS_COUNT),
        "limits": _OR_NONE.format(_IS_BLOB),
        "reason": _OR_NONE.format(_IS_TEXT),
        "result": _OR_NONE.format(_IS_BLOB),
        "paused_ns": _IS_COUNT,
        "paused_since_ns": _OR_NONE.format(_IS_TIME),
        "disk_bytes": _IS_COUNT,
        "queue": _IS_NAME % "",
        "priority": _IS_PRIORITY,
        "rank": _OR_NONE.format(_IS_TIME),
        "not_before_ns": _OR_NONE.format(_IS_TIME),
        "deadline_ns": _OR_NONE.format(_IS_TIME),
        "held_by_uid": _OR_NONE.format(_IS_UID),
        "reserved_millicpus": _IS_COUNT,
        "reserved_memory_bytes": _IS_COUNT,
        "time_limit_ms": _OR_NONE.format(_IS_COUNT),
        "attempt": _IS_NUMBER,
        "first_attempt": _IS_NUMBER,
        "idempotency_key": _OR_NONE.format(_IS_TEXT),
        "dependencies": _IS_COUNT,
        "group_id": _OR_NONE.format(_IS_ID),
        "member": _OR_NONE.format(_IS_COUNT),
        "fate": _OR_NONE.format(_IS_FATE),
        "at_once": _IS_FLAG,
    },
    "specs": {"seq": "1", "spec": _IS_BLOB},
    "events": {
        "seq": "1",
        "job_id": _IS_ID,
        "time_ns": _IS_TIME,
        "kind": _IS_TEXT,
        "data": _OR_NONE.format(_IS_BLOB),
        "uid": _OR_NONE.format(_IS_UID),
    },
    "labels": {"seq": _IS_NUMBER, "name": _IS_NAME % "/", "value": _IS_TEXT},
    "dependencies": {
        "seq": _IS_NUMBER,
        "on_id": _IS_ID,
        "kind": "typeof({0}) = 'text' AND {0} IN ('ok', 'any', 'fail', 'started')",
        "met": _IS_FLAG,
    },
    "attempts": {
        "seq": _IS_NUMBER,
        "attempt": _IS_NUMBER,
        "started_ns": _OR_NONE.format(_IS_TIME),
        "ended_ns": _IS_TIME,
        "reason": _IS_TEXT,
        "result": _IS_BLOB,
        "limits": _OR_NONE.format(_IS_BLOB),
    },
    QUEUES: {"name": _IS_NAME % "", "paused": _IS_FLAG, "max_running": _OR_NONE.format(_IS_COUNT)},
    "schedules": {
        "seq": _IS_NUMBER,
        "id": _IS_ID,
        "submitted_by_uid": _IS_UID,
        "name": _OR_NONE.format(_IS_NAME % ""),
        "every": _IS_TEXT,
        "zone": _OR_NONE.format(_IS_TEXT),
        "missed": "typeof({0}) = 'text' AND {0} IN ('skip', 'once', 'all')",
        "overlap": "typeof({0}) = 'text' AND {0} IN ('allow', 'skip')",
        "paused": _IS_FLAG,
        "created_ns": _IS_TIME,
        "handled_ns": _IS_TIME,
        "last_job": _OR_NONE.format(_IS_ID),
        "last_ns": _OR_NONE.format(_IS_TIME),
        "last_error": _OR_NONE.format(_IS_TEXT),
        "runs": _IS_COUNT,
        "failed": _IS_COUNT,
        "skipped": _IS_COUNT,
    },
    "schedule_templates": {"seq": _IS_NUMBER, "template": _IS_BLOB},
    "groups": {
        "seq": _IS_NUMBER,
        "id": _IS_ID,
        "submitted_by_uid": _IS_UID,
        "kind": "typeof({0}) = 'text' AND {0} IN ('array', 'flow')",
        "name": _OR_NONE.format(_IS_TEXT),
        "size": _IS_NUMBER,
        "max_running": _OR_NONE.format(_IS_NUMBER),
        "submitted_ns": _IS_TIME,
        "first_seq": _IS_NUMBER,
        "unended": _IS_COUNT,
        "failed": _IS_COUNT,
        "ended_ns": _OR_NONE.format(_IS_TIME),
        "idempotency_key": _OR_NONE.format(_IS_TEXT),
        "digest": _IS_BLOB,
        "about": _IS_BLOB,
    },
    "group_specs": {"seq": _IS_NUMBER, "spec": _IS_BLOB},
    HOOKS: {"owner_id": _IS_ID, "number": _IS_COUNT, "events": _IS_TEXT, "template": _IS_BLOB},
    HOOK_CALLS: {
        "seq": _IS_NUMBER,
        "owner_id": _IS_ID,
        "number": _IS_COUNT,
        "event": _IS_TEXT,
        "time_ns": _IS_TIME,
        "uid": _IS_UID,
        "about": _IS_BLOB,
        "template": _IS_BLOB,
    },
}

# What the schema demands of a whole row. SQLite checks it only where it may write (it reads
# no CHECK of a file that is opened to be read).
_CONSISTENT: Final = (
    "(state = 'ended') = (ended_ns IS NOT NULL)",
    "(state = 'ended') = (reason IS NOT NULL)",
    "(state = 'ended') = (result IS NOT NULL)",
    "(state NOT IN ('starting', 'running', 'paused') OR boot_id IS NOT NULL)",
    "(state IN ('running', 'paused')) = (monitor_pid IS NOT NULL)",
    "(state NOT IN ('running', 'paused') OR started_ns IS NOT NULL)",
    "(state NOT IN ('queued', 'starting') OR (started_ns IS NULL AND limits IS NULL))",
)
# The same of columns that an older version lacks. A job that waits must not have lost what for.
_CONSISTENT_SINCE: Final = {
    "paused_since_ns": "(state = 'paused') = (paused_since_ns IS NOT NULL)",
    "first_attempt": "first_attempt <= attempt",
    "dependencies": (
        "(state NOT IN ('queued', 'starting') OR jobs.dependencies ="
        " (SELECT count(*) FROM dependencies WHERE dependencies.seq = jobs.seq))"
    ),
    "member": "(jobs.group_id IS NULL) = (jobs.member IS NULL)",
    "group_id": "(jobs.group_id IS NULL OR jobs.group_id IN (SELECT id FROM groups))",
    "fate": "(jobs.fate IS NULL OR jobs.state = 'ended')",
}
_HAS_SPEC: Final = "coalesce(typeof(specs.spec) = 'blob', 0)"
# A job of a group has the group's where it has none.
_HAS_ONE_SPEC: Final = (
    "CASE WHEN jobs.group_id IS NULL OR specs.seq IS NOT NULL THEN typeof(specs.spec) = 'blob'"
    " ELSE jobs.group_id IN (SELECT id FROM groups JOIN group_specs USING (seq)) END"
)
# What the rows of groups say of their jobs, which are between two numbers.
_BAD_GROUP: Final = """
SELECT groups.seq FROM groups LEFT JOIN (
    SELECT group_id, sum(state <> 'ended') AS unended, min(seq) AS low, max(seq) AS high,
        sum(state = 'ended' AND (fate IS NULL OR fate = 'failed')) AS failed
    FROM jobs WHERE group_id IS NOT NULL GROUP BY group_id) AS there ON there.group_id = groups.id
WHERE NOT (
    there.group_id IS NOT NULL AND groups.unended = there.unended AND groups.failed >= there.failed
    AND (groups.unended = 0) = (groups.ended_ns IS NOT NULL)
    AND groups.first_seq <= there.low AND there.high < groups.first_seq + groups.size) LIMIT 1
"""


def connect_reading(path: str) -> sqlite3.Connection:
    """Open a database without ever changing it, whatever is in it. Raises sqlite3.Error."""
    db = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
    db.text_factory = readable
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    return db


def damage_of(path: str) -> str | None:
    """Why the store's file cannot be used as it is, in words; None for a sound one.

    None also for one that is empty, another program's or a newer runnerd's. Reads all of it:
    1.5 s for 100,000 jobs. Raises StoreError where that cannot be found out.
    """
    try:
        with described(path), closing(connect_reading(path)) as db:
            return _damage(db)
    except DamagedStoreError as error:
        return str(error)


def _damage(db: sqlite3.Connection) -> str | None:
    version, application = (_number(db, name) for name in ("user_version", "application_id"))
    there = schema.things(db)
    if not there:
        return "its schema is gone" if version or application else None
    if application != APPLICATION_ID and "jobs" not in there:
        return None
    (answer,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        return " ".join(str(answer).split())
    if application != APPLICATION_ID or not 0 < version <= _MOST_VERSIONS:
        return "its header is not of runnerd's"
    return _damage_within(db, version) if version <= len(SCRIPTS) else None


def _damage_within(db: sqlite3.Connection, version: int) -> str | None:
    if (table := schema.lacks(db, version)) is not None:
        return f"its table {table} is not that of version {version}"
    return _bad_job(db) or _bad_attached(db) or _bad_group(db)


def is_ours(db: sqlite3.Connection) -> bool:
    """Whether it is a store that this runnerd knows, of today or of an earlier version."""
    version, application = (_number(db, name) for name in ("user_version", "application_id"))
    return application == APPLICATION_ID and 0 < version <= len(SCRIPTS)


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether there is nothing in it yet."""
    return not schema.things(db)


def _bad_job(db: sqlite3.Connection) -> str | None:
    sound = checks(db, "jobs")
    since = (rule for name, rule in _CONSISTENT_SINCE.items() if name in sound)
    spec = _HAS_ONE_SPEC if "group_id" in sound else _HAS_SPEC
    query = (
        "SELECT jobs.seq FROM jobs NOT INDEXED LEFT JOIN specs USING (seq)"  # noqa: S608
        f" WHERE {_broken((*sound.values(), *_CONSISTENT, *since, spec))} LIMIT 1"
    )
    row = db.execute(query).fetchone()
    return None if row is None else f"row {row[0]} of jobs holds values that were never written"


def _bad_attached(db: sqlite3.Connection) -> str | None:
    for table in (*ATTACHED, QUEUES, *SCHEDULES, *GROUPS, HOOKS, HOOK_CALLS):
        sound = checks(db, table)
        # The first column is whose row it is.
        query = (
            f"SELECT {next(iter(sound), '')} FROM {table} WHERE {_broken(sound.values())} LIMIT 1"  # noqa: S608
        )
        row = db.execute(query).fetchone() if sound else None
        if row is not None:
            return f"a row of {table} ({row[0]!a}) holds values that were never written"
    return None


def _bad_group(db: sqlite3.Connection) -> str | None:
    row = db.execute(_BAD_GROUP).fetchone() if checks(db, GROUPS[0]) else None
    return None if row is None else f"row {row[0]} of groups contradicts its jobs"


def _broken(rules: Iterable[str]) -> str:
    return " OR ".join(f"NOT ({rule})" for rule in rules)


def checks(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """For each column of ours that a table has: an expression that is 1 for a sound value."""
    sound = _SOUND[table]
    there = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    return {
        name: f"({check.format(f'{table}.{name}')})"
        for name, check in sound.items()
        if name in there
    }


def _number(db: sqlite3.Connection, pragma: str) -> int:
    (value,) = db.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)
