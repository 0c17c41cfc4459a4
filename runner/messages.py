"""The schema of every request: closed, typed, bounded (docs/PROTOCOL.md).

The verbs are here but for the queue's, which are in `runner.message_queue`; limits and
surroundings in `runner.message_limits` and `runner.message_sandbox`, reading them from what the
wire brought in `runner.parsing`.
Whether a user or a directory exists is asked in `runner.submission`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from client import protocol
from runner.message_hooks import Hooks  # noqa: TC001 - msgspec looks it up
from runner.message_kinds import Closed, JobRef, Name, Number, OsText, User
from runner.message_limits import LimitsRequest, LimitsUpdate
from runner.message_logs import LogsRequest
from runner.message_queue import (
    MOST_DEPENDENCIES,
    AfterRequest,
    IdempotencyKey,
    Labels,
    Priority,
    ReserveRequest,
    RetryRequest,
    Select,
    UnixTime,
)
from runner.message_sandbox import NetRequest, SandboxRequest
from runner.refusal import shown

_Group = (
    Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="a group's name, or a number from 0 to 4294967294",
        ),
    ]
    | Number
)


class ActFor(Closed, frozen=True):
    """For whom the gateway asks on a connection. `origin` says who it is there, for our log."""

    user: User
    origin: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            pattern=r"\A[\x20-\x7e]*\Z",
            description="1 to 256 printable ASCII characters",
        ),
    ]


class Hello(Closed, frozen=True):
    """The first request of a connection."""

    protocol: int
    client: Annotated[str, Meta(max_length=128)] = ""
    act_for: ActFor | None = None


class Submit(Closed, frozen=True):
    """A job."""

    argv: Annotated[list[OsText], Meta(min_length=1, max_length=protocol.MAX_ARGUMENTS)]
    cwd: OsText
    env: dict[bytes, bytes] = {}
    name: Name | None = None
    umask: Annotated[int, Meta(ge=0, le=0o777)] = 0o022
    network: (
        Annotated[Literal["none", "host", "private"], Meta(description="none, host or private")]
        | None
    ) = None
    net: NetRequest = NetRequest()
    user: User | None = None
    group: _Group | None = None
    limits: LimitsRequest = LimitsRequest()
    logs: LogsRequest = LogsRequest()
    sandbox: SandboxRequest = SandboxRequest()
    queue: Name | None = None
    priority: Priority = 0
    labels: Labels = {}
    after: Annotated[list[AfterRequest], Meta(max_length=MOST_DEPENDENCIES)] = []
    # Not both of a pair: a time, or so long from now.
    not_before_ns: UnixTime | None = None
    delay_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None
    deadline_ns: UnixTime | None = None
    deadline_seconds: Annotated[float, Meta(ge=0.001, le=315_360_000)] | None = None
    hold: bool = False
    retry: RetryRequest | None = None
    reserve: ReserveRequest = ReserveRequest()
    idempotency_key: IdempotencyKey | None = None
    hooks: Hooks = []

    def __repr__(self) -> str:
        """The size of the environment, never what is in it."""
        return f"Submit(argv={shown(self.argv)}, env of {len(self.env)} names)"


class List(Closed, frozen=True):
    """One page of jobs, newest first: those that have not ended, or as `select` says.

    `collapse`: of the jobs of a group that are meant one line, where the newest of them would be.
    """

    ended: bool = False
    collapse: bool = False
    select: Select = Select()
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    before: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class Status(Closed, frozen=True):
    """One job."""

    job: JobRef


_Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Attempt = Annotated[int, Meta(ge=1, le=1_000_000)]


class Logs(Closed, frozen=True):
    """A job's output from a cursor on, up to what was written after `until_ns` (Unix time)."""

    job: JobRef
    cursor: _Offset = 0
    follow: bool = False
    until_ns: _Time | None = None
    attempt: _Attempt | None = None
    credit: Annotated[int, Meta(ge=0, le=1024)] = 16


class Locate(Closed, frozen=True):
    """Where in a job's output the last `lines` begin, and what was written since a time.

    Lines are those of `streams` alone. `since_ns` and `until_ns` are Unix time.
    """

    job: JobRef
    lines: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    since_ns: _Time | None = None
    until_ns: _Time | None = None
    streams: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=2)], ...],
        Meta(min_length=1, max_length=2, description="1 (stdout), 2 (stderr) or both"),
    ] = (1, 2)
    attempt: _Attempt | None = None


class Exec(Closed, frozen=True):
    """Another command inside a job that runs; `env` over the job's own, or alone."""

    job: JobRef
    argv: Annotated[list[OsText], Meta(min_length=1, max_length=protocol.MAX_ARGUMENTS)]
    env: dict[bytes, bytes] = {}
    clean_env: bool = False
    cwd: OsText | None = None
    credit: Annotated[int, Meta(ge=0, le=1024)] = 16

    def __repr__(self) -> str:
        """The size of the environment, never what is in it."""
        return f"Exec(argv={shown(self.argv)}, env of {len(self.env)} names)"


class Stop(Closed, frozen=True):
    """End a job: SIGTERM, and SIGKILL after the grace."""

    job: JobRef
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    kill: bool = False


class Wait(Closed, frozen=True):
    """Answer when the job has ended."""

    job: JobRef
    timeout_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None


class Remove(Closed, frozen=True):
    """Forget an ended job and its output."""

    job: JobRef


class Prune(Closed, frozen=True):
    """Remove ended jobs: all of them, or those that are old, or all but the newest.

    Of the peer; an admin may name another `user`, or ask for `everybody`'s.
    """

    older_than_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None
    keep: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    user: User | None = None
    everybody: bool = False
    dry_run: bool = False


class Drain(Closed, frozen=True):
    """Take and start no more jobs, and answer when none runs or the time has passed.

    `stop`: those that run then are stopped. `cancel`: take jobs again instead. Without `begin`:
    only wait, for as long as the daemon is being drained.
    """

    timeout_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None
    stop: bool = False
    cancel: bool = False
    begin: bool = True


class Update(Closed, frozen=True):
    """Change limits of a job, and the priority of one that is queued: all of it or none."""

    job: JobRef
    limits: LimitsUpdate = LimitsUpdate()
    priority: Priority | UnsetType = UNSET


class Pause(Closed, frozen=True):
    """Freeze a job; its timeout stands still."""

    job: JobRef


class Resume(Closed, frozen=True):
    """Let a paused job go on."""

    job: JobRef


class Doctor(Closed, frozen=True):
    """What this host can enforce."""


class Stats(Closed, frozen=True):
    """What a monitoring system wants to know of the daemon, in totals."""


class Credit(Closed, frozen=True):
    """Let a stream send more events."""

    events: Annotated[int, Meta(ge=1, le=1024)]


class Cancel(Closed, frozen=True):
    """End a stream or a wait."""


class Signal(Closed, frozen=True):
    """Send a signal to the command of an exec."""

    signal: Annotated[int, Meta(ge=1, le=64)]
