"""What the scheduler is told and what it answers: values, nothing computed.

Times are Unix nanoseconds: a deadline is a time of the wall clock, whatever is done to it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

Met = Literal["ok", "any", "fail", "started"]


class Needs(NamedTuple):
    """What is promised to a job while it runs. It takes one slot besides."""

    millicpus: int = 0
    memory_bytes: int = 0

    def plus(self, other: Needs) -> Needs:
        """Both together."""
        return Needs(self.millicpus + other.millicpus, self.memory_bytes + other.memory_bytes)

    def minus(self, other: Needs) -> Needs:
        """Without the other."""
        return Needs(self.millicpus - other.millicpus, self.memory_bytes - other.memory_bytes)

    def fits(self, room: Needs) -> bool:
        """Whether there is room for it."""
        return self.millicpus <= room.millicpus and self.memory_bytes <= room.memory_bytes


class Capacity(NamedTuple):
    """What may be promised in all, and how many jobs may run at once."""

    slots: int
    needs: Needs


class Queue(NamedTuple):
    """A queue. A higher priority comes first; `max_running` None is no cap of its own.

    Jobs of one that is `apart` take none of the slots, count for no quota and need nothing: they
    hold nobody up, and nobody them, but each other. `user_cap` of it, of one user, run at once.
    """

    name: str
    priority: int = 0
    max_running: int | None = None
    paused: bool = False
    apart: bool = False
    user_cap: int | None = None


class Quota(NamedTuple):
    """What one user's running jobs may come to; None is no bound."""

    max_running: int | None = None
    max_millicpus: int | None = None
    max_memory_bytes: int | None = None


class Dependency(NamedTuple):
    """A job that is waited for, and what has to become of it."""

    on_id: str
    kind: Met


class Waiting(NamedTuple):
    """A queued job. `after` holds what is not known to be met yet.

    `rank` is its place among its submitter's jobs of the same queue and priority, lower first;
    `uid` is who submitted it. `time_limit_ms` is how long it may run, None when nobody knows.
    `group` names an array or the like, of which at most `group_cap` run at once, None: no cap.
    """

    id: str
    uid: int
    queue: str
    priority: int
    rank: int
    needs: Needs = Needs()
    not_before_ns: int | None = None
    deadline_ns: int | None = None
    is_held: bool = False
    after: tuple[Dependency, ...] = ()
    time_limit_ms: int | None = None
    group: str | None = None
    group_cap: int | None = None


class Going(NamedTuple):
    """A job that was launched and has not ended: it holds its slot and what it was promised."""

    id: str
    uid: int
    queue: str
    needs: Needs
    started_ns: int
    has_started: bool = True
    time_limit_ms: int | None = None
    group: str | None = None

    @classmethod
    def of(cls, job: Waiting, now_ns: int) -> Self:
        """The waiting job, launched now; whether its command runs is not known yet."""
        return cls(
            job.id, job.uid, job.queue, job.needs, now_ns, has_started=False,
            time_limit_ms=job.time_limit_ms, group=job.group,
        )  # fmt: skip


class End(NamedTuple):
    """What became of a job for good. `ok`: by itself, with status 0."""

    ok: bool
    has_started: bool


# What comes out


class Start(NamedTuple):
    """Launch it. It counts as going from now on."""

    id: str


class Expire(NamedTuple):
    """Its deadline has passed while it waited: it is to end for that."""

    id: str


class Abandon(NamedTuple):
    """It can never start: `on_id` did not become what it had to (`kind`)."""

    id: str
    on_id: str
    kind: Met


Action = Start | Expire | Abandon

# Why a job waits, the reason that has to go away first coming first.
Cause = Literal[
    "held", "dependency", "time", "no-queue", "queue-paused", "queue-cap", "group-cap",
    "quota-running", "quota-cpus", "quota-memory", "slots", "cpus", "memory", "reserved", "behind",
    "draining",
]  # fmt: skip


class Because(NamedTuple):
    """One thing that a job waits for.

    `needs` and `free` are in the unit of the cause (jobs, millicpus, bytes); `on` are jobs: those
    waited for, the one that resources are kept for (`reserved`), or the one whose end makes room;
    `until_ns` is when it goes away, where that can be known.
    """

    cause: Cause
    needs: int | None = None
    free: int | None = None
    on: tuple[str, ...] = ()
    kinds: tuple[Met, ...] = ()
    until_ns: int | None = None


class Explanation(NamedTuple):
    """Why a job waits; nothing in `because`: it starts at the next decision.

    `ahead` is how many jobs are before it in its queue's order, as far as that can be told (of
    users who share, those before it of the same user and its place among the users); `start_ns`
    is when it will start at the earliest, where every job ahead has a time limit.
    """

    because: tuple[Because, ...]
    ahead: int
    start_ns: int | None
