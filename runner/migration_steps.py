"""The steps of the store's schema, oldest first: text only, each of one version of the file.

A step is never changed once it was released: a file of each version is somewhere. A new one goes
to the end, and its test brings a file of the version before to it. How they are taken is
`runner.migrations`', what the rows mean `runner.store`'s.
"""

from __future__ import annotations

from typing import Final

# The spec has a table of its own: a row is rewritten whole at each transition, and a
# spec may be a megabyte. AUTOINCREMENT, so that a sequence number is never used twice,
# also when the newest job was removed. Events outlive their job: no foreign key.
_JOBS_AND_EVENTS: Final = """
CREATE TABLE jobs (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    submitted_by_uid INTEGER NOT NULL,
    uid              INTEGER NOT NULL,
    gid              INTEGER NOT NULL,
    name             TEXT,
    state            TEXT    NOT NULL CHECK (state IN ('queued', 'starting', 'running', 'ended')),
    submitted_ns     INTEGER NOT NULL,
    started_ns       INTEGER,
    ended_ns         INTEGER,
    boot_id          TEXT,
    monitor_pid      INTEGER,
    limits           BLOB,
    reason           TEXT,
    result           BLOB,
    CHECK ((state = 'ended') = (ended_ns IS NOT NULL)),
    CHECK ((state = 'ended') = (reason IS NOT NULL)),
    CHECK ((state = 'ended') = (result IS NOT NULL)),
    CHECK (state NOT IN ('starting', 'running') OR boot_id IS NOT NULL),
    CHECK ((state = 'running') = (monitor_pid IS NOT NULL)),
    CHECK (state <> 'running' OR started_ns IS NOT NULL),
    CHECK (state NOT IN ('queued', 'starting') OR (started_ns IS NULL AND limits IS NULL))
);
CREATE INDEX jobs_active ON jobs (seq) WHERE state <> 'ended';
CREATE INDEX jobs_active_of ON jobs (submitted_by_uid, seq) WHERE state <> 'ended';
CREATE INDEX jobs_of ON jobs (submitted_by_uid, seq);
CREATE INDEX jobs_named ON jobs (name, seq) WHERE name IS NOT NULL;
CREATE INDEX jobs_named_of ON jobs (submitted_by_uid, name, seq) WHERE name IS NOT NULL;

CREATE TABLE specs (
    seq  INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    spec BLOB NOT NULL
);

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id  TEXT    NOT NULL,
    time_ns INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    data    BLOB
);
"""

# A job may be paused. A CHECK cannot be altered, so the table is made anew under its name
# (sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes"); its count
# of sequence numbers goes with it, and what refers to it finds it by its name again.
_PAUSES: Final = """
CREATE TABLE jobs_with_pauses (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    submitted_by_uid INTEGER NOT NULL,
    uid              INTEGER NOT NULL,
    gid              INTEGER NOT NULL,
    name             TEXT,
    state            TEXT    NOT NULL
                     CHECK (state IN ('queued', 'starting', 'running', 'paused', 'ended')),
    submitted_ns     INTEGER NOT NULL,
    started_ns       INTEGER,
    ended_ns         INTEGER,
    boot_id          TEXT,
    monitor_pid      INTEGER,
    limits           BLOB,
    reason           TEXT,
    result           BLOB,
    paused_ns        INTEGER NOT NULL DEFAULT 0 CHECK (paused_ns >= 0),
    paused_since_ns  INTEGER,
    CHECK ((state = 'ended') = (ended_ns IS NOT NULL)),
    CHECK ((state = 'ended') = (reason IS NOT NULL)),
    CHECK ((state = 'ended') = (result IS NOT NULL)),
    CHECK (state NOT IN ('starting', 'running', 'paused') OR boot_id IS NOT NULL),
    CHECK ((state IN ('running', 'paused')) = (monitor_pid IS NOT NULL)),
    CHECK (state NOT IN ('running', 'paused') OR started_ns IS NOT NULL),
    CHECK (state NOT IN ('queued', 'starting') OR (started_ns IS NULL AND limits IS NULL)),
    CHECK ((state = 'paused') = (paused_since_ns IS NOT NULL))
);
INSERT INTO jobs_with_pauses (seq, id, submitted_by_uid, uid, gid, name, state, submitted_ns,
        started_ns, ended_ns, boot_id, monitor_pid, limits, reason, result)
    SELECT seq, id, submitted_by_uid, uid, gid, name, state, submitted_ns,
        started_ns, ended_ns, boot_id, monitor_pid, limits, reason, result FROM jobs;
DELETE FROM sqlite_sequence WHERE name = 'jobs_with_pauses';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'jobs_with_pauses', seq FROM sqlite_sequence WHERE name = 'jobs';
DROP TABLE jobs;
ALTER TABLE jobs_with_pauses RENAME TO jobs;
CREATE INDEX jobs_active ON jobs (seq) WHERE state <> 'ended';
CREATE INDEX jobs_active_of ON jobs (submitted_by_uid, seq) WHERE state <> 'ended';
CREATE INDEX jobs_of ON jobs (submitted_by_uid, seq);
CREATE INDEX jobs_named ON jobs (name, seq) WHERE name IS NOT NULL;
CREATE INDEX jobs_named_of ON jobs (submitted_by_uid, name, seq) WHERE name IS NOT NULL;
"""

# Retention looks at ended jobs, oldest first. An index has all that is asked for, so that no row
# is read for it: `state` too, which SQLite would look up though the index says it already.
# Those of an older version have 0 bytes until they are measured.
_ENDED: Final = """
ALTER TABLE jobs ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0 CHECK (disk_bytes >= 0);
CREATE INDEX jobs_ended ON jobs (ended_ns, seq, submitted_by_uid, disk_bytes, id, state)
    WHERE state = 'ended';
CREATE INDEX jobs_ended_of ON jobs (submitted_by_uid, ended_ns, seq, disk_bytes, id, state)
    WHERE state = 'ended';
CREATE INDEX jobs_unmeasured ON jobs (seq) WHERE state = 'ended' AND disk_bytes = 0;
"""

# The queue. Where a job was never moved its rank is NULL, so that no old row is rewritten. What was
# promised to those of an older version is not known: nothing, as it was; nor who sees their events:
# administrators alone. `dependencies` counts the rows of that table: a job is not to run because
# the disk has lost what it waits for.
_QUEUE: Final = """
ALTER TABLE jobs ADD COLUMN queue TEXT NOT NULL DEFAULT 'default';
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN rank INTEGER;
ALTER TABLE jobs ADD COLUMN not_before_ns INTEGER;
ALTER TABLE jobs ADD COLUMN deadline_ns INTEGER;
ALTER TABLE jobs ADD COLUMN held_by_uid INTEGER;
ALTER TABLE jobs ADD COLUMN reserved_millicpus INTEGER NOT NULL DEFAULT 0
    CHECK (reserved_millicpus >= 0);
ALTER TABLE jobs ADD COLUMN reserved_memory_bytes INTEGER NOT NULL DEFAULT 0
    CHECK (reserved_memory_bytes >= 0);
ALTER TABLE jobs ADD COLUMN time_limit_ms INTEGER;
ALTER TABLE jobs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt >= 1);
ALTER TABLE jobs ADD COLUMN first_attempt INTEGER NOT NULL DEFAULT 1
    CHECK (first_attempt BETWEEN 1 AND attempt);
ALTER TABLE jobs ADD COLUMN idempotency_key TEXT;
ALTER TABLE jobs ADD COLUMN dependencies INTEGER NOT NULL DEFAULT 0 CHECK (dependencies >= 0);
CREATE UNIQUE INDEX jobs_keyed ON jobs (submitted_by_uid, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE labels (
    seq   INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    PRIMARY KEY (seq, name)
) WITHOUT ROWID;
CREATE INDEX labels_valued ON labels (name, value, seq);
CREATE INDEX labels_named ON labels (name, seq);

CREATE TABLE dependencies (
    seq   INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    on_id TEXT    NOT NULL,
    kind  TEXT    NOT NULL CHECK (kind IN ('ok', 'any', 'fail', 'started')),
    met   INTEGER NOT NULL DEFAULT 0 CHECK (met IN (0, 1)),
    PRIMARY KEY (seq, on_id)
) WITHOUT ROWID;
CREATE INDEX dependencies_on ON dependencies (on_id);

CREATE TABLE attempts (
    seq        INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    started_ns INTEGER,
    ended_ns   INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    result     BLOB    NOT NULL,
    limits     BLOB,
    PRIMARY KEY (seq, attempt)
) WITHOUT ROWID;

CREATE TABLE queues (
    name        TEXT PRIMARY KEY,
    paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    max_running INTEGER CHECK (max_running >= 0)
) WITHOUT ROWID;

ALTER TABLE events ADD COLUMN uid INTEGER;
CREATE INDEX events_of ON events (uid, seq);
CREATE INDEX events_about ON events (job_id, seq);
"""

# A template may be a megabyte, and a schedule's row is written at each run. A name is one
# schedule's of its user.
_SCHEDULES: Final = """
CREATE TABLE schedules (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    submitted_by_uid INTEGER NOT NULL,
    name             TEXT,
    every            TEXT    NOT NULL,
    zone             TEXT,
    missed           TEXT    NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
    overlap          TEXT    NOT NULL CHECK (overlap IN ('allow', 'skip')),
    paused           INTEGER NOT NULL CHECK (paused IN (0, 1)),
    created_ns       INTEGER NOT NULL,
    handled_ns       INTEGER NOT NULL,
    last_job         TEXT,
    last_ns          INTEGER,
    last_error       TEXT,
    runs             INTEGER NOT NULL DEFAULT 0 CHECK (runs >= 0),
    failed           INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    skipped          INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0)
);
CREATE UNIQUE INDEX schedules_named ON schedules (submitted_by_uid, name) WHERE name IS NOT NULL;
CREATE INDEX schedules_of ON schedules (submitted_by_uid, seq);

CREATE TABLE schedule_templates (
    seq      INTEGER PRIMARY KEY REFERENCES schedules (seq) ON DELETE CASCADE,
    template BLOB NOT NULL
);
"""

# Jobs that were submitted as one thing, and what is to be done at changes of state. A group knows
# its jobs by their numbers, which follow each other; it goes with the last of them. Its jobs may
# have their spec in common: then there is none in `specs` until it is changed. Calls of hooks
# outlive the job: what they need is in them. Retention takes what is of a group only when that has
# ended, so the indexes that it reads are of the others, and of groups: those that go on are never
# looked at.
_GROUPS_AND_HOOKS: Final = """
CREATE TABLE groups (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    submitted_by_uid INTEGER NOT NULL,
    kind             TEXT    NOT NULL CHECK (kind IN ('array', 'flow')),
    name             TEXT,
    size             INTEGER NOT NULL CHECK (size >= 1),
    max_running      INTEGER CHECK (max_running >= 1),
    submitted_ns     INTEGER NOT NULL,
    first_seq        INTEGER NOT NULL,
    unended          INTEGER NOT NULL CHECK (unended >= 0),
    failed           INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    ended_ns         INTEGER,
    idempotency_key  TEXT,
    digest           BLOB    NOT NULL,
    about            BLOB    NOT NULL,
    CHECK ((unended = 0) = (ended_ns IS NOT NULL))
);
CREATE INDEX groups_of ON groups (submitted_by_uid, seq);
CREATE INDEX groups_ended ON groups (ended_ns, first_seq) WHERE ended_ns IS NOT NULL;
CREATE INDEX groups_ended_of ON groups (submitted_by_uid, ended_ns, first_seq)
    WHERE ended_ns IS NOT NULL;
CREATE INDEX groups_named ON groups (name, seq) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX groups_keyed ON groups (submitted_by_uid, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE group_specs (
    seq  INTEGER PRIMARY KEY REFERENCES groups (seq) ON DELETE CASCADE,
    spec BLOB NOT NULL
);

ALTER TABLE jobs ADD COLUMN group_id TEXT;
ALTER TABLE jobs ADD COLUMN member INTEGER CHECK (member >= 0);
ALTER TABLE jobs ADD COLUMN fate TEXT CHECK (fate IN ('ok', 'failed', 'skipped'));
CREATE INDEX jobs_grouped ON jobs (group_id, member, state, fate, started_ns, disk_bytes)
    WHERE group_id IS NOT NULL;
DROP INDEX jobs_ended;
DROP INDEX jobs_ended_of;
CREATE INDEX jobs_ended ON jobs (ended_ns, seq, submitted_by_uid, disk_bytes, id, state, group_id)
    WHERE state = 'ended' AND group_id IS NULL;
CREATE INDEX jobs_ended_of ON jobs
    (submitted_by_uid, ended_ns, seq, disk_bytes, id, state, group_id)
    WHERE state = 'ended' AND group_id IS NULL;
CREATE INDEX jobs_tried ON jobs (submitted_by_uid, disk_bytes, id, state)
    WHERE state <> 'ended' AND disk_bytes > 0;

CREATE TABLE hooks (
    owner_id TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    events   TEXT    NOT NULL,
    template BLOB    NOT NULL,
    PRIMARY KEY (owner_id, number)
) WITHOUT ROWID;

CREATE TABLE hook_calls (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    owner_id TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    event    TEXT    NOT NULL,
    time_ns  INTEGER NOT NULL,
    uid      INTEGER NOT NULL,
    about    BLOB    NOT NULL,
    template BLOB    NOT NULL
);
"""

# A change of state writes the row and what happened, and no index of jobs that it does not move:
# SQLite writes an entry anew whenever the condition of a partial index names a column that is
# set, though it holds as before. So these tell jobs that have ended by the time of their end,
# which is set once, and not by the state (a CHECK says that it is the same).
_ENDED_BY_TIME: Final = """
DROP INDEX jobs_active;
DROP INDEX jobs_active_of;
DROP INDEX jobs_ended;
DROP INDEX jobs_ended_of;
DROP INDEX jobs_unmeasured;
DROP INDEX jobs_tried;
CREATE INDEX jobs_active ON jobs (seq) WHERE ended_ns IS NULL;
CREATE INDEX jobs_active_of ON jobs (submitted_by_uid, seq) WHERE ended_ns IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_ns, seq, submitted_by_uid, disk_bytes, id, group_id)
    WHERE ended_ns IS NOT NULL AND group_id IS NULL;
CREATE INDEX jobs_ended_of ON jobs
    (submitted_by_uid, ended_ns, seq, disk_bytes, id, group_id)
    WHERE ended_ns IS NOT NULL AND group_id IS NULL;
CREATE INDEX jobs_unmeasured ON jobs (seq) WHERE ended_ns IS NOT NULL AND disk_bytes = 0;
CREATE INDEX jobs_tried ON jobs (submitted_by_uid, disk_bytes, id, ended_ns)
    WHERE ended_ns IS NULL AND disk_bytes > 0;
"""

# Of which jobs the launch is on disk since they were submitted: of none of an older version.
_AT_ONCE: Final = """
ALTER TABLE jobs ADD COLUMN at_once INTEGER NOT NULL DEFAULT 0 CHECK (at_once IN (0, 1));
"""

SCRIPTS: Final = (
    _JOBS_AND_EVENTS, _PAUSES, _ENDED, _QUEUE, _SCHEDULES, _GROUPS_AND_HOOKS, _ENDED_BY_TIME,
    _AT_ONCE,
)  # fmt: skip
