"""Makes the runs of schedules: looks at the clock, submits what is due, notes what came of it.

In the event loop's thread. Which times are run is decided by `runner.scheduling.schedules`; a run
is submitted as its user would submit it, with a key of its own, so that a crash between the job
and what is noted about it makes no second one. What a daemon that drains or ends does not run was
missed, like what a daemon that was down did not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from runner import schedule_template, zones
from runner.lifecycle import State
from runner.refusal import Refusal, shown
from runner.schedule_rows import Progress
from runner.scheduling import calendar
from runner.scheduling.schedules import CORRECTED_NS, MOST_AT_ONCE, look
from runner.store_file import StoreError
from runner.store_schedules import NoSuchScheduleError, run_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runner.messages import Submit
    from runner.policy import Peer
    from runner.rows import Job
    from runner.schedule_rows import Schedule
    from runner.scheduling.calendar import Calendar
    from runner.store import Store

    Accept = Callable[[Peer, Submit], Awaitable[Job]]

_logger: Final = logging.getLogger(__name__)

# The clock may be set at any time, forward or back.
_LOOK_SECONDS: Final = 1.0
# Submissions of one user under way: a path that does not answer is that user's own trouble.
_AT_ONCE: Final = 4
# That nothing is taken now says nothing of the schedule: it is tried again, and missed if need be.
_PASSING: Final = frozenset({"draining", "shutting-down", "store-error"})
_MOST_ERROR_CHARS: Final = 500


def calendar_of(every: str, zone: str | None, since_ns: int) -> Calendar:
    """The times of a schedule. Raises Refusal, with the field that is wrong."""
    try:
        found = zones.local() if zone is None else zones.named(zone)
    except ValueError as error:
        raise _wrong("zone", zone, error) from None
    try:
        return calendar.read(every, found, since_ns)
    except ValueError as error:
        raise _wrong("every", every, error) from None


def _wrong(field: str, given: str | None, error: ValueError) -> Refusal:
    return Refusal("invalid-argument", field=field, given=shown(given), allowed=str(error))


class _Known:
    """A schedule, its times, and when the next one is."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        # Not paused, and of times that can be read.
        self.calendar: Calendar | None = None
        self.next_ns: int | None = None
        self.is_dealt_with = False
        with suppress(Refusal):
            self.calendar = calendar_of(schedule.every, schedule.zone, schedule.created_ns)
        self.put(schedule)

    def put(self, schedule: Schedule) -> None:
        """As it is now."""
        self.schedule = schedule
        self.next_ns = None
        if self.calendar is not None and not schedule.paused:
            self.next_ns = self.calendar.after(schedule.handled_ns)

    def is_due(self, now_ns: int) -> bool:
        """Whether there is something to decide."""
        if self.next_ns is None or self.is_dealt_with:
            return False
        return self.next_ns <= now_ns or self.schedule.handled_ns > now_ns + CORRECTED_NS


class Schedules:
    """The schedules of one daemon.

    `accept` submits a job as a user, and raises Refusal; `may_run` says whether any may be now.
    """

    def __init__(self, store: Store, accept: Accept, may_run: Callable[[], bool]) -> None:
        self._store = store
        self._accept = accept
        self._may_run = may_run
        self._known: dict[str, _Known] = {}
        self._changed = asyncio.Event()
        self._slots: dict[int, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_failed = False

    def begin(self) -> None:
        """Go on with the schedules that there are. Raises StoreError."""
        for schedule in self._store.every_schedule():
            self.put(self._as_it_ended(schedule))
        self._spawn(self._watch())

    async def close(self) -> None:
        """Run nothing more; what is being submitted is, or is not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def put(self, schedule: Schedule) -> None:
        """A schedule is new, or was changed."""
        known = self._known.get(schedule.id)
        if known is None:
            known = self._known[schedule.id] = _Known(schedule)
            if known.calendar is None:
                _logger.warning("schedule %s is never run: its times or its time zone %s cannot be "
                                "read on this host", schedule.id, schedule.zone)  # fmt: skip
        else:
            known.put(schedule)
        self._changed.set()

    def drop(self, schedule_id: str) -> None:
        """A schedule was removed."""
        self._known.pop(schedule_id, None)

    def next_times(self, schedule: Schedule, count: int) -> list[int]:
        """When it is due next; nothing while it is paused."""
        known = self._known.get(schedule.id)
        if known is None or known.calendar is None or known.next_ns is None:
            return []
        found = [known.next_ns]
        while len(found) < count:
            following = known.calendar.after(found[-1])
            if following is None:
                break
            found.append(following)
        return found

    async def run_now(self, schedule: Schedule) -> Job:
        """Submit a run that is for no time of the calendar. Raises Refusal, StoreError."""
        try:
            job = await self._submit(schedule, None)
        except Refusal as refusal:
            raise schedule_template.of_submission(refusal) from None
        try:
            self._record(schedule.id, Progress(None, job=job.id))
        except StoreError as error:
            # The job runs, and that is what is answered.
            _logger.error("job %s of a schedule is not noted: %s", job.id, error)  # noqa: TRY400
        return job

    # What is due

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._seconds())
            if self._may_run():
                self._look()

    def _seconds(self) -> float | None:
        """How long nothing is due; None: until something is changed."""
        waiting = (known for known in self._known.values() if not known.is_dealt_with)
        times = [known.next_ns for known in waiting if known.next_ns is not None]
        if not times or not self._may_run():
            return _LOOK_SECONDS if times else None
        return min(max((min(times) - time.time_ns()) / 1e9, 0), _LOOK_SECONDS)

    def _look(self) -> None:
        now = time.time_ns()
        for known in self._known.values():
            if known.is_due(now):
                known.is_dealt_with = True
                self._spawn(self._deal_with(known))

    async def _deal_with(self, known: _Known) -> None:
        uid = known.schedule.submitted_by_uid
        try:
            async with self._slots.setdefault(uid, asyncio.Semaphore(_AT_ONCE)):
                is_done = await self._run_due(known)
            if is_done:
                self._has_failed = False
            else:
                await asyncio.sleep(_LOOK_SECONDS)
        except StoreError as error:
            if not self._has_failed:
                _logger.error("no schedule can be run: %s", error)  # noqa: TRY400 - it says it
            self._has_failed = True
            await asyncio.sleep(_LOOK_SECONDS)
        finally:
            known.is_dealt_with = False
            self._changed.set()

    async def _run_due(self, known: _Known) -> bool:
        """Run what is due. False: not all of it now."""
        if known.calendar is None or not self._is_active(known):
            return True
        schedule = known.schedule
        most = MOST_AT_ONCE if schedule.overlap == "allow" else int(not self._goes(schedule))
        due = look(
            known.calendar, schedule.handled_ns, time.time_ns(), missed=schedule.missed, most=most
        )
        end = Progress(due.handled_ns, skipped=due.skipped)
        if not due.runs and due.handled_ns != schedule.handled_ns:
            self._record(schedule.id, end)
        for time_ns in due.runs:
            # With the last of them all that is due is dealt with.
            progress = end if time_ns == due.runs[-1] else Progress(time_ns)
            if not await self._run(known.schedule, time_ns, progress):
                return False
            if not self._is_active(known):
                break
        return True

    def _is_active(self, known: _Known) -> bool:
        """Not removed or paused meanwhile."""
        is_there = self._known.get(known.schedule.id) is known
        return is_there and not known.schedule.paused

    async def _run(self, schedule: Schedule, time_ns: int, progress: Progress) -> bool:
        """Run it for a time, or note why not. False: it may be another time, nothing was noted."""
        if not self._may_run():
            return False
        try:
            job = await self._submit(schedule, run_key(schedule.id, time_ns))
        except Refusal as refusal:
            if refusal.code in _PASSING:
                return False
            text = str(refusal).encode("ascii", "backslashreplace").decode()[:_MOST_ERROR_CHARS]
            if text != schedule.last_error:
                _logger.warning("schedule %s could not be run: %s", schedule.id, text)
            self._record(schedule.id, progress._replace(error=text))
        else:
            self._record(schedule.id, progress._replace(job=job.id, time_ns=time_ns))
        return True

    async def _submit(self, schedule: Schedule, key: str | None) -> Job:
        data = self._store.schedule_template(schedule.id)
        if data is None:
            raise Refusal("no-such-schedule", field="schedule", given=shown(schedule.id))
        template, request = schedule_template.unpack(data)
        peer = await asyncio.to_thread(
            schedule_template.peer_now,
            schedule.submitted_by_uid, template.gid, frozenset(template.groups),
        )  # fmt: skip
        return await self._accept(peer, schedule_template.run_of(request, schedule, key))

    def _goes(self, schedule: Schedule) -> bool:
        """Whether its last run has not ended."""
        if schedule.last_job is None:
            return False
        fate = self._store.became([schedule.last_job]).get(schedule.last_job)
        return fate is not None and fate.state is not State.ENDED

    def _as_it_ended(self, schedule: Schedule) -> Schedule:
        """A schedule as the last daemon left it: with the run that it did not come to note."""
        newest = self._store.newest_run(schedule)
        if newest is None or not schedule.handled_ns < newest[1] <= time.time_ns():
            return schedule
        job_id, time_ns = newest
        return self._store.record_progress(schedule.id, Progress(time_ns, job_id, time_ns))

    def _record(self, schedule_id: str, progress: Progress) -> None:
        with suppress(NoSuchScheduleError):
            self.put(self._store.record_progress(schedule_id, progress))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a defect in the work on schedules", exc_info=error)
