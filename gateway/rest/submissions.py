"""What is submitted: a job, an array, a flow, a schedule, as JSON has it.

Fields and bounds of docs/PROTOCOL.md. How that is sent on is `gateway.rest.sending`'s; what
contradicts each other, and what this host cannot do, is runnerd's to refuse.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from gateway.rest.kinds import (
    PIB,
    Argv,
    Closed,
    Environment,
    HookEvent,
    Index,
    JobRef,
    Key,
    Labels,
    MaxRunning,
    Maybe,
    Name,
    Network,
    On,
    Priority,
    RetryReason,
    Seconds,
    Span,
    Text,
    UnixNs,
    User,
)
from gateway.rest.limits import Limits  # noqa: TC001  msgspec looks it up
from gateway.rest.surroundings import Logs, Net, Sandbox  # noqa: TC001  the same

_Factor = Annotated[float, Meta(ge=1, le=1000)]
_Retries = Annotated[int, Meta(ge=0, le=100)]


class After(Closed, frozen=True, kw_only=True):
    """A job that must have become that before this one starts (`ok`: ended well)."""

    job: JobRef
    on: On = "ok"


class RetryRule(Closed, frozen=True, kw_only=True):
    """What changes after an end for that reason, and how often it is tried again at most."""

    reason: RetryReason
    limit: Maybe[_Retries] = UNSET
    memory_factor: Maybe[_Factor] = UNSET
    memory_max_bytes: Maybe[Annotated[int, Meta(ge=4 * 1024 * 1024, le=PIB)]] = UNSET
    timeout_factor: Maybe[_Factor] = UNSET
    timeout_max_seconds: Maybe[Span] = UNSET


class Retry(Closed, frozen=True, kw_only=True):
    """How often a job that failed is tried again, after which waits, and for which reasons."""

    limit: Annotated[int, Meta(ge=1, le=100)]
    backoff_seconds: Maybe[Seconds] = UNSET
    backoff_max_seconds: Maybe[Seconds] = UNSET
    on: Maybe[Annotated[list[RetryReason], Meta(min_length=1, max_length=9)]] = UNSET
    rules: Maybe[Annotated[list[RetryRule], Meta(max_length=9)]] = UNSET


class Reserve(Closed, frozen=True, kw_only=True):
    """What a job is promised while it runs; default: as much as its limits let it use."""

    millicpus: Maybe[Annotated[int, Meta(ge=0, le=1_024_000)]] = UNSET
    memory_bytes: Maybe[Annotated[int, Meta(ge=0, le=PIB)]] = UNSET


class Hook(Closed, frozen=True, kw_only=True):
    """A command (`argv`) or a web address (`url`), exactly one, for some changes of state."""

    on: Annotated[list[HookEvent], Meta(min_length=1, max_length=7)]
    argv: Maybe[Argv] = UNSET
    url: Maybe[Annotated[str, Meta(max_length=2048, pattern=r"^https?://[!-~]+$")]] = UNSET
    timeout_seconds: Maybe[Annotated[float, Meta(ge=1, le=3600)]] = UNSET
    memory_max_bytes: Maybe[Annotated[int, Meta(ge=4 * 1024 * 1024, le=PIB)]] = UNSET
    retries: Maybe[Annotated[int, Meta(ge=0, le=10)]] = UNSET
    network: Maybe[Network] = UNSET


_Hooks = Annotated[list[Hook], Meta(max_length=8)]
_Directory = Annotated[
    Text, Meta(description="Where the command starts: an absolute path of runnerd's host. "
               "Default: the home of the job's user.", examples=["/srv/build"])
]  # fmt: skip
_Env = Annotated[
    Environment,
    Meta(
        description="Variables: an object, or a list where a name is not UTF-8. Beneath them are "
        "PATH, HOME, USER, LOGNAME and SHELL of the job's user."
    ),
]


class Work(Closed, frozen=True, kw_only=True):
    """The job of a step of a flow, or of a schedule's runs: a submission without a key."""

    argv: Argv
    cwd: Maybe[_Directory] = UNSET
    env: Maybe[_Env] = UNSET
    umask: Maybe[Annotated[int, Meta(ge=0, le=0o777)]] = UNSET
    network: Maybe[Network] = UNSET
    net: Maybe[Net] = UNSET
    user: Maybe[User] = UNSET
    group: Maybe[User] = UNSET
    limits: Maybe[Limits] = UNSET
    logs: Maybe[Logs] = UNSET
    sandbox: Maybe[Sandbox] = UNSET
    queue: Maybe[Name] = UNSET
    priority: Maybe[Priority] = UNSET
    labels: Maybe[Labels] = UNSET
    hold: Maybe[bool] = UNSET
    retry: Maybe[Retry] = UNSET
    reserve: Maybe[Reserve] = UNSET


class ScheduledWork(Work, frozen=True, kw_only=True):
    """The job that a schedule runs again and again."""

    name: Maybe[Name] = UNSET
    delay_seconds: Maybe[Seconds] = UNSET
    deadline_seconds: Maybe[Span] = UNSET
    hooks: Maybe[_Hooks] = UNSET


class StepWork(Work, frozen=True, kw_only=True):
    """The job of a step of a flow."""

    after: Maybe[Annotated[list[After], Meta(max_length=256)]] = UNSET
    not_before_ns: Maybe[UnixNs] = UNSET
    delay_seconds: Maybe[Seconds] = UNSET
    deadline_ns: Maybe[UnixNs] = UNSET
    deadline_seconds: Maybe[Span] = UNSET


class Submission(StepWork, frozen=True, kw_only=True):
    """A job: the command, where and as whom it runs, its limits, and when it is its turn."""

    name: Maybe[Name] = UNSET
    idempotency_key: Maybe[Key] = UNSET
    hooks: Maybe[_Hooks] = UNSET


_Ranges = Annotated[
    list[tuple[Index, Index, Annotated[int, Meta(ge=1, le=2**31 - 1)]]],
    Meta(
        min_length=1,
        max_length=64,
        description="[first, last, stride] of each range; no index twice.",
        examples=[[[0, 98, 2], [99, 99, 1]]],
    ),
]


class ArrayIndexes(Closed, frozen=True, kw_only=True):
    """The indexes of an array, and how many of its jobs run at once at most."""

    ranges: _Ranges
    max_running: Maybe[MaxRunning] = UNSET


class ArraySubmission(Closed, frozen=True, kw_only=True):
    """Many jobs that differ in their index alone; name, key and hooks are the array's."""

    submit: Submission
    array: ArrayIndexes


_StepName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=48,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[1-9][0-9]{0,3})?$",
        examples=["build"],
    ),
]
_Word = Annotated[str, Meta(min_length=1, max_length=64)]


class Need(Closed, frozen=True, kw_only=True):
    """A step that must have become that before this one starts."""

    step: _StepName
    on: On = "ok"


class Step(Closed, frozen=True, kw_only=True):
    """A job of a flow; `values` are those of its matrix, to be shown."""

    name: _StepName
    submit: StepWork
    needs: Maybe[Annotated[list[Need], Meta(max_length=1000)]] = UNSET
    values: Maybe[
        Annotated[dict[_Word, Annotated[str, Meta(max_length=256)]], Meta(max_length=16)]
    ] = UNSET


class FlowSubmission(Closed, frozen=True, kw_only=True):
    """Jobs that need each other: all of them or none. `env` is what they have in common."""

    name: Name
    steps: Annotated[list[Step], Meta(min_length=1, max_length=1000)]
    env: Maybe[_Env] = UNSET
    max_running: Maybe[MaxRunning] = UNSET
    hooks: Maybe[_Hooks] = UNSET
    idempotency_key: Maybe[Key] = UNSET


class NewSchedule(Closed, frozen=True, kw_only=True):
    """A job that is submitted again and again, at times of a calendar."""

    every: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="The five fields of crontab(5), @daily and the like, or `@every 10m`.",
            examples=["30 2 * * *"],
        ),
    ]
    submit: ScheduledWork
    zone: Maybe[
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=64,
                pattern=r"^[A-Za-z0-9][A-Za-z0-9._+/-]*$",
                examples=["Europe/Berlin"],
            ),
        ]
    ] = UNSET
    missed: Literal["skip", "once", "all"] = "once"
    overlap: Literal["allow", "skip"] = "allow"
    name: Maybe[Name] = UNSET
    paused: bool = False
