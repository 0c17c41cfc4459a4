"""What a request may ask about schedules. Fields, units and bounds.

What is to be run comes as the fields of a submission, which are read as such
(`runner.schedule_template`); when it is due is `runner.scheduling.calendar`'s to read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from runner.message_kinds import Closed, Name
from runner.scheduling.calendar import MOST_CHARS

ScheduleRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="a schedule's id, 4 or more characters of one, or its name",
    ),
]
_Every = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MOST_CHARS,
        description=f"the five fields of crontab(5), at most {MOST_CHARS} characters",
    ),
]
_Zone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+/-]*\Z",
        description="the name of a time zone, such as Europe/Berlin or UTC",
    ),
]
_Missed = Annotated[Literal["skip", "once", "all"], Meta(description="skip, once or all")]
_Overlap = Annotated[Literal["allow", "skip"], Meta(description="allow or skip")]


class MakeSchedule(Closed, frozen=True):
    """Submit a job again and again, at times of a calendar.

    `zone` None: the daemon's. `missed` says what becomes of times that pass while nothing could be
    run, `overlap` what becomes of one at which the run before has not ended.
    """

    every: _Every
    submit: dict[str, Any]
    zone: _Zone | None = None
    missed: _Missed = "once"
    overlap: _Overlap = "allow"
    name: Name | None = None
    paused: bool = False

    def __repr__(self) -> str:
        """Without what is submitted, which has an environment."""
        return f"MakeSchedule(every={self.every!a}, zone={self.zone!a})"


class Schedules(Closed, frozen=True):
    """One page of schedules, the oldest first: those after the number `after`."""

    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ScheduleStatus(Closed, frozen=True):
    """One schedule, with its next times and with what it runs."""

    schedule: ScheduleRef


class SchedulePause(Closed, frozen=True):
    """Run it no more until it is resumed; what is due meanwhile was not missed."""

    schedule: ScheduleRef


class ScheduleResume(Closed, frozen=True):
    """Let a paused one go on."""

    schedule: ScheduleRef


class ScheduleRun(Closed, frozen=True):
    """Run it once now, whatever its times are, also while it is paused."""

    schedule: ScheduleRef


class ScheduleRemove(Closed, frozen=True):
    """Forget a schedule. Its jobs stay."""

    schedule: ScheduleRef
