"""What may stand behind the `?` of each address, and the small bodies of what is done to things.

Closed as all requests are: a parameter that a route does not know is refused, so that a slip of the
pen does not stop every job. Defaults are part of the OpenAPI document.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from gateway.rest.kinds import (
    LARGEST,
    Closed,
    GroupRef,
    JobRef,
    MaxRunning,
    Maybe,
    Name,
    Priority,
    Seconds,
    State,
    UnixNs,
    User,
)
from gateway.rest.kinds import Grace as _Grace
from gateway.rest.limits import Limits  # noqa: TC001  msgspec looks it up

MOST_WAIT_SECONDS = 60
MOST_PAGE_BYTES = 4 * 1024 * 1024
_Offset = Annotated[int, Meta(ge=0, le=LARGEST)]
_Attempt = Annotated[int, Meta(ge=1, le=1_000_000)]
_UserName = Annotated[
    str, Meta(min_length=1, max_length=256, description="Who submitted them: a name or a uid.")
]
_Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[ -~]*$",
        description="A shell pattern of names, fnmatch(3).",
        examples=["nightly-*"],
    ),
]
_Label = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=321,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}(=[ -~]*)?$",
        description="NAME=VALUE, or NAME for any value; may be repeated.",
    ),
]
_Token = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="`next_page_token` of the page before; opaque.",
        pattern=r"^[A-Za-z0-9_-]+$",
    ),
]
_Limit = Annotated[int, Meta(ge=1, le=1000, description="At most so many of them.")]
_Cursor = Annotated[
    str,
    Meta(
        pattern=r"^([0-9]{1,7}:)?[0-9]{1,19}$",
        description="From there on: OFFSET, or ATTEMPT:OFFSET, as an answer gave it.",
        examples=["8211", "2:4096"],
    ),
]


class NoQuery(Closed, frozen=True, kw_only=True):
    """No parameters."""


class Which(Closed, frozen=True, kw_only=True):
    """Which jobs are meant; all that is given must hold."""

    state: Annotated[list[State], Meta(max_length=5)] = field(default_factory=list)
    queue: Name | UnsetType = UNSET
    name: _Pattern | UnsetType = UNSET
    label: Annotated[list[_Label], Meta(max_length=32)] = field(default_factory=list)
    user: _UserName | UnsetType = UNSET
    group: GroupRef | UnsetType = UNSET


class ListQuery(Which, frozen=True, kw_only=True):
    """A page of jobs; `since_ns` and `until_ns` bound when they were submitted."""

    since_ns: UnixNs | UnsetType = UNSET
    until_ns: UnixNs | UnsetType = UNSET
    limit: _Limit = 100
    page_token: _Token | UnsetType = UNSET


class StopQuery(Closed, frozen=True, kw_only=True):
    """How it is ended."""

    grace_seconds: _Grace | UnsetType = UNSET
    kill: Annotated[bool, Meta(description="SIGKILL at once.")] = False


class StopManyQuery(Which, frozen=True, kw_only=True):
    """Which jobs are ended, and how. Without any all that have not ended."""

    grace_seconds: _Grace | UnsetType = UNSET
    kill: Annotated[bool, Meta(description="SIGKILL at once.")] = False
    dry_run: Annotated[bool, Meta(description="Only count.")] = False
    expect: (
        Annotated[
            int, Meta(ge=0, le=2**53, description="Stop nothing unless it is exactly so many.")
        ]
        | UnsetType
    ) = UNSET


class JobQuery(Closed, frozen=True, kw_only=True):
    """How much of the output of an ended job is shown with it."""

    output_bytes: Annotated[int, Meta(ge=0, le=1024 * 1024)] = 65536


class WaitQuery(Closed, frozen=True, kw_only=True):
    """How long to wait."""

    timeout_seconds: Annotated[float, Meta(ge=0, le=MOST_WAIT_SECONDS)] = 30.0


class LogsQuery(Closed, frozen=True, kw_only=True):
    """Which part of the output, and whether to follow it.

    Without `attempt` and cursor it is that of the newest attempt that has begun. `stream`: of that
    one alone.
    """

    cursor: _Cursor | UnsetType = UNSET
    attempt: _Attempt | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MOST_PAGE_BYTES, description="Bytes of a page.")] = 262144
    until_ns: UnixNs | UnsetType = UNSET
    stream: Literal["stdout", "stderr"] | UnsetType = UNSET
    follow: Annotated[
        bool, Meta(description="Go on while the job runs, as a stream without a limit.")
    ] = False
    format: (
        Annotated[
            Literal["json", "jsonl", "sse", "raw"],
            Meta(description="Instead of the header Accept."),
        ]
        | UnsetType
    ) = UNSET


class LocateQuery(Closed, frozen=True, kw_only=True):
    """What to look for in a job's output: its last lines, or what was written since a time."""

    lines: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType = UNSET
    since_ns: UnixNs | UnsetType = UNSET
    until_ns: UnixNs | UnsetType = UNSET
    stream: Literal["stdout", "stderr"] | UnsetType = UNSET
    attempt: _Attempt | UnsetType = UNSET


class EventsQuery(Closed, frozen=True, kw_only=True):
    """Events after number `since` (0: from the first that is kept; none: from now on)."""

    since: _Offset | UnsetType = UNSET
    job: JobRef | UnsetType = UNSET
    limit: _Limit = 1000
    follow: Annotated[bool, Meta(description="Go on as a stream without a limit.")] = False
    format: (
        Annotated[
            Literal["json", "jsonl", "sse"], Meta(description="Instead of the header Accept.")
        ]
        | UnsetType
    ) = UNSET


class GroupsQuery(Closed, frozen=True, kw_only=True):
    """A page of groups: those with jobs that have not ended, or with `ended` all."""

    ended: bool = False
    queue: Name | UnsetType = UNSET
    user: _UserName | UnsetType = UNSET
    limit: _Limit = 100
    page_token: _Token | UnsetType = UNSET


class MembersQuery(Closed, frozen=True, kw_only=True):
    """Which jobs of a group are shown with it."""

    limit: Annotated[int, Meta(ge=0, le=1000)] = 100
    page_token: _Token | UnsetType = UNSET


class SchedulesQuery(Closed, frozen=True, kw_only=True):
    """A page of schedules."""

    limit: _Limit = 100
    page_token: _Token | UnsetType = UNSET


class Nothing(Closed, frozen=True, kw_only=True):
    """No fields; the body may be left out."""


class JobChange(Closed, frozen=True, kw_only=True):
    """What changes of a job: limits (null lifts one) and, while it is queued, its priority."""

    limits: Limits | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET


class Move(Closed, frozen=True, kw_only=True):
    """Where a queued job waits: before all of its user's, before one of these, in another queue."""

    top: Maybe[bool] = UNSET
    before: Maybe[JobRef] = UNSET
    queue: Maybe[Name] = UNSET


class GroupChange(Closed, frozen=True, kw_only=True):
    """What changes of a group: how many run at once (null: no bound), its queued ones' priority."""

    max_running: MaxRunning | UnsetType | None = UNSET
    priority: Priority | UnsetType = UNSET


class QueueChange(Closed, frozen=True, kw_only=True):
    """What changes of a queue; `max_running` null: as runnerd's configuration says."""

    paused: bool | UnsetType = UNSET
    max_running: Annotated[int, Meta(ge=0, le=2**31)] | UnsetType | None = UNSET


class Prune(Closed, frozen=True, kw_only=True):
    """Which ended jobs are removed with their output: all, old ones, all but the newest."""

    older_than_seconds: Maybe[Seconds] = UNSET
    keep: Maybe[Annotated[int, Meta(ge=0, le=2**53)]] = UNSET
    user: Maybe[User] = UNSET
    everybody: bool = False
    dry_run: bool = False


class Drain(Closed, frozen=True, kw_only=True):
    """Take and start no more jobs, or with `cancel` do so again.

    It is answered when none runs any more or `timeout_seconds` have passed; ask again with `begin`
    false to go on waiting.
    """

    timeout_seconds: Annotated[float, Meta(ge=0, le=MOST_WAIT_SECONDS)] = 0.0
    stop: Annotated[bool, Meta(description="Then stop the jobs that run.")] = False
    cancel: bool = False
    begin: bool = True
