"""What the daemon answers about jobs, as types: the shapes of docs/PROTOCOL.md.

Programs find these names in `client.records`, with what is answered about the rest.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from client.options import (
    HookEvent,
    Limits,
    Logs,
    Net,
    Network,
    Reason,
    Retry,
    Sandbox,
    State,
    Text,
)
from client.queue_records import Because, Cause, Dependency, Promise  # noqa: TC001  the same

Fate = Literal["ok", "failed", "skipped"]


class AppliedNet(Net, total=False):
    """A private network as `status` gives it: `address` is the job's own, once it has one."""

    address: str | None


class Denied(TypedDict):
    """A system call that the job was refused, and how often."""

    syscall: str
    count: int


class ExecResult(TypedDict):
    """How a command ended that was executed in a job; `runctl exec` exits with `exit_status`.

    `exit_code` or `signal` is None, both when it could not be started: `detail` says why.
    """

    exit_code: int | None
    signal: int | None
    exit_status: int
    detail: str | None


class Usage(TypedDict):
    """What a running job uses; None for a figure that this kernel does not give."""

    cpu_usec: int | None
    memory_bytes: int | None
    memory_peak_bytes: int | None
    pids: int | None


class JobResult(TypedDict):
    """How a job ended. `exit_status` is what `runctl run` exits with.

    `denied` is None unless the sandbox asked for `report_denied`.
    """

    reason: Reason
    exit_code: int | None
    signal: int | None
    exit_status: int
    detail: str | None
    stopped_by_uid: int | None
    wall_ns: int | None
    cpu_usec: int | None
    cpu_user_usec: int | None
    cpu_system_usec: int | None
    memory_peak_bytes: int | None
    oom_kills: int | None
    pids_peak: int | None
    pids_max_hits: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    log_bytes: int | None
    log_dropped_bytes: int | None
    paused_ns: int | None
    throttled_usec: int | None
    memory_high_hits: int | None
    cpu_pressure_usec: int | None
    memory_pressure_usec: int | None
    io_pressure_usec: int | None
    denied: list[Denied] | None


class JobSummary(TypedDict):
    """A job as `list` gives it.

    `group` is the id of the array or flow that it is one of, `member` says which, `group_name` is
    what that one is called and `step` which step of a flow it is; all None for a job of no group.
    `fate` is what it counts as in its group, once it has ended.
    """

    job: str
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
    submitted_ns: int
    started_ns: int | None
    ended_ns: int | None
    result: JobResult | None
    queue: str
    priority: int
    attempt: int
    labels: dict[str, str]
    held_by_uid: int | None
    not_before_ns: int | None
    deadline_ns: int | None
    reserve: Promise
    waits_for: Cause | None
    group: str | None
    member: int | None
    group_name: NotRequired[str | None]
    step: NotRequired[str | None]
    fate: NotRequired[Fate | None]


class Attempt(TypedDict):
    """What became of an earlier attempt of a job; `started_ns` is None when it never ran."""

    attempt: int
    started_ns: int | None
    ended_ns: int
    result: JobResult


class HookRun(TypedDict):
    """The newest job that a hook was run as, and how it is."""

    job: str
    state: State
    result: JobResult | None


class ShownHook(TypedDict):
    """A hook as `status` gives it: of a command its first word, of an address its host.

    `number` is its place, from 0 on. `last` is None when it was not run yet, or is not kept.
    """

    number: NotRequired[int]
    on: list[HookEvent]
    command: Text | None
    host: str | None
    last: NotRequired[HookRun | None]


class JobStatus(JobSummary):
    """A job as `status` gives it."""

    retry: Retry | None
    after: list[Dependency]
    attempts: list[Attempt]
    idempotency_key: str | None
    limits: Limits
    logs: Logs
    sandbox: Sandbox
    net: AppliedNet
    usage: Usage | None
    hooks: list[ShownHook]


class Why(TypedDict):
    """What a job waits for, the reason that has to go away first coming first.

    `ahead` jobs come before it; `start_ns` is when it starts at the earliest, where that can be
    told. Both are None, and `because` is empty, for a job that does not wait. `result` is there
    once it has ended.
    """

    job: str
    state: State
    because: list[Because]
    ahead: int | None
    start_ns: int | None
    result: JobResult | None


class Location(TypedDict):
    """Where in a job's output that which was asked for begins, in absolute offsets.

    Read from `cursor`; what stdout has before `stdout`, and stderr before `stderr`, does not
    belong to it. `end` is where it ends now; all in the output of `attempt`.
    """

    cursor: int
    stdout: int
    stderr: int
    end: int
    attempt: NotRequired[int]
