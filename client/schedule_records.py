"""What the daemon answers about schedules, as types: the shapes of docs/PROTOCOL.md.

Programs find these names in `client.records`, with what is answered about jobs.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip"]


class Scheduled(TypedDict):
    """A schedule that is there; `next_ns` None: it is paused, or never due again."""

    schedule: str
    paused: bool
    next_ns: int | None


class Schedule(TypedDict):
    """A schedule. `zone` None: the daemon's.

    `last_job` is its newest job, `last_ns` the time that it was for (None: somebody asked for it),
    `last_error` what the newest run was refused with, if it was. Counted are jobs, times that were
    refused, times that were passed over.
    """

    schedule: str
    name: str | None
    submitted_by_uid: int
    every: str
    zone: str | None
    missed: Missed
    overlap: Overlap
    paused: bool
    created_ns: int
    next_ns: int | None
    last_job: str | None
    last_ns: int | None
    last_error: str | None
    runs: int
    failed: int
    skipped: int
    argv: list[str | bytes]
    queue: str | None


class ScheduleStatus(Schedule):
    """The same with its next times, and with what it submits but for the environment."""

    next_times_ns: list[int]
    submit: dict[str, Any] | None


class ScheduleRun(TypedDict):
    """The job that a schedule was run as."""

    schedule: str
    job: str
