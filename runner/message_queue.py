"""What a request may ask of the queue: where and when a job waits, after what, how often.

Fields, units and bounds. Whether a queue exists and who may use it is asked in
`runner.submission`; when a job starts is `runner.scheduling`'s to decide.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from runner.message_kinds import PIB, Closed, JobRef, Name, User

LOWEST_PRIORITY: Final = -1000
HIGHEST_PRIORITY: Final = 1000
MOST_LABELS: Final = 32
MOST_DEPENDENCIES: Final = 256
MOST_RETRIES: Final = 100

Priority = Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)]
LabelName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._/-]*\Z",
        description="at most 64 letters, digits, '.', '_', '-' and '/', the first no sign",
    ),
]
LabelValue = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"\A[ -~]*\Z",
        description="at most 256 printable ASCII characters",
    ),
]
_LABELS: Final = (
    f"at most {MOST_LABELS} labels; a name has at most 64 letters, digits, '.', '_', '-' and '/', "
    "the first no sign, a value at most 256 printable ASCII characters"
)
Labels = Annotated[dict[LabelName, LabelValue], Meta(max_length=MOST_LABELS, description=_LABELS)]
IdempotencyKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"\A[!-~]*\Z",
        description="1 to 128 printable ASCII characters without spaces",
    ),
]
UnixTime = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Delay = Annotated[float, Meta(ge=0, le=315_360_000)]
_Span = Annotated[float, Meta(ge=0.001, le=315_360_000)]
_Factor = Annotated[float, Meta(ge=1, le=1000)]
On = Annotated[
    Literal["ok", "any", "fail", "started"], Meta(description="ok, any, fail or started")
]
# Reasons of `runner.outcome` after which a job may be tried again: never after somebody's stop.
RetryReason = Annotated[
    Literal[
        "exit", "signal", "oom", "timeout", "cpu-time", "output-limit", "launch-error",
        "log-error", "lost",
    ],
    Meta(
        description="exit, signal, oom, timeout, cpu-time, output-limit, launch-error, log-error "
        "or lost"
    ),
]  # fmt: skip
_NamePattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"\A[ -~]*\Z",
        description="a shell pattern of at most 64 printable ASCII characters",
    ),
]
JobState = Annotated[
    Literal["queued", "starting", "running", "paused", "ended"],
    Meta(description="queued, starting, running, paused or ended"),
]


class AfterRequest(Closed, frozen=True):
    """A job that must have ended well (`ok`), ended, failed or started before this one starts."""

    job: JobRef
    on: On = "ok"


class RetryRule(Closed, frozen=True):
    """What changes after an end for that reason, and how often it is tried again at most.

    The limit is multiplied by the factor, up to the bound; a bound without a factor is refused.
    """

    reason: RetryReason
    limit: Annotated[int, Meta(ge=0, le=MOST_RETRIES)] | None = None
    memory_factor: _Factor | None = None
    memory_max_bytes: Annotated[int, Meta(ge=4 * 1024 * 1024, le=PIB)] | None = None
    timeout_factor: _Factor | None = None
    timeout_max_seconds: _Span | None = None


class RetryRequest(Closed, frozen=True):
    """How often a job that failed is tried again, after which waits, and for which reasons.

    The wait before retry N is `backoff_seconds` x 2^(N-1), at most `backoff_max_seconds`. `on`
    None: exit (with another status than 0), signal, oom, timeout and lost.
    """

    limit: Annotated[int, Meta(ge=1, le=MOST_RETRIES)]
    backoff_seconds: _Delay = 0.0
    backoff_max_seconds: _Delay | None = None
    on: Annotated[list[RetryReason], Meta(min_length=1, max_length=9)] | None = None
    rules: Annotated[list[RetryRule], Meta(max_length=9)] = []


class ReserveRequest(Closed, frozen=True):
    """What a job is promised while it runs. None: as much as its limits let it use."""

    millicpus: Annotated[int, Meta(ge=0, le=1_024_000)] | None = None
    memory_bytes: Annotated[int, Meta(ge=0, le=PIB)] | None = None


class Select(Closed, frozen=True):
    """Which jobs are meant; all that is given must hold.

    `user` is who submitted them. `name` is a shell pattern (fnmatch(3): *, ? and []). A label
    with None as its value: any value. `states` None: all that have not ended. `group`: of that
    array or flow.
    """

    queue: Name | None = None
    user: User | None = None
    name: _NamePattern | None = None
    labels: Annotated[
        dict[LabelName, LabelValue | None], Meta(max_length=MOST_LABELS, description=_LABELS)
    ] = {}
    states: Annotated[list[JobState], Meta(min_length=1, max_length=5)] | None = None
    group: JobRef | None = None


class Hold(Closed, frozen=True):
    """Keep a queued job from starting until it is released."""

    job: JobRef


class Release(Closed, frozen=True):
    """Let a job that was held start when its turn comes."""

    job: JobRef


class Move(Closed, frozen=True):
    """Move a queued job: before all, or directly before one, of its submitter's; or elsewhere.

    Exactly one of `top`, `before` and `queue`, or `queue` with `top`.
    """

    job: JobRef
    top: bool = False
    before: JobRef | None = None
    queue: Name | None = None


class Retry(Closed, frozen=True):
    """Run a job that has ended once more, as a new attempt."""

    job: JobRef


class Why(Closed, frozen=True):
    """What a job waits for, or why it ended."""

    job: JobRef


class Events(Closed, frozen=True):
    """What happened to the peer's jobs, an admin's: to all. From after number `since` on.

    None: from now on. `job`: of that one alone, which may have been removed since.
    """

    since: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    follow: bool = False
    job: JobRef | None = None
    credit: Annotated[int, Meta(ge=0, le=1024)] = 16


class Queues(Closed, frozen=True):
    """Every queue with what waits and runs in it, the capacity and the peer's quota."""


class SetQueue(Closed, frozen=True):
    """Change a queue until it is changed again, over restarts too. For admins.

    `max_running` None: as the configuration says.
    """

    name: Name
    paused: bool | UnsetType = UNSET
    max_running: Annotated[int, Meta(ge=0, le=2**31)] | UnsetType | None = UNSET


class StopMany(Closed, frozen=True):
    """End every job of the peer that is meant; an admin's: everybody's unless `user` is given.

    `dry_run` only counts. With `expect` nothing is stopped unless there are exactly so many.
    """

    select: Select
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    kill: bool = False
    dry_run: bool = False
    expect: Annotated[int, Meta(ge=0, le=2**53)] | None = None
