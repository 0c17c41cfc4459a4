"""Which attempt of a job a reader of its log is shown, what became of it, and which comes next.

Looks and waits; sends nothing. The output itself is `runner.server.handlers.logs`'s, whether
there is another attempt `runner.retrying`'s.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner import stored
from runner.lifecycle import State
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.rows import Job
    from runner.supervisor import Supervisor

_SECOND_NS: Final = 1_000_000_000
# A run is stored some time after its output was read, and that time is its own: how long after
# `until_ns` a follower waits for it.
_LATE_NS: Final = _SECOND_NS


class Fate(NamedTuple):
    """What has become of an attempt. `result` is None where it is not over, or not known."""

    is_over: bool
    has_started: bool
    result: dict[str, Any] | None


def fate(supervisor: Supervisor, job_id: str, attempt: int) -> Fate:
    """What the store knows of an attempt. Of a removed job: that it is over."""
    job = supervisor.store.get(job_id)
    if job is None:
        return Fate(is_over=True, has_started=False, result=None)
    if job.attempt > attempt:
        return _earlier(supervisor, job_id, attempt)
    is_over = job.state is State.ENDED
    known = job.result if is_over else None
    result = None if known is None else stored.result(known)
    return Fate(is_over, job.started_ns is not None, result)


def _earlier(supervisor: Supervisor, job_id: str, attempt: int) -> Fate:
    for each in supervisor.store.attempts(job_id):
        if each.attempt == attempt:
            return Fate(
                is_over=True,
                has_started=each.started_ns is not None,
                result=stored.result(each.result),
            )
    # A store that was damaged has lost it.
    return Fate(is_over=True, has_started=False, result=None)


def chosen(supervisor: Supervisor, job: Job, asked: int | None) -> int:
    """The attempt that is asked for; else the newest that has begun, the first if none has.

    Raises Refusal for one that there is not.
    """
    if asked is None:
        return _newest_begun(supervisor, job) or 1
    if not 1 <= asked <= job.attempt:
        allowed = "1" if job.attempt == 1 else f"1 to {job.attempt}"
        raise Refusal("invalid-argument", field="attempt", given=str(asked), allowed=allowed)
    return asked


async def once_any_begun(supervisor: Supervisor, job: Job, until_ns: int | None) -> int:
    """The newest attempt that has begun, after waiting for one while the job may still start."""
    now: Job | None = job
    while now is not None:
        begun = _newest_begun(supervisor, now)
        if begun is not None:
            return begun
        if not _may_start(now) or not await _changes(supervisor, job.id, until_ns):
            break
        now = supervisor.store.get(job.id)
    return 1


async def until_begun(
    supervisor: Supervisor, job_id: str, attempt: int, until_ns: int | None
) -> None:
    """Wait until an attempt can have a log, which is begun before the job runs, or never will."""
    while True:
        job = supervisor.store.get(job_id)
        if job is None or job.attempt != attempt or not _may_start(job):
            return
        if not await _changes(supervisor, job_id, until_ns):
            return


async def following(
    supervisor: Supervisor, job_id: str, after: int, until_ns: int | None
) -> int | None:
    """The next attempt as soon as there is one. None: the job has ended, or time is up."""
    while (job := supervisor.store.get(job_id)) is not None:
        if job.attempt > after:
            return after + 1
        if job.state is State.ENDED or not await _changes(supervisor, job_id, until_ns):
            return None
    return None


def seconds_left(until_ns: int | None) -> float | None:
    """Until nothing can come any more that is wanted; None: no time was named."""
    return None if until_ns is None else (until_ns + _LATE_NS - time.time_ns()) / _SECOND_NS


def unreadable(error: OSError) -> Refusal:
    """The disk fails, or the daemon has no descriptor left."""
    return Refusal("store-error", detail=f"the job's log cannot be read: {error}")


def _may_start(job: Job) -> bool:
    return job.state in (State.QUEUED, State.STARTING)


def _newest_begun(supervisor: Supervisor, job: Job) -> int | None:
    numbers = range(job.attempt, 0, -1)
    return next((number for number in numbers if _has_log(supervisor, job, number)), None)


def _has_log(supervisor: Supervisor, job: Job, attempt: int) -> bool:
    """Whether it was begun, though its log may be gone since."""
    if attempt == job.attempt and job.started_ns is not None:
        return True
    try:
        return supervisor.directories.has_log(job.id, attempt)
    except OSError as error:
        raise unreadable(error) from error


async def _changes(supervisor: Supervisor, job_id: str, until_ns: int | None) -> bool:
    """Wait for a change of the job. False: there was none in time."""
    seconds = seconds_left(until_ns)
    if seconds is not None and seconds <= 0:
        return False
    change = supervisor.changes.next(job_id)
    try:
        await asyncio.wait((change,), timeout=seconds)
        return change.done()
    finally:
        change.cancel()
