"""What the store takes and gives: jobs, new jobs, events. Values, no I/O.

Specs, limits and results are bytes here: whoever wrote them knows their format. What may
be done with a job is `runner.lifecycle`'s to say, how it is kept `runner.store`'s.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypedDict, TypeVar

import msgspec

from runner.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runner.scheduling.kinds import Met

    # A row of sqlite3 has no static type.
    Row = tuple[Any, ...]

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
_logger: Final = logging.getLogger(__name__)

EventData = dict[str, str | int]
# What is bound.
Value = str | int | bytes | None

DEFAULT_QUEUE: Final = "default"
# Between the places of two jobs that were submitted one after the other: room for moves.
RANK_STEP: Final = 2**20


class DamagedRowError(ValueError):
    """A row holds values that were never written. The text names it."""


class NewHook(NamedTuple):
    """What is to be done at some changes of state: names of events, and the template of it."""

    events: tuple[str, ...]
    template: bytes


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is submitted. `spec` is opaque to the store; `submitted_ns` is Unix time."""

    id: str
    submitted_by_uid: int
    uid: int
    gid: int
    name: str | None
    spec: bytes
    submitted_ns: int
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    not_before_ns: int | None = None
    deadline_ns: int | None = None
    held_by_uid: int | None = None
    # What it is promised while it runs, and how long it may run at most.
    reserved_millicpus: int = 0
    reserved_memory_bytes: int = 0
    time_limit_ms: int | None = None
    idempotency_key: str | None = None
    labels: dict[str, str] = {}
    # Ids of jobs, and what has to have become of them (`runner.message_queue.On`).
    after: tuple[tuple[str, str], ...] = ()
    # The group that it is a job of, and which: its index in an array, its number in a flow. Its
    # spec may be empty then: it is the group's.
    group_id: str | None = None
    member: int | None = None
    hooks: tuple[NewHook, ...] = ()

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
    `disk_bytes` is what the directory of an ended job takes; 0 also until it was measured. Of
    another it is what its earlier attempts take.
    `rank` is set once it was moved: until then its place is `seq` * RANK_STEP. `not_before_ns` is
    also when the next attempt may begin; `attempt` counts from 1, `first_attempt` is the one that
    the retries of now are counted from. `member` says which job of its group it is; `fate`, once it
    has ended for good, how (`runner.group_rows`), None where an older runnerd did not say.
    `at_once` is 1 where the launch of this attempt was committed with the submission, and so is on
    disk: whether it had begun by a power cut nobody knows then (`runner.store_commits`).
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
    disk_bytes: int = 0
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    rank: int | None = None
    not_before_ns: int | None = None
    deadline_ns: int | None = None
    held_by_uid: int | None = None
    reserved_millicpus: int = 0
    reserved_memory_bytes: int = 0
    time_limit_ms: int | None = None
    attempt: int = 1
    first_attempt: int = 1
    idempotency_key: str | None = None
    group_id: str | None = None
    member: int | None = None
    fate: str | None = None
    at_once: int = 0
    spec: bytes

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The job of a row that has the fields in their order here. Raises DamagedRowError."""
        return of_row(cls, row, "jobs")

    def __repr__(self) -> str:
        """Without the spec, which holds the job's environment."""
        return (
            f"Job(seq={self.seq}, id={self.id!r}, state={self.state.value!r}, "
            f"spec of {len(self.spec)} bytes)"
        )


class EndedJob(NamedTuple):
    """As much of an ended job as retention looks at. `uid` is who submitted it.

    `ended_ns` is what its age counts from: the end of its group, where it has one.
    """

    id: str
    uid: int
    ended_ns: int
    seq: int
    bytes: int


class Fate(NamedTuple):
    """What has become of a job so far; as `Job`, without what it is.

    Of a group it is `running` from when the first of its jobs started on, and has neither reason
    nor result.
    """

    state: State
    started_ns: int | None
    reason: str | None
    result: bytes | None
    fate: str | None = None


class Launch(NamedTuple):
    """That a job is launched: when (Unix time), and in which boot of the machine (random(4))."""

    time_ns: int
    boot_id: str


class StoredDependency(NamedTuple):
    """A job that another comes after, what has to become of it, and whether it has."""

    on_id: str
    kind: Met
    met: bool


class Attached(NamedTuple):
    """Whether a job has any of what is kept beside its row."""

    labels: bool
    dependencies: bool
    hooks: bool


class Attempt(NamedTuple):
    """An attempt that is over and was followed by another. `started_ns` None: it never ran."""

    attempt: int
    started_ns: int | None
    ended_ns: int
    reason: str
    result: bytes
    limits: bytes | None


class QueueState(NamedTuple):
    """What an admin has set; `max_running` None is as the configuration says."""

    paused: bool
    max_running: int | None


class Selection(NamedTuple):
    """Which jobs are meant: all that is given holds. `uid` is who submitted them.

    `name` is a shell pattern (fnmatch(3): *, ?, [] and [!]); a label with None as its value has
    any. `states` None is for whoever asks to say.
    """

    queue: str | None = None
    uid: int | None = None
    name: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    states: tuple[State, ...] | None = None
    group_id: str | None = None


class QueuedColumns(TypedDict, total=False):
    """What may be changed of a queued job: what is given."""

    queue: str
    priority: int
    rank: int | None
    held_by_uid: int | None


class LimitColumns(TypedDict, total=False):
    """What goes with other limits: what is given."""

    reserved_millicpus: int
    reserved_memory_bytes: int
    time_limit_ms: int | None
    priority: int


class RetryColumns(TypedDict, total=False):
    """What another attempt has that the one before had not: what is given."""

    reserved_millicpus: int
    reserved_memory_bytes: int
    time_limit_ms: int | None
    deadline_ns: int | None


class Total(NamedTuple):
    """How many jobs, and what they take on the disk."""

    jobs: int
    bytes: int

    def plus(self, jobs: int, size: int) -> Self:
        """As many more; fewer where they are negative."""
        return self._replace(jobs=self.jobs + jobs, bytes=self.bytes + size)


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a job, which may have been removed since.

    `kind` is `submit`, `update`, `hold`, `release`, `move`, `priority`, `remove` or a
    `runner.lifecycle.Event`; `data` is a map, empty for most: `submitted_by_uid` and `uid` of a
    submission, `monitor_pid`, `why` of a requeue, `by_uid` of what somebody asked for, with
    `changed` (names of limits) of an update, `queue` or `priority` where they changed, `reason` of
    an end, `attempt` (the new one) and `reason` (of the one before) of a retry, `removed_by_uid`.

    Of a group, whose id is in the place of a job's: `group-submit` (`submitted_by_uid`, `jobs`),
    `group-update` (`by_uid`, `max_running`, 0 for none) and `group-ended` (`ok`, `failed`).
    """

    seq: int
    job_id: str
    time_ns: int
    kind: str
    data: EventData

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The event of a row that has the fields in their order here, its data encoded.

        Raises DamagedRowError.
        """
        seq, job_id, time_ns, kind, data = row
        try:
            about = {} if data is None else msgspec.msgpack.decode(data, type=EventData)
            fields = {"seq": seq, "job_id": job_id, "time_ns": time_ns, "kind": kind, "data": about}
            return msgspec.convert(fields, cls)
        except (msgspec.MsgspecError, TypeError) as error:
            raise DamagedRowError(f"row {seq!a} of the events is damaged: {error}") from None


def of_row(kind: type[S], row: Row, table: str) -> S:
    """The struct of a row that has its fields in their order. Raises DamagedRowError."""
    fields = dict(zip(kind.__struct_fields__, row, strict=True))
    try:
        return msgspec.convert(fields, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise DamagedRowError(f"row {row[0]!a} of the {table} is damaged: {error}") from None


def state_of(value: str) -> State:
    """The state that a row says. Raises DamagedRowError."""
    try:
        return State(value)
    except ValueError:
        raise DamagedRowError(f"a job is in no state that there is: {value!a}") from None


def sound_jobs(rows: Iterable[Row]) -> Iterator[Job]:
    """The jobs of rows. A row that is damaged hides itself, not the others of its list."""
    return _sound(Job.from_row, rows)


def sound_events(rows: Iterable[Row]) -> Iterator[StoredEvent]:
    """The same of events."""
    return _sound(StoredEvent.from_row, rows)


def _sound(made_of: Callable[[Row], T], rows: Iterable[Row]) -> Iterator[T]:
    for row in rows:
        try:
            yield made_of(row)
        except DamagedRowError as error:
            # The next start looks after it: `runner.salvage`.
            _logger.error("%s", error)  # noqa: TRY400 - the text says it
