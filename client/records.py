"""What the daemon answers, as types: the shapes of docs/PROTOCOL.md, nothing computed.

Those about the daemon and its host are here. Those of a submission (`client.options`), of jobs
(`client.job_records`), groups (`client.group_records`), the queue (`client.queue_records`),
schedules (`client.schedule_records`) and totals (`client.stats_records`) are to be had here, too.
Text that comes from the operating system is `str`, or `bytes` when it is not UTF-8;
`client.protocol.to_text` makes one of both. Times are Unix time in nanoseconds.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from client.group_records import (
    ChangedGroup,
    FailedMember,
    GroupCounts,
    GroupEnd,
    GroupEntry,
    GroupKind,
    GroupState,
    GroupStatus,
    GroupSummary,
    HeldGroup,
    Member,
    Need,
    Step,
    StoppedGroup,
    SubmittedGroup,
    UpdatedGroup,
)
from client.job_records import (
    AppliedNet,
    Attempt,
    Denied,
    ExecResult,
    Fate,
    HookRun,
    JobResult,
    JobStatus,
    JobSummary,
    Location,
    ShownHook,
    Usage,
    Why,
)
from client.options import (
    After,
    Bind,
    Environment,
    Hook,
    HookEvent,
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
    GroupCap,
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
from client.stats_records import Histogram, Stats, StoreStats

__all__ = [
    "After",
    "AppliedNet",
    "Attempt",
    "Because",
    "Bind",
    "Capacity",
    "Cause",
    "ChangedGroup",
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
    "FailedMember",
    "Fate",
    "Feature",
    "GroupCap",
    "GroupCounts",
    "GroupEnd",
    "GroupEntry",
    "GroupKind",
    "GroupState",
    "GroupStatus",
    "GroupSummary",
    "HeldGroup",
    "Hello",
    "Histogram",
    "Hook",
    "HookEvent",
    "HookRun",
    "IoLimit",
    "JobResult",
    "JobStatus",
    "JobSummary",
    "Limits",
    "Location",
    "Logs",
    "Member",
    "Missed",
    "Moved",
    "Need",
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
    "ShownHook",
    "State",
    "Stats",
    "Step",
    "StoppedGroup",
    "StoppedMany",
    "StoreStats",
    "Submitted",
    "SubmittedGroup",
    "Text",
    "Tmpfs",
    "UpdatedGroup",
    "Usage",
    "Why",
]


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


class Launcher(TypedDict):
    """Which launcher runs jobs that need nothing special; `why`, where it is the slower one."""

    kind: Literal["native", "python"]
    why: str | None


class Doctor(TypedDict):
    """What `doctor` answers."""

    server: str
    kernel: str
    cgroup_root: str
    state_dir: str
    jobs: dict[str, int]
    draining: bool
    launcher: Launcher
    disk: Disk
    problems: list[Problem]
    features: list[Feature]


class Drained(TypedDict):
    """What `drain` answers: whether jobs are not taken, and how many run and wait."""

    draining: bool
    running: int
    queued: int


class GatewayIdentity(TypedDict):
    """Whom a gateway takes us for: certificate, local user, and what the two may.

    `not_after` is the certificate's end, Unix seconds; `queues` and `names` are patterns of those
    that may be asked for, None: all.
    """

    server: str
    subject: str
    serial: str
    not_after: int
    user: str
    roles: list[str]
    operations: list[str]
    queues: list[str] | None
    names: list[str] | None


class Hello(TypedDict):
    """The daemon's greeting; `gateway` is there when one is between."""

    protocol: int
    server: str
    features: list[str]
    gateway: NotRequired[GatewayIdentity]
    uid: int
    admin: bool
    draining: bool
    max_frame_bytes: int
