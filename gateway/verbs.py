"""Every operation of docs/PROTOCOL.md that can be asked for through the gateway, and by whom.

One table, pure. An operation that it lacks is refused to everybody: a new one of runnerd has to be
decided on here first. `hello`, `credit`, `cancel` and `signal` are the transport's. Who has which
role is `gateway.policy`'s to say; docs/GATEWAY-POLICY.md shows the table.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Target(Enum):
    """What an operation is about, and so how a scoped caller's request is checked."""

    JOB = "one job"
    GROUP = "an array or a flow"
    MANY = "jobs by selection"
    SCHEDULE = "a schedule"
    QUEUE = "a queue"
    SUBMISSION = "new jobs"
    NOTHING = "the daemon"


VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
SUBMITTER: Final = "submitter"
ADMIN: Final = "admin"
ROLES: Final = (VIEWER, OPERATOR, SUBMITTER, ADMIN)

# Who at least: each of them may what the ones before it may, but for this: an operator acts on
# what is there and makes nothing run that its user did not ask for, so `exec` is not its own.
_READERS: Final = frozenset(ROLES)
_ACTORS: Final = frozenset({OPERATOR, SUBMITTER, ADMIN})
_MAKERS: Final = frozenset({SUBMITTER, ADMIN})
_ADMINS: Final = frozenset({ADMIN})


class Verb(msgspec.Struct, frozen=True):
    """One operation: what it is about, whether it changes anything, and the roles that may.

    `is_stream`: events come before the answer. `is_long`: it may rightly take as long as a job.
    """

    op: str
    target: Target
    writes: bool
    roles: frozenset[str]
    is_stream: bool = False
    is_long: bool = False


def _reading(op: str, target: Target, *, stream: bool = False, long: bool = False) -> Verb:
    return Verb(op, target, writes=False, roles=_READERS, is_stream=stream, is_long=long)


def _acting(op: str, target: Target) -> Verb:
    return Verb(op, target, writes=True, roles=_ACTORS)


def _making(op: str, target: Target = Target.SUBMISSION, *, stream: bool = False) -> Verb:
    return Verb(op, target, writes=True, roles=_MAKERS, is_stream=stream)


def _ruling(op: str, target: Target, *, writes: bool = True, long: bool = False) -> Verb:
    return Verb(op, target, writes=writes, roles=_ADMINS, is_long=long)


_ALL: Final = (
    _reading("doctor", Target.NOTHING),
    _reading("events", Target.MANY, stream=True),
    _reading("group", Target.GROUP),
    _reading("list", Target.MANY),
    _reading("locate", Target.JOB),
    _reading("logs", Target.JOB, stream=True),
    _reading("queues", Target.QUEUE),
    _reading("schedule_status", Target.SCHEDULE),
    _reading("schedules", Target.SCHEDULE),
    _reading("status", Target.JOB),
    _reading("wait", Target.JOB, long=True),
    _reading("wait_group", Target.GROUP, long=True),
    _reading("why", Target.JOB),
    _acting("hold", Target.JOB),
    _acting("hold_group", Target.GROUP),
    _acting("move", Target.JOB),
    _acting("pause", Target.JOB),
    _acting("release", Target.JOB),
    _acting("remove", Target.JOB),
    _acting("remove_group", Target.GROUP),
    _acting("resume", Target.JOB),
    _acting("retry", Target.JOB),
    _acting("retry_group", Target.GROUP),
    _acting("schedule_pause", Target.SCHEDULE),
    _acting("schedule_resume", Target.SCHEDULE),
    _acting("schedule_run", Target.SCHEDULE),
    _acting("stop", Target.JOB),
    _acting("stop_group", Target.GROUP),
    _acting("stop_many", Target.MANY),
    _acting("update", Target.JOB),
    _acting("update_group", Target.GROUP),
    _making("exec", Target.JOB, stream=True),
    _making("schedule"),
    _making("schedule_remove", Target.SCHEDULE),
    _making("submit"),
    _making("submit_array"),
    _making("submit_flow"),
    _ruling("drain", Target.NOTHING, long=True),
    _ruling("prune", Target.MANY),
    _ruling("queue", Target.QUEUE),
    _ruling("stats", Target.NOTHING, writes=False),
)
VERBS: Final[Mapping[str, Verb]] = MappingProxyType({verb.op: verb for verb in _ALL})
_BY_ROLE: Final = {
    role: frozenset(verb.op for verb in _ALL if role in verb.roles) for role in ROLES
}


def allowed_to(role: str) -> frozenset[str]:
    """The operations of a role; none of what is no role."""
    return _BY_ROLE.get(role, frozenset())


def table() -> str:
    """The table "operation and role" in Markdown, as docs/GATEWAY-POLICY.md has it."""
    head = f"| operation | about | | {' | '.join(ROLES)} |"
    lines = [head, "|---" * (len(ROLES) + 3) + "|"]
    for verb in sorted(_ALL, key=lambda each: each.op):
        marks = " | ".join("yes" if role in verb.roles else "" for role in ROLES)
        kind = "writes" if verb.writes else "reads"
        lines.append(f"| `{verb.op}` | {verb.target.value} | {kind} | {marks} |")
    return "\n".join(lines) + "\n"
