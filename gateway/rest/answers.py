"""What is answered about jobs: the shapes of docs/PROTOCOL.md as JSON has them, for the document.

An answer is passed on as runnerd gave it; these types say what is in it, and a test that it is so.
Those about output and events are in `gateway.rest.answers_output`, about groups, schedules and the
host in `gateway.rest.answers_more`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from gateway.rest.kinds import HookEvent, Network, On, Open, Reason, State, Text

Id = Annotated[
    str, Meta(description="A full id, UUIDv4.", examples=["3f2a9c1e-5b7d-4e21-9a60-1c2d3e4f5a6b"])
]
Time = Annotated[
    int,
    Meta(description="Unix time in nanoseconds, a 64 bit integer.", examples=[1763810000123456789]),
]
Cause = Literal[
    "held", "dependency", "time", "no-queue", "queue-paused", "queue-cap", "group-cap",
    "quota-running", "quota-cpus", "quota-memory", "slots", "cpus", "memory", "reserved", "behind",
    "draining",
]  # fmt: skip
Fate = Literal["ok", "failed", "skipped"]
Cursor = Annotated[
    str,
    Meta(
        description="A place in a job's output: OFFSET, or ATTEMPT:OFFSET.",
        examples=["8211", "2:4096"],
    ),
]


class Submitted(Open, frozen=True, kw_only=True):
    """What became of a submission. `existing`: its key was known, and nothing new is queued."""

    job: Id
    state: State
    existing: bool


class Denied(Open, frozen=True, kw_only=True):
    """A system call that the job was refused, and how often."""

    syscall: str
    count: int


class JobResult(Open, frozen=True, kw_only=True):
    """How a job ended; `exit_status` is what a shell would say. Null: not known."""

    reason: Reason
    exit_status: int
    exit_code: int | None = None
    signal: int | None = None
    detail: str | None = None
    stopped_by_uid: int | None = None
    wall_ns: int | None = None
    cpu_usec: int | None = None
    cpu_user_usec: int | None = None
    cpu_system_usec: int | None = None
    memory_peak_bytes: int | None = None
    oom_kills: int | None = None
    pids_peak: int | None = None
    pids_max_hits: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    log_bytes: int | None = None
    log_dropped_bytes: int | None = None
    paused_ns: int | None = None
    throttled_usec: int | None = None
    memory_high_hits: int | None = None
    cpu_pressure_usec: int | None = None
    memory_pressure_usec: int | None = None
    io_pressure_usec: int | None = None
    denied: list[Denied] | None = None


class Promise(Open, frozen=True, kw_only=True):
    """What is promised: 1000 millicpus are one CPU."""

    millicpus: int
    memory_bytes: int


class JobSummary(Open, frozen=True, kw_only=True):
    """A job as a list gives it."""

    job: Id
    name: str | None
    state: State
    uid: int
    gid: int
    user: str
    submitted_by_uid: int
    argv: list[Text]
    cwd: Text
    network: Network
    pid: int | None
    submitted_ns: Time
    started_ns: Time | None
    ended_ns: Time | None
    result: JobResult | None
    queue: str
    priority: int
    attempt: int
    labels: dict[str, str]
    held_by_uid: int | None
    not_before_ns: Time | None
    deadline_ns: Time | None
    reserve: Promise
    waits_for: Cause | None
    group: Id | None
    member: int | None
    group_name: str | UnsetType | None = UNSET
    step: str | UnsetType | None = UNSET
    fate: Fate | UnsetType | None = UNSET


class Dependency(Open, frozen=True, kw_only=True):
    """A job that this one comes after; `met` once it has become that."""

    job: Id
    on: On
    met: bool
    step: str | UnsetType | None = UNSET


class Attempt(Open, frozen=True, kw_only=True):
    """What became of an earlier attempt; `started_ns` null: it never ran."""

    attempt: int
    started_ns: Time | None
    ended_ns: Time
    result: JobResult


class HookRun(Open, frozen=True, kw_only=True):
    """The newest job that a hook was run as."""

    job: Id
    state: State
    result: JobResult | None


class ShownHook(Open, frozen=True, kw_only=True):
    """A hook: of a command its first word, of an address its host."""

    on: list[HookEvent]
    command: Text | None
    host: str | None
    number: int | UnsetType = UNSET
    last: HookRun | UnsetType | None = UNSET


class Output(Open, frozen=True, kw_only=True):
    """The beginning of what an ended job wrote; `more` is where the rest is, null: that was all.

    `gap_bytes` of it are not kept any more, or are damaged.
    """

    stdout: Text
    stderr: Text
    attempt: int
    cursor: Cursor
    gap_bytes: int
    more: str | None


class JobStatus(JobSummary, frozen=True, kw_only=True):
    """A job. `output` is there once it has ended; what it uses now is asked by itself (`stats`)."""

    retry: dict[str, Any] | None
    after: list[Dependency]
    attempts: list[Attempt]
    idempotency_key: str | None
    limits: dict[str, Any]
    logs: dict[str, Any]
    sandbox: dict[str, Any]
    net: dict[str, Any]
    hooks: list[ShownHook]
    output: Output | UnsetType | None = UNSET


class Jobs(Open, frozen=True, kw_only=True):
    """A page of jobs, newest first. A page may be short, or empty, although more follow."""

    jobs: list[JobSummary]
    next_page_token: str | None


class Usage(Open, frozen=True, kw_only=True):
    """What a job uses now; null for a figure that this kernel does not give."""

    cpu_usec: int | None
    memory_bytes: int | None
    memory_peak_bytes: int | None
    pids: int | None


class Stats(Open, frozen=True, kw_only=True):
    """What a job uses (`usage`, while it runs or is paused) or has used (`result`, once ended)."""

    job: Id
    state: State
    attempt: int
    usage: Usage | None
    result: JobResult | None


class JobState(Open, frozen=True, kw_only=True):
    """The state of a job after what was asked."""

    job: Id
    state: State


class Stopped(Open, frozen=True, kw_only=True):
    """`state` is what the job was found in: one that ran was asked to end, and ends soon."""

    job: Id
    state: State


class StoppedMany(Open, frozen=True, kw_only=True):
    """How many jobs were stopped, or would be; of these queued and running; the first ids."""

    jobs: int
    queued: int
    running: int
    ids: list[Id]


class Updated(JobState, frozen=True, kw_only=True):
    """The limits that apply now, and the priority."""

    limits: dict[str, Any]
    priority: int


class Moved(Open, frozen=True, kw_only=True):
    """Where a job waits now."""

    job: Id
    queue: str
    priority: int


class Retried(JobState, frozen=True, kw_only=True):
    """A job that runs once more, as the attempt of this number."""

    attempt: int


class Removed(Open, frozen=True, kw_only=True):
    """What is not there any more."""

    job: Id


class GroupCap(Open, frozen=True, kw_only=True):
    """The group that bounds how many of its jobs run at once."""

    group: Id
    kind: str
    max_running: int | None
    running: int


class Because(Open, frozen=True, kw_only=True):
    """One thing that a job waits for, with units of its cause."""

    cause: Cause
    needs: int | None
    free: int | None
    on: list[Id]
    kinds: list[On]
    until_ns: Time | None
    kept: Promise | UnsetType | None = UNSET
    group: GroupCap | UnsetType | None = UNSET


class Why(JobState, frozen=True, kw_only=True):
    """What a job waits for, what has to go away first coming first; or why it ended."""

    because: list[Because]
    ahead: int | None
    start_ns: Time | None
    result: JobResult | None
