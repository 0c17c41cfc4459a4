"""Rows of jobs that were written or read just now, as they are committed. A part of the store.

The store is the only one that writes its file, so what it has written it need not read again: a
job on its way from its submission to its end is asked about some ten times. How many are kept, and
how many bytes of specs with them, is bounded; which are is nobody's business. No I/O: who commits
a change says so here, `runner.store_base` first of all.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runner.lifecycle import Event, State
from runner.rows import Attached, Job, Launch, NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_ROWS: Final = 1024
# Of specs, limits and results.
MOST_BYTES: Final = 2 * 1024 * 1024
# What jobs have beside their rows is known of more of them: it is a few bytes.
MOST_UNENDED: Final = 32_768
MOST_ENDED: Final = 256


class RecentRows:
    """The jobs that were asked for last, by id."""

    def __init__(self, most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._bytes = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._jobs)

    def get(self, job_id: str) -> Job | None:
        """The job as it is committed; None: it has to be read."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._jobs.move_to_end(job_id)
        return job

    def put(self, job: Job) -> None:
        """The job is committed like this."""
        self.drop(job.id)
        size = _size(job)
        if size > self._most_bytes:
            return
        self._jobs[job.id] = job
        self._bytes += size
        while self._bytes > self._most_bytes or len(self._jobs) > self._most_rows:
            self._bytes -= _size(self._jobs.popitem(last=False)[1])

    def drop(self, job_id: str) -> None:
        """The job has changed, or is gone."""
        old = self._jobs.pop(job_id, None)
        if old is not None:
            self._bytes -= _size(old)

    def clear(self) -> None:
        """Any job may have changed."""
        self._jobs.clear()
        self._bytes = 0


def _size(job: Job) -> int:
    return len(job.spec) + len(job.limits or b"") + len(job.result or b"")


class RecentAttached:
    """Of jobs without a group that were inserted last: what is kept beside their rows.

    What was given with a job is never changed, so no change drops one.
    """

    def __init__(self, most: int = MOST_UNENDED, most_ended: int = MOST_ENDED) -> None:
        self._unended: dict[str, Attached] = {}
        self._ended: dict[str, Attached] = {}
        self._most, self._most_ended = most, most_ended

    def get(self, job_id: str) -> Attached | None:
        """What a job has; None: it has to be asked for."""
        return self._unended.get(job_id) or self._ended.get(job_id)

    def put(self, new: NewJob) -> None:
        """It was inserted."""
        has = _attached(bool(new.labels), bool(new.after), bool(new.hooks))
        _put(self._unended, new.id, has, self._most)

    def ended(self, job_id: str) -> None:
        """It has ended: it may be asked about once more, and then hardly ever."""
        has = self._unended.pop(job_id, None)
        if has is not None:
            _put(self._ended, job_id, has, self._most_ended)

    def has_no_hooks(self, job_id: str) -> bool:
        """Whether that is known."""
        known = self.get(job_id)
        return known is not None and not known.hooks

    def comes_after_nothing(self, job_id: str) -> bool:
        """Whether that is known."""
        known = self.get(job_id)
        return known is not None and not known.dependencies


@cache
def _attached(labels: bool, dependencies: bool, hooks: bool) -> Attached:  # noqa: FBT001 - fields
    return Attached(labels, dependencies, hooks)


def _put(known: dict[str, Attached], job_id: str, has: Attached, most: int) -> None:
    known[job_id] = has
    if len(known) > most:
        del known[next(iter(known))]


_GIVEN: Final = tuple(name for name in Job.__struct_fields__ if name in NewJob.__struct_fields__)
_UNSET: Final = ("started_ns", "ended_ns", "boot_id", "monitor_pid", "limits", "reason", "result")
_given: Final = attrgetter(*_GIVEN)


def inserted(new: NewJob, seq: int, launch: Launch | None = None) -> Job:
    """The row of a new job that has a spec of its own, as `runner.queries.INSERT` leaves it."""
    fields: dict[str, Any] = dict.fromkeys(_UNSET)
    fields.update(zip(_GIVEN, _given(new), strict=True))
    if launch is None:
        return Job(seq=seq, state=State.QUEUED, **fields)
    fields["boot_id"] = launch.boot_id
    return Job(seq=seq, state=State.STARTING, at_once=1, **fields)


def advanced(job: Job, event: Event, values: Mapping[str, Any]) -> Job:
    """The row after a change, as `runner.queries.UPDATES` leaves it, of the same values."""
    return msgspec.structs.replace(job, **_CHANGES[event](job, values))


def _launched(_job: Job, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": State.STARTING, "boot_id": values["boot_id"], "at_once": 0}


def _started(_job: Job, values: Mapping[str, Any]) -> dict[str, Any]:
    names = ("monitor_pid", "started_ns", "limits")
    return {"state": State.RUNNING, **{name: values[name] for name in names}}


def _requeued(_job: Job, _values: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": State.QUEUED}


def _paused(_job: Job, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": State.PAUSED, "paused_since_ns": values["time_ns"]}


def _resumed(job: Job, values: Mapping[str, Any]) -> dict[str, Any]:
    paused_ns = _paused_ns(job, values["time_ns"])
    return {"state": State.RUNNING, "paused_ns": paused_ns, "paused_since_ns": None}


def _finished(job: Job, values: Mapping[str, Any]) -> dict[str, Any]:
    names = ("ended_ns", "reason", "result", "disk_bytes", "fate")
    return {
        "state": State.ENDED, "monitor_pid": None, "paused_since_ns": None,
        "paused_ns": _paused_ns(job, values["ended_ns"]),
        "started_ns": values["started_ns"] if job.started_ns is None else job.started_ns,
        "limits": values["limits"] if job.limits is None else job.limits,
        **{name: values[name] for name in names},
    }  # fmt: skip


def _paused_ns(job: Job, until_ns: int) -> int:
    since_ns = job.paused_since_ns
    return job.paused_ns + (0 if since_ns is None else max(0, until_ns - since_ns))


# Another attempt changes more: such a row is read again.
_CHANGES: Final[Mapping[Event, Callable[[Job, Mapping[str, Any]], dict[str, Any]]]] = {
    Event.LAUNCH: _launched,
    Event.STARTED: _started,
    Event.REQUEUE: _requeued,
    Event.PAUSE: _paused,
    Event.RESUME: _resumed,
    Event.FINISH: _finished,
}
