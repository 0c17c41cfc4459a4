"""What the daemon answers about its queue, as types: the shapes of docs/PROTOCOL.md.

Programs find these names in `client.records`, with what is answered about jobs.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  typing.get_type_hints looks for it
from typing import Literal, NotRequired, TypedDict, final

from client.options import On, State  # noqa: TC001  the same

# Why a job waits; docs/PROTOCOL.md, `why`, says what each means.
Cause = Literal[
    "held",
    "dependency",
    "time",
    "no-queue",
    "queue-paused",
    "queue-cap",
    "group-cap",
    "quota-running",
    "quota-cpus",
    "quota-memory",
    "slots",
    "cpus",
    "memory",
    "reserved",
    "behind",
    "draining",
]


class Promise(TypedDict):
    """What is promised: 1000 millicpus are one CPU."""

    millicpus: int
    memory_bytes: int


class Dependency(TypedDict):
    """The same as `status` gives it; `met` once that has happened.

    `step` is what the other one is called in the flow that both are of.
    """

    job: str
    step: NotRequired[str | None]
    on: On
    met: bool


class Submitted(TypedDict):
    """What became of a submission. `existing`: its key was known, and nothing new is queued."""

    job: str
    state: State
    existing: bool


class Selection(TypedDict, total=False):
    """Which jobs are meant; all that is given must hold.

    `user` is who submitted them, `name` a shell pattern (fnmatch(3)); a label with None as its
    value means any value. Without `states` all that have not ended. `group` names an array or
    flow: of its jobs.
    """

    queue: str | None
    user: str | int | None
    name: str | None
    labels: Mapping[str, str | None] | None
    states: list[State] | None
    group: str | None


class Moved(TypedDict):
    """Where a job waits now."""

    job: str
    queue: str
    priority: int


class Retried(TypedDict):
    """A job that runs once more, as the attempt of this number."""

    job: str
    state: State
    attempt: int


class GroupCap(TypedDict):
    """The group that a job is of: how many of it run at once at most, and how many run."""

    group: str
    kind: str
    max_running: int | None
    running: int


class Because(TypedDict):
    """One thing that a job waits for; docs/PROTOCOL.md, `why`, has the units of each cause.

    `on` are full ids of jobs, `kinds` what has to become of them when they are waited for.
    `until_ns` is when it goes away, where that is known. `kept` is what another job needs for which
    room is kept (`reserved`), also where that one is not named; `group` is there of `group-cap`.
    """

    cause: Cause
    needs: int | None
    free: int | None
    on: list[str]
    kinds: list[On]
    until_ns: int | None
    kept: NotRequired[Promise | None]
    group: NotRequired[GroupCap | None]


class Queue(TypedDict):
    """A queue. `allowed` and `max_priority` are about whoever asks; `max_running` None: no cap."""

    name: str
    priority: int
    max_running: int | None
    paused: bool
    allowed: bool
    max_priority: int
    queued: int
    running: int


class Capacity(TypedDict):
    """How many jobs may run at once, and what they may be promised together."""

    slots: int
    millicpus: int
    memory_bytes: int


class Promised(TypedDict):
    """How many jobs are under way, and what they are promised together."""

    jobs: int
    millicpus: int
    memory_bytes: int


class OwnUse(TypedDict):
    """What waits and runs of whoever asks."""

    queued: int
    running: int
    millicpus: int
    memory_bytes: int


class Quota(TypedDict):
    """What whoever asks may have at most; None: no bound."""

    max_queued: int | None
    max_running: int | None
    max_millicpus: int | None
    max_memory_bytes: int | None
    max_log_bytes: int | None


class Queues(TypedDict):
    """What `queues` answers."""

    queues: list[Queue]
    capacity: Capacity
    promised: Promised
    own: OwnUse
    quota: Quota


class QueueSetting(TypedDict):
    """What a queue is set to now."""

    name: str
    paused: bool
    max_running: int | None


class StoppedMany(TypedDict):
    """How many jobs were stopped, or would be; of these queued and running; the first 1,000 ids."""

    jobs: int
    queued: int
    running: int
    ids: list[str]


@final
class Event(TypedDict):
    """Something that happened to a job, which may have been removed since.

    `seq` grows; what `kind` and `data` may be is in docs/PROTOCOL.md, `events`.
    """

    seq: int
    time_ns: int
    job: str
    kind: str
    data: dict[str, str | int]


@final
class EventGap(TypedDict):
    """Events after number `since` and before number `oldest` are not kept any more."""

    gap: Literal[True]
    since: int
    oldest: int
