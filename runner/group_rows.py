"""What the store takes and gives of groups: jobs that were submitted as one thing. Values and SQL.

The common spec of an array's jobs and what a flow looks like are bytes here
(`runner.group_submission`); how a group is kept is `runner.store_groups`'. Text and values only:
what is asked with it, and when, is the store's. Jobs are `runner.rows`' and `runner.queries`'.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

import msgspec

from runner.queries import select_jobs
from runner.rows import DamagedRowError, NewHook, of_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.rows import Row

_logger: Final = logging.getLogger(__name__)

Kind = Literal["array", "flow"]
ARRAY: Final = "array"
FLOW: Final = "flow"

# What became of a job that has ended for good. `skipped`: the job of a flow that was to come after
# another of it, which did not become what it had to: that one says whether the flow failed.
OK: Final = "ok"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a group looks like, as it was asked for; encoded with msgpack in its row.

    Of an array the `ranges` (first, last, stride); of a flow its `steps` in their order, which
    number its jobs from 0.
    """

    ranges: list[tuple[int, int, int]] = []
    steps: list[StepAbout] = []


class StepAbout(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a flow: what it needs (names of steps, and what has to become of them)."""

    name: str
    values: dict[str, str] = {}
    needs: list[tuple[str, str]] = []


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it is submitted; its jobs come with it (`runner.rows.NewJob`).

    `spec` is the spec that jobs with an empty one have in common, in which `job` is the group's id;
    None: each has its own. `digest` tells whether another submission asks for the same.
    """

    id: str
    submitted_by_uid: int
    kind: Kind
    name: str | None
    submitted_ns: int
    max_running: int | None
    idempotency_key: str | None
    digest: bytes
    about: bytes
    spec: bytes | None
    hooks: tuple[NewHook, ...] = ()

    def __repr__(self) -> str:
        """Without the spec, which holds an environment."""
        return f"NewGroup(id={self.id!r}, kind={self.kind!r})"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it was when it was read, without its spec and what it looks like: both are large.

    `size` is how many jobs it was submitted with; their `seq` are `first_seq` and the following
    ones. `unended` of them have not ended for good, `failed` have ended so (skipped ones not
    counted), also of those that were removed since. `ended_ns` is set while none is unended.
    """

    seq: int
    id: str
    submitted_by_uid: int
    kind: Kind
    name: str | None
    size: int
    max_running: int | None
    submitted_ns: int
    first_seq: int
    unended: int
    failed: int
    ended_ns: int | None
    idempotency_key: str | None
    digest: bytes

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The group of a row that has the fields in their order here. Raises DamagedRowError."""
        return of_row(cls, row, "groups")

    @property
    def is_ok(self) -> bool:
        """Whether it has ended, and well."""
        return self.ended_ns is not None and not self.failed


class GroupCounts(NamedTuple):
    """How many jobs of a group are in which state; of those that have ended, how."""

    queued: int = 0
    starting: int = 0
    running: int = 0
    paused: int = 0
    ok: int = 0
    failed: int = 0
    skipped: int = 0


class FailedMember(NamedTuple):
    """A job of a group that has ended, and not well: what another attempt depends on.

    `unmet`: the ids of the jobs that it was to come after, and that did not become what they had
    to. `deadline_ns` is of the job, past or not.
    """

    id: str
    member: int
    fate: str
    attempt: int
    queue: str
    priority: int
    deadline_ns: int | None
    unmet: tuple[str, ...] = ()


def step_name(group_name: str | None, job_name: str | None) -> str | None:
    """What the step is called whose job has that name; None: it is none of that flow.

    So nobody has to read what a whole flow looks like for the name of one of its jobs.
    """
    start = f"{group_name}."
    if group_name is None or job_name is None or not job_name.startswith(start):
        return None
    return job_name.removeprefix(start)


def sound_groups(rows: Iterable[Row]) -> Iterator[Group]:
    """The groups of rows. One that is damaged hides itself, not the others of its list."""
    for row in rows:
        try:
            yield Group.from_row(row)
        except DamagedRowError as error:
            _logger.error("%s", error)  # noqa: TRY400 - the text says it


_FIELDS: Final = ", ".join(Group.__struct_fields__)


def _select(where: str, index: str = "") -> str:
    through = f"INDEXED BY {index}" if index else ""
    return f"SELECT {_FIELDS} FROM groups {through} WHERE {where}"  # noqa: S608 - text of this module


BY_ID: Final = _select("id = :id")
# A range, not LIKE: nothing to escape, and the index of ids serves it.
BY_PREFIX: Final = _select(
    "id >= :low AND id < :high AND (:uid IS NULL OR submitted_by_uid = :uid)"
    " ORDER BY seq DESC LIMIT :limit"
)
NAMED: Final = _select(
    "name = :name AND (:uid IS NULL OR submitted_by_uid = :uid) ORDER BY seq DESC LIMIT 1",
    "groups_named",
)
BY_KEY: Final = _select("submitted_by_uid = :uid AND idempotency_key = :key", "groups_keyed")
ABOUT: Final = "SELECT about FROM groups WHERE id = :id"
SPEC: Final = "SELECT spec FROM group_specs JOIN groups USING (seq) WHERE id = :id"

# Its jobs. All that is asked of many of them is in the index.
_MEMBER: Final = "group_id = :id"
MEMBERS: Final = select_jobs(
    "jobs_grouped", f"jobs.{_MEMBER} AND jobs.member > :after ORDER BY jobs.member LIMIT :limit"
)
MEMBER: Final = select_jobs("jobs_grouped", f"jobs.{_MEMBER} AND jobs.member = :member LIMIT 1")
# Many jobs may have that name; of a group, one, and its numbers follow each other.
MEMBER_NAMED: Final = select_jobs(
    "jobs_named",
    f"jobs.name = :name AND jobs.seq >= :first AND jobs.seq < :end AND jobs.{_MEMBER} LIMIT 1",
)
STATES: Final = (
    f"SELECT id, state FROM jobs INDEXED BY jobs_grouped WHERE {_MEMBER} ORDER BY member"  # noqa: S608
)
# In the order of GroupCounts; an end of which nobody knows is no good one.
_STANDINGS: Final = (
    "state = 'queued'", "state = 'starting'", "state = 'running'", "state = 'paused'",
    "state = 'ended' AND fate IS 'ok'", "state = 'ended' AND (fate IS NULL OR fate = 'failed')",
    "state = 'ended' AND fate IS 'skipped'",
)  # fmt: skip
COUNTS: Final = (
    f"SELECT {', '.join(f'coalesce(sum({each}), 0)' for each in _STANDINGS)}"  # noqa: S608
    f" FROM jobs INDEXED BY jobs_grouped WHERE {_MEMBER}"
)
HAS_STARTED: Final = (
    f"SELECT started_ns FROM jobs INDEXED BY jobs_grouped WHERE {_MEMBER}"  # noqa: S608
    " AND started_ns IS NOT NULL LIMIT 1"
)
FAILED_MEMBERS: Final = (
    "SELECT id, member, coalesce(fate, 'failed'), attempt, queue, priority, deadline_ns FROM jobs"  # noqa: S608
    f" INDEXED BY jobs_grouped WHERE {_MEMBER} AND state = 'ended' AND fate IS NOT 'ok'"
    " ORDER BY member"
)
FIRST_FAILED: Final = select_jobs(
    "jobs_grouped",
    f"jobs.{_MEMBER} AND jobs.state = 'ended' AND (jobs.fate IS NULL OR jobs.fate = 'failed')"
    " ORDER BY jobs.member LIMIT 1",
)
UNMET: Final = (
    "SELECT jobs.id, dependencies.on_id FROM jobs INDEXED BY jobs_grouped"  # noqa: S608
    f" CROSS JOIN dependencies USING (seq) WHERE jobs.{_MEMBER} AND jobs.state = 'ended'"
    " AND jobs.fate IS NOT 'ok' AND dependencies.met = 0"
)
# Whether one of its own group did not become what this one was to come after.
WAS_SKIPPED: Final = (
    "SELECT 1 FROM jobs CROSS JOIN dependencies USING (seq)"
    " CROSS JOIN jobs AS other ON other.id = dependencies.on_id"
    " WHERE jobs.id = :id AND dependencies.met = 0 AND other.group_id = jobs.group_id"
    " AND other.state = 'ended' AND CASE dependencies.kind WHEN 'ok' THEN other.fate IS NOT 'ok'"
    " WHEN 'fail' THEN other.fate IS 'ok' WHEN 'started' THEN other.started_ns IS NULL END LIMIT 1"
)
# Two jobs of one flow, the first of which comes after the second.
STEP_BEFORE: Final = (
    "SELECT groups.name, other.name FROM jobs CROSS JOIN jobs AS other ON other.id = :on_id"
    " CROSS JOIN groups ON groups.id = other.group_id"
    " WHERE jobs.id = :id AND other.group_id = jobs.group_id"
)
# What ended groups have, for retention, which does not look at one that goes on. The numbers of
# their jobs follow each other, so that groups and jobs are in one order: by end and number.
_ENDED: Final = (
    "SELECT id, submitted_by_uid, ended_ns, first_seq, size FROM groups INDEXED BY groups_ended{}"
    " WHERE {}ended_ns >= :ended_ns AND (ended_ns > :ended_ns OR first_seq + size > :seq + 1)"
    " ORDER BY ended_ns, first_seq LIMIT :limit"
)
ENDED: Final = _ENDED.format("", "")
ENDED_OF: Final = _ENDED.format("_of", "submitted_by_uid = :uid AND ")
ENDED_MEMBERS: Final = (
    "SELECT id, seq, disk_bytes FROM jobs NOT INDEXED WHERE seq > :after AND seq < :end"
    " AND group_id = :id AND state = 'ended' ORDER BY seq LIMIT :limit"
)
COUNT_ENDED: Final = (
    "SELECT groups.id, submitted_by_uid, ended_ns IS NULL, jobs, bytes FROM"
    " (SELECT group_id, count(*) AS jobs, sum(disk_bytes) AS bytes"
    " FROM jobs INDEXED BY jobs_grouped WHERE group_id IS NOT NULL AND state = 'ended'"
    " GROUP BY group_id) AS there"
    " CROSS JOIN groups ON groups.id = there.group_id"
)
COUNT_ENDED_OF: Final = (
    "SELECT count(*), coalesce(sum(disk_bytes), 0) FROM jobs INDEXED BY jobs_grouped"  # noqa: S608
    f" WHERE {_MEMBER} AND state = 'ended'"
)
HAS_MEMBER: Final = f"SELECT 1 FROM jobs INDEXED BY jobs_grouped WHERE {_MEMBER} LIMIT 1"  # noqa: S608

_NEW: Final = (
    "id", "submitted_by_uid", "kind", "name", "size", "max_running", "submitted_ns", "first_seq",
    "unended", "idempotency_key", "digest", "about",
)  # fmt: skip
INSERT: Final = (
    f"INSERT INTO groups ({', '.join(_NEW)})"  # noqa: S608 - names of this module
    f" VALUES ({', '.join(f':{name}' for name in _NEW)})"
)
INSERT_SPEC: Final = "INSERT INTO group_specs (seq, spec) VALUES (:seq, :spec)"
FATE: Final = "SELECT ended_ns, failed FROM groups WHERE id = :id"
CAP: Final = "SELECT max_running FROM groups WHERE id = :id"
SET_CAP: Final = "UPDATE groups SET max_running = :max_running WHERE id = :id"
# Before the change: whether it is the last to end is told by what was.
STANDING: Final = "SELECT unended, failed, submitted_by_uid FROM groups WHERE id = :id"
COUNT: Final = (
    "UPDATE groups SET unended = :unended, failed = :failed, ended_ns = CASE WHEN :unended = 0"
    " THEN coalesce(ended_ns, :time_ns) END WHERE id = :id"
)
DELETE: Final = "DELETE FROM groups WHERE id = :id"
