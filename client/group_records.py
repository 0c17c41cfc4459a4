"""What is asked and answered about groups, as types: the shapes of docs/PROTOCOL.md.

A group is an array or a flow: jobs that were submitted as one thing. Programs find these names in
`client.records`, with what is answered about jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  typing.get_type_hints looks for it
from typing import Any, Literal, NotRequired, TypedDict

from client.job_records import JobResult, JobSummary, ShownHook
from client.options import On, Text  # noqa: TC001  the same

GroupKind = Literal["array", "flow"]
GroupState = Literal["queued", "running", "ended"]


class Need(TypedDict):
    """A step that another one comes after, and what has to have become of it (default "ok")."""

    step: str
    on: NotRequired[On]


class Step(TypedDict):
    """A job of a flow; `submit` are the fields of a submission (docs/PROTOCOL.md, `submit`).

    `client.submission.build_submission` makes them. `values` are those of its matrix, to be shown.
    """

    name: str
    submit: Mapping[str, Any]
    needs: NotRequired[Sequence[Need]]
    values: NotRequired[Mapping[str, str]]


class SubmittedGroup(TypedDict):
    """What became of it. `existing`: its key was known, and nothing new is queued."""

    group: str
    kind: GroupKind
    jobs: int
    existing: bool


class GroupCounts(TypedDict):
    """How many jobs are in which state; of those that have ended, how.

    `skipped`: a job of a flow that was to come after another of it, which did not become what it
    had to. `removed`: it is not there any more, and may have been any of these.
    """

    queued: int
    starting: int
    running: int
    paused: int
    ok: int
    failed: int
    skipped: int
    removed: int


class GroupSummary(TypedDict):
    """A group without its jobs.

    `state` "queued": none has started. `ok` is None until it has ended. `size` is how many jobs it
    was submitted with, `first` and `last` are the lowest and highest `member`. `argv` is that of an
    array's jobs, empty of a flow.
    """

    group: str
    kind: GroupKind
    name: str | None
    state: GroupState
    ok: bool | None
    size: int
    max_running: int | None
    submitted_by_uid: int
    user: str
    submitted_ns: int
    ended_ns: int | None
    queue: str | None
    argv: list[Text]
    counts: GroupCounts
    first: int
    last: int


class Member(JobSummary):
    """A job of a group, with what a flow says of its step; of an array both are empty."""

    values: dict[str, str]
    needs: list[Need]


class GroupStatus(GroupSummary):
    """A group with its hooks and one page of its jobs; `next` is the `after` of the following."""

    hooks: NotRequired[list[ShownHook]]
    members: list[Member]
    next: int | None


class FailedMember(TypedDict):
    """The first job of a group, by `member`, that failed."""

    job: str
    name: str | None
    member: int
    result: JobResult


class GroupEnd(GroupSummary):
    """What `wait_group` gives; `failed` is None when nothing did, or its job is not kept."""

    failed: FailedMember | None


class GroupEntry(TypedDict):
    """A group in a list of jobs."""

    group_summary: GroupSummary


class StoppedGroup(TypedDict):
    """How many jobs of a group were stopped; of these queued and running."""

    group: str
    jobs: int
    queued: int
    running: int


class ChangedGroup(TypedDict):
    """How many jobs of a group are queued again, or were removed."""

    group: str
    jobs: int


class HeldGroup(TypedDict):
    """How many jobs of a group are held now, or no longer."""

    group: str
    jobs: int
    held: bool


class UpdatedGroup(TypedDict):
    """How many jobs run at once at most (None: no bound); how many have another priority."""

    group: str
    max_running: int | None
    jobs: int
