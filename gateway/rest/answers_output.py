"""What is answered about the output of jobs, and about what happens to them, for the document.

As `gateway.rest.answers`: runnerd's answers are passed on, and these types say what is in them.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from gateway.rest.answers import (  # noqa: TC001  msgspec looks them up
    Cursor,
    Id,
    JobStatus,
    Time,
)
from gateway.rest.kinds import Open, State


class Location(Open, frozen=True, kw_only=True):
    """Where in the output that begins which was asked for; read from `cursor` to `end`.

    What stdout has before `stdout`, and stderr before `stderr`, does not belong to it. All are
    offsets in the output of `attempt`.
    """

    cursor: int
    stdout: int
    stderr: int
    end: int
    attempt: int = 1


class Record(Open, frozen=True, kw_only=True):
    """A piece of output (`text`, or `base64` where it is not UTF-8), a gap, or another attempt.

    `cursor` is where to go on behind it.
    """

    kind: Literal["output", "gap", "attempt"]
    cursor: Cursor
    attempt: int
    offset: int
    stream: Literal["stdout", "stderr"] | UnsetType = UNSET
    time_ns: Time | UnsetType = UNSET
    text: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET
    gap_bytes: int | UnsetType = UNSET
    why: str | UnsetType = UNSET


class LogPage(Open, frozen=True, kw_only=True):
    """A part of a job's output; `cursor` is where the next one begins.

    `at_end`: nothing more is there now; with a `state` of `ended` nothing more comes.
    """

    job: Id
    state: State | None
    cursor: Cursor
    at_end: bool
    records: list[Record]


class LogEnd(Open, frozen=True, kw_only=True):
    """The end of a stream of output: `job` is the job as it is then."""

    cursor: Cursor
    job: JobStatus


class Interrupted(Open, frozen=True, kw_only=True):
    """A stream ends before its time: try again from the cursor (or number) that came last."""

    code: str
    detail: str | None
    cursor: str | None


class Event(Open, frozen=True, kw_only=True):
    """Something that happened to a job. `seq` grows, and is the place to go on from."""

    seq: int
    time_ns: Time
    job: Id
    kind: str
    data: dict[str, str | int]


class EventGap(Open, frozen=True, kw_only=True):
    """Events after number `since` and before `oldest` are not kept any more."""

    gap: Literal[True]
    since: int
    oldest: int


class EventPage(Open, frozen=True, kw_only=True):
    """Events since the number that was asked for; `next` is what to give as `since` to go on."""

    events: list[Event]
    gap: EventGap | None
    next: int
