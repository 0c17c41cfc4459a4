"""What the store takes and gives: jobs, new jobs, events. Values, no I/O.

Specs, limits and results are bytes here: whoever wrote them knows their format. What may
be done with a job is `runner.lifecycle`'s to say, how it is kept `runner.store`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from runner.lifecycle import State

if TYPE_CHECKING:
    # A row of sqlite3 has no static type.
    Row = tuple[Any, ...]

EventData = dict[str, str | int]


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is submitted. `spec` is opaque to the store; `submitted_ns` is Unix time."""

    id: str
    submitted_by_uid: int
    uid: int
    gid: int
    name: str | None
    spec: bytes
    submitted_ns: int

    def __repr__(self) -> str:
        """Without the spec, which holds the job's environment."""
        return f"NewJob(id={self.id!r}, spec of {len(self.spec)} bytes)"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was when it was read.

    `seq` is the order of submission, never used twice. `limits` are those read back from
    the kernel, in the encoding of whoever stored them, None before they were. Times are
    Unix nanoseconds. `started_ns` of an ended job is None when it never ran. `boot_id` is that
    of the machine's boot in which it was last launched (random(4)). `monitor_pid`
    is set while it is running or paused only; `ended_ns`, `reason` and `result` once it has
    ended. `paused_since_ns` is set while it is paused, `paused_ns` is how long it was before.
    """

    seq: int
    id: str
    submitted_by_uid: int
    uid: int
    gid: int
    name: str | None
    state: State
    submitted_ns: int
    started_ns: int | None
    ended_ns: int | None
    boot_id: str | None
    monitor_pid: int | None
    limits: bytes | None
    reason: str | None
    result: bytes | None
    paused_ns: int = 0
    paused_since_ns: int | None = None
    spec: bytes

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The job of a row that has the fields in their order here."""
        fields = dict(zip(cls.__struct_fields__, row, strict=True))
        fields["state"] = State(fields["state"])
        return cls(**fields)

    def __repr__(self) -> str:
        """Without the spec, which holds the job's environment."""
        return (
            f"Job(seq={self.seq}, id={self.id!r}, state={self.state.value!r}, "
            f"spec of {len(self.spec)} bytes)"
        )


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a job, which may have been removed since.

    `kind` is `submit`, `update`, `remove` or a `runner.lifecycle.Event`; `data` is a map, empty
    for most: `submitted_by_uid` and `uid` of a submission, `monitor_pid`, `why` of a requeue,
    `by_uid` of a pause, a resume or an update with `changed` (names of limits), `reason` of
    an end, `removed_by_uid`.
    """

    seq: int
    job_id: str
    time_ns: int
    kind: str
    data: EventData

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The event of a row that has the fields in their order here, its data encoded."""
        seq, job_id, time_ns, kind, data = row
        about = {} if data is None else msgspec.msgpack.decode(data, type=EventData)
        return cls(seq=seq, job_id=job_id, time_ns=time_ns, kind=kind, data=about)
