"""What the daemon answers, as types: the shapes of docs/PROTOCOL.md, nothing computed.

Those of a submission (`client.options`), of the queue (`client.queue_records`) and of schedules
(`client.schedule_records`) are to be had here too. Text that comes from the operating system is
`str`, or `bytes` when it is not UTF-8; `client.protocol.to_text` makes one of both. Times are Unix
time in nanoseconds.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from client.options import (
    After,
    Bind,
    Environment,
    IoLimit,
    Limits,
    Logs,
    Net,
    Network,
    On,
    Publish,
    Reason,
    Reserve,
    Retry,
    RetryRule,
    Sandbox,
    Secret,
    State,
    Text,
    Tmpfs,
)
from client.queue_records import (
    Because,
    Capacity,
    Cause,
    Dependency,
    Event,
    EventGap,
    Moved,
    OwnUse,
    Promise,
    Promised,
    Queue,
    Queues,
    QueueSetting,
    Quota,
    Retried,
    Selection,
    StoppedMany,
    Submitted,
)
from client.schedule_records import (
    Missed,
    Overlap,
    Schedule,
    Scheduled,
    ScheduleRun,
    ScheduleStatus,
)

__all__ = [
    "After",
    "AppliedNet",
    "Attempt",
    "Because",
    "Bind",
    "Capacity",
    "Cause",
    "Denied",
    "Dependency",
    "Disk",
    "DiskUse",
    "Doctor",
    "Drained",
    "Environment",
    "Event",
    "EventGap",
    "ExecResult",
    "Feature",
    "Hello",
    "IoLimit",
    "JobResult",
    "JobStatus",
    "JobSummary",
    "Limits",
    "Location",
    "Logs",
    "Missed",
    "Moved",
    "Net",
    "Network",
    "On",
    "Overlap",
    "OwnUse",
    "Problem",
    "Promise",
    "Promised",
    "Pruned",
    "Publish",
    "Queue",
    "QueueSetting",
    "Queues",
    "Quota",
    "Reason",
    "Reserve",
    "Retried",
    "Retry",
    "RetryRule",
    "Sandbox",
    "Schedule",
    "ScheduleRun",
    "ScheduleStatus",
    "Scheduled",
    "Secret",
    "Selection",
    "State",
    "StoppedMany",
    "Submitted",
    "Text",
    "Tmpfs",
    "Usage",
    "Why",
]


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
    """A job as `list` gives it."""

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


class Attempt(TypedDict):
    """What became of an earlier attempt of a job; `started_ns` is None when it never ran."""

    attempt: int
    started_ns: int | None
    ended_ns: int
    result: JobResult


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


class Feature(TypedDict):
    """One thing that the host can or cannot enforce."""

    name: str
    status: Literal["enforced", "unavailable"]
    why: str | None
    remedy: str | None


class DiskUse(TypedDict):
    """What a user's jobs take on the disk of the state directory, their output above all."""

    uid: int
    user: str
    jobs: int
    bytes: int


class Disk(TypedDict):
    """The disk of the state directory: its size, what is free, and who takes how much.

    `jobs_bytes` and `users` are of everybody for an admin (of users those who take most), else
    of the peer alone, and `store_bytes` is None then. A disk may have 0 `inodes`, for as many
    as it has room for.
    """

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int
    store_bytes: int | None
    jobs_bytes: int
    users: list[DiskUse]


class Pruned(TypedDict):
    """How many jobs were removed, or would be; what they took on the disk; the first 1,000 ids."""

    jobs: int
    bytes: int
    removed: list[str]


class Problem(TypedDict):
    """Something that is wrong since the daemon began; `job` is whose, if it is of one."""

    text: str
    job: str | None


class Doctor(TypedDict):
    """What `doctor` answers."""

    server: str
    kernel: str
    cgroup_root: str
    state_dir: str
    jobs: dict[str, int]
    draining: bool
    disk: Disk
    problems: list[Problem]
    features: list[Feature]


class Drained(TypedDict):
    """What `drain` answers: whether jobs are not taken, and how many run and wait."""

    draining: bool
    running: int
    queued: int


class Hello(TypedDict):
    """The daemon's greeting."""

    protocol: int
    server: str
    features: list[str]
    uid: int
    admin: bool
    draining: bool
    max_frame_bytes: int
