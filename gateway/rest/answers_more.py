"""What is answered about groups, schedules, queues and the host, for the OpenAPI document.

As `gateway.rest.answers`: runnerd's answers are passed on, and these types say what is in them.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from gateway.rest.answers import Id, JobResult, JobSummary, ShownHook, Time
from gateway.rest.kinds import On, Open, Text

GroupKind = Literal["array", "flow"]


class SubmittedGroup(Open, frozen=True, kw_only=True):
    """What became of it. `existing`: its key was known, and nothing new is queued."""

    group: Id
    kind: GroupKind
    jobs: int
    existing: bool


class GroupCounts(Open, frozen=True, kw_only=True):
    """How many jobs are in which state; of those that have ended, how."""

    queued: int
    starting: int
    running: int
    paused: int
    ok: int
    failed: int
    skipped: int
    removed: int


class GroupSummary(Open, frozen=True, kw_only=True):
    """An array or a flow without its jobs. `ok` is null until it has ended."""

    group: Id
    kind: GroupKind
    name: str | None
    state: Literal["queued", "running", "ended"]
    ok: bool | None
    size: int
    max_running: int | None
    submitted_by_uid: int
    user: str
    submitted_ns: Time
    ended_ns: Time | None
    queue: str | None
    argv: list[Text]
    counts: GroupCounts
    first: int
    last: int


class Groups(Open, frozen=True, kw_only=True):
    """A page of groups, newest first. A page may be short, or empty, although more follow."""

    groups: list[GroupSummary]
    next_page_token: str | None


class ShownNeed(Open, frozen=True, kw_only=True):
    """A step that another one comes after."""

    step: str
    on: On = "ok"


class Member(JobSummary, frozen=True, kw_only=True):
    """A job of a group, with what a flow says of its step."""

    values: dict[str, str]
    needs: list[ShownNeed]


class GroupStatus(GroupSummary, frozen=True, kw_only=True):
    """A group with one page of its jobs."""

    members: list[Member]
    next_page_token: str | None
    hooks: list[ShownHook] | UnsetType = UNSET


class FailedMember(Open, frozen=True, kw_only=True):
    """The first job of a group that failed."""

    job: Id
    name: str | None
    member: int
    result: JobResult


class GroupEnd(GroupSummary, frozen=True, kw_only=True):
    """A group that has ended, or as it is when the time has passed."""

    failed: FailedMember | None


class StoppedGroup(Open, frozen=True, kw_only=True):
    """How many jobs of a group were stopped; of these queued and running."""

    group: Id
    jobs: int
    queued: int
    running: int


class ChangedGroup(Open, frozen=True, kw_only=True):
    """How many jobs of a group are queued again, or were removed."""

    group: Id
    jobs: int


class HeldGroup(ChangedGroup, frozen=True, kw_only=True):
    """How many jobs of a group are held now, or no longer."""

    held: bool


class UpdatedGroup(ChangedGroup, frozen=True, kw_only=True):
    """How many of it run at once at most (null: no bound); how many have another priority."""

    max_running: int | None


class Scheduled(Open, frozen=True, kw_only=True):
    """A schedule that is there; `next_ns` null: it is paused, or never due again."""

    schedule: Id
    paused: bool
    next_ns: Time | None


class Schedule(Open, frozen=True, kw_only=True):
    """A schedule. `zone` null: runnerd's. `last_error`: what the newest run was refused with."""

    schedule: Id
    name: str | None
    submitted_by_uid: int
    every: str
    zone: str | None
    missed: Literal["skip", "once", "all"]
    overlap: Literal["allow", "skip"]
    paused: bool
    created_ns: Time
    next_ns: Time | None
    last_job: Id | None
    last_ns: Time | None
    last_error: str | None
    runs: int
    failed: int
    skipped: int
    argv: list[Text]
    queue: str | None


class ScheduleStatus(Schedule, frozen=True, kw_only=True):
    """The same with its next times, and with what it submits but for the environment."""

    next_times_ns: list[Time]
    submit: dict[str, Any] | None


class Schedules(Open, frozen=True, kw_only=True):
    """A page of schedules, the oldest first."""

    schedules: list[Schedule]
    next_page_token: str | None


class ScheduleRun(Open, frozen=True, kw_only=True):
    """The job that a schedule was run as."""

    schedule: Id
    job: Id


class ScheduleRemoved(Open, frozen=True, kw_only=True):
    """A schedule that is not there any more."""

    schedule: Id


class Queue(Open, frozen=True, kw_only=True):
    """A queue. `allowed` and `max_priority` are about whoever asks; `max_running` null: no cap."""

    name: str
    priority: int
    max_running: int | None
    paused: bool
    allowed: bool
    max_priority: int
    queued: int
    running: int


class Capacity(Open, frozen=True, kw_only=True):
    """How many jobs may run at once, and what they may be promised together."""

    slots: int
    millicpus: int
    memory_bytes: int


class Promised(Open, frozen=True, kw_only=True):
    """How many jobs are under way, and what they are promised together."""

    jobs: int
    millicpus: int
    memory_bytes: int


class OwnUse(Open, frozen=True, kw_only=True):
    """What waits and runs of whoever asks."""

    queued: int
    running: int
    millicpus: int
    memory_bytes: int


class Quota(Open, frozen=True, kw_only=True):
    """What whoever asks may have at most; null: no bound."""

    max_queued: int | None
    max_running: int | None
    max_millicpus: int | None
    max_memory_bytes: int | None
    max_log_bytes: int | None


class Queues(Open, frozen=True, kw_only=True):
    """Every queue, the capacity, what is promised of it, and what one's own part is."""

    queues: list[Queue]
    capacity: Capacity
    promised: Promised
    own: OwnUse
    quota: Quota


class QueueSetting(Open, frozen=True, kw_only=True):
    """What a queue is set to now."""

    name: str
    paused: bool
    max_running: int | None


class Pruned(Open, frozen=True, kw_only=True):
    """How many jobs were removed, or would be; what they took on the disk; the first ids."""

    jobs: int
    bytes: int
    removed: list[Id]


class Drained(Open, frozen=True, kw_only=True):
    """Whether jobs are not taken, and how many run and wait."""

    draining: bool
    running: int
    queued: int


class DiskUse(Open, frozen=True, kw_only=True):
    """What a user's jobs take on the disk of the state directory."""

    uid: int
    user: str
    jobs: int
    bytes: int


class Disk(Open, frozen=True, kw_only=True):
    """The disk of the state directory; `jobs_bytes` and `users` of whoever asks."""

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int
    store_bytes: int | None
    jobs_bytes: int
    users: list[DiskUse]


class Trouble(Open, frozen=True, kw_only=True):
    """Something that is wrong since runnerd began; `job` is whose, if it is of one."""

    text: str
    job: str | None


class Launcher(Open, frozen=True, kw_only=True):
    """Which launcher runs jobs that need nothing special; `why`, where it is the slower one."""

    kind: str
    why: str | None


class Feature(Open, frozen=True, kw_only=True):
    """One thing that the host can or cannot enforce, with the remedy."""

    name: str
    status: Literal["enforced", "unavailable"]
    why: str | None
    remedy: str | None


class Doctor(Open, frozen=True, kw_only=True):
    """What runnerd's host can enforce, and what is wrong."""

    server: str
    kernel: str
    cgroup_root: str
    state_dir: str
    jobs: dict[str, int]
    draining: bool
    launcher: Launcher
    disk: Disk
    problems: list[Trouble]
    features: list[Feature]


class WhoAmI(Open, frozen=True, kw_only=True):
    """Whom the certificate stands for here, and what that may do."""

    subject: str
    serial: str
    user: str
    roles: list[str]


class Health(Open, frozen=True, kw_only=True):
    """Whether the gateway reaches runnerd."""

    status: Literal["ok", "unavailable"]
    detail: str | None
