"""What the store takes and gives of hooks and their calls, and the SQL for it. Values, no I/O.

A hook is a template here (`runner.hook_template`); which change of a job is which event for it is
said here too. How calls are kept is `runner.store_hooks`', who runs them `runner.hook_calls`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from runner.lifecycle import Event
from runner.queries import select_jobs

# Of which kind of event in the store a hook can be for; what comes of an end is `ok` or `fail`.
GROUP_ENDED: Final = "group-ended"
EVENTS: Final = {
    Event.STARTED.value: "started",
    Event.PAUSE.value: "paused",
    Event.RESUME.value: "resumed",
    Event.RETRY.value: "retry",
    Event.FINISH.value: "ended",
    GROUP_ENDED: "ended",
}
# The event that says that a call was not made, and why.
REFUSED: Final = "hook"

# Calls of one user's hooks that wait to be made, and what they take in the database: beyond that
# they are dropped, and recorded as such. Made they are soon, unless the queue of hooks is full.
MOST_CALLS: Final = 10_000
MOST_CALL_BYTES: Final = 256 * 1024 * 1024


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call tells of its job, or of its group, as it was when it became due.

    `result` is encoded as in the row of the job; of a retry, that of the attempt before.
    """

    is_group: bool = False
    name: str | None = None
    state: str = ""
    reason: str | None = None
    result: bytes | None = None
    attempt: int | None = None
    is_ok: bool | None = None
    # Of a group: how many jobs it was submitted with, and how many failed.
    jobs: int | None = None
    failed: int | None = None


class HookCall(NamedTuple):
    """A hook that is to be run: of which job or group, for which event, and with which template.

    `uid` is who submitted the job, `number` counts its hooks from 0.
    """

    seq: int
    owner_id: str
    number: int
    event: str
    time_ns: int
    uid: int
    about: About
    template: bytes


class Hook(NamedTuple):
    """A hook that a job or a group has."""

    events: tuple[str, ...]
    template: bytes


def happened(kind: str, is_ok: bool | None) -> tuple[str, ...]:  # noqa: FBT001 - None: no end
    """The events that a hook may be for, of one change in the store, the most particular first."""
    event = EVENTS[kind]
    if event != "ended":
        return (event,)
    return ("ok" if is_ok else "fail", "ended")


def chosen(wanted: str, events: tuple[str, ...]) -> str | None:
    """For which of these events a hook is run, once for a change: the first that it names."""
    names = wanted.split(",")
    return next((event for event in events if event in names), None)


# Of one submitter, the job with the last of some keys: those from `low` on and below `high`.
NEWEST_KEYED: Final = select_jobs(
    "jobs_keyed",
    "jobs.submitted_by_uid = :uid AND jobs.idempotency_key >= :low AND jobs.idempotency_key < :high"
    " ORDER BY jobs.idempotency_key DESC LIMIT 1",
)
INSERT: Final = (
    "INSERT INTO hooks (owner_id, number, events, template)"
    " VALUES (:owner_id, :number, :events, :template)"
)
OF_OWNER: Final = "SELECT events, template FROM hooks WHERE owner_id = :id ORDER BY number"
WANTED: Final = (
    "SELECT number, events, length(template) FROM hooks WHERE owner_id = :id ORDER BY number"
)

OF_JOB: Final = "SELECT name, state, attempt, reason, result, fate FROM jobs WHERE id = :id"
OF_GROUP: Final = "SELECT name, size FROM groups WHERE id = :id"
# Of a retry: the attempt before the one that the row tells of.
LAST_RESULT: Final = (
    "SELECT attempts.result FROM jobs CROSS JOIN attempts USING (seq) WHERE jobs.id = :id"
    " AND attempts.attempt = jobs.attempt - 1"
)

# The call has the template of its own: it outlives the job.
INSERT_CALL: Final = (
    "INSERT INTO hook_calls (owner_id, number, event, time_ns, uid, about, template)"
    " SELECT owner_id, number, :event, :time_ns, :uid, :about, template FROM hooks"
    " WHERE owner_id = :id AND number = :number"
)
CALLS: Final = "SELECT seq, uid FROM hook_calls WHERE seq > :after ORDER BY seq LIMIT :limit"
CALL: Final = (
    "SELECT seq, owner_id, number, event, time_ns, uid, about, template FROM hook_calls"
    " WHERE seq = :seq"
)
CALL_SIZE: Final = "SELECT uid, length(template) FROM hook_calls WHERE seq = :seq"
COUNT_CALLS: Final = "SELECT uid, count(*), sum(length(template)) FROM hook_calls GROUP BY uid"
DELETE_CALL: Final = "DELETE FROM hook_calls WHERE seq = :seq"
