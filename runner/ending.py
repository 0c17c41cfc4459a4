"""The end of attempts and of jobs: records read, cgroups removed, results committed; and removal.

In what order a job gets here is `runner.supervisor`'s, why it ended `runner.outcome`'s, whether
another attempt follows `runner.another_attempt`'s, which ended jobs nobody needs to keep
`runner.pruning`'s.
"""

from __future__ import annotations

import errno
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import CgroupError
from runner import outcome, records, retrying, stored
from runner.another_attempt import AnotherAttempt
from runner.disk_usage import job_bytes
from runner.lifecycle import State
from runner.pausing import not_now, state_of
from runner.refusal import Refusal
from runner.store_file import FullStoreError
from runner.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.jobdirs import JobDirectories
    from runner.outcome import Outcome
    from runner.realm import Realm
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)

# Of so much output there are few segments: measuring them takes no time.
_SMALL_LOG_BYTES: Final = 262_144


class Ending:
    """The ends of one daemon's jobs.

    `on_end` is called when one has ended for good, `on_again` when one is queued for another
    attempt. What the other two say is `AnotherAttempt`'s.
    """

    def __init__(
        self,
        realm: Realm,
        on_end: Callable[[Job], None],
        on_again: Callable[[Job], None],
        most_memory: Callable[[int], int | None] | None = None,
        most_log_bytes: Callable[[int], int | None] | None = None,
    ) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._work = realm.work
        self._outside = realm.outside
        self._problems = realm.problems
        self._on_end = on_end
        self._on_again = on_again
        self._another = AnotherAttempt(realm, most_memory, most_log_bytes)
        # Removed jobs whose directories are being removed, and are not known to be gone.
        self._removing: set[str] = set()
        self._left: set[str] = set()

    def monitor_gone(self, job_id: str) -> None:
        """The same as `finish`; most ends are committed, and told, when this returns."""
        record = self._at_once(job_id)
        if record is None:
            self._work.spawn(self.finish(job_id))
        else:
            self._work.now_or_later(self._end_of(job_id, record))

    def _at_once(self, job_id: str) -> dict[str, Any] | None:
        """The record of a job of which nothing is left, when it can be had without waiting."""
        job = self._store.get(job_id)
        if job is None or job.attempt > 1 or self._holds(job_id):
            return None
        try:
            record = self._directories.read_exit(job_id, job.attempt)
        except (records.RecordError, OSError):
            return None
        is_small = record is not None and 0 <= (record["log_bytes"] or 0) <= _SMALL_LOG_BYTES
        if record is None or not is_small or not self._tree.remove_empty(job_id):
            return None
        return {**record, "disk_bytes": self.disk_bytes(job_id, job.attempt)}

    def _holds(self, job_id: str) -> bool:
        """Whether something has to be given back for a job, or nobody knows."""
        release, holds = self._outside.release, self._outside.holds
        return release is not None and (holds is None or holds(job_id))

    async def finish(self, job_id: str) -> None:
        """The monitor is gone: its record says how the job ended, or the job is lost."""
        job = self._store.get(job_id)
        attempt = None if job is None else job.attempt
        try:
            record = await self._work.patiently(self._final_record, job_id, attempt)
            why = "its monitor ended without a record"
        except (records.RecordError, OSError) as error:
            record, why = None, f"its exit record cannot be read: {error}"
            self._problems.add(why, job_id)
        if record is None:
            await self.lose(job_id, why)
        else:
            await self._give_back(job_id)
            await self._work.surely(self._end_of(job_id, record))

    async def lose(self, job_id: str, why: str) -> None:
        """End a job of which nobody knows how it ended."""
        usage = await self._work.blocking(self._last_usage, job_id)
        await self.clean_up(job_id)
        usage["disk_bytes"] = await self._work.blocking(self.disk_bytes, job_id)
        _logger.error("job %s is lost: %s", job_id, why)
        await self._work.surely(lambda: self.end(job_id, outcome.lost(why), usage))

    def _final_record(self, job_id: str, attempt: int | None) -> dict[str, Any] | None:
        """How a job ended, and what its directory takes, which nobody writes to any more.

        Its cgroups are removed then.
        """
        record = self._directories.read_exit(job_id, attempt)
        if record is None:
            return None
        self._remove_cgroup(job_id)
        return {**record, "disk_bytes": self.disk_bytes(job_id, attempt)}

    def _end_of(self, job_id: str, record: dict[str, Any]) -> Callable[[], None]:
        """The commit of what a record says."""
        names = outcome.Outcome._fields
        verdict = outcome.Outcome(**{name: record[name] for name in names})
        rest = {name: value for name, value in record.items() if name not in names}
        return partial(self.end, job_id, verdict, rest)

    def end(self, job_id: str, verdict: Outcome, facts: dict[str, Any]) -> None:
        """Commit the end of an attempt, and tell whoever waits. Another may follow; else the job's.

        `facts` are fields of the result and of the job; without `disk_bytes` among them its
        directory is measured afterwards.
        """
        # The monitor's own time, so that whoever finds its record decides the same.
        ended_ns = facts.get("ended_ns") or time.time_ns()
        result = {**{name: facts.get(name) for name in stored.RESULT_FIELDS}, **verdict._asdict()}
        about: dict[str, Any] = {
            "ended_ns": ended_ns,
            "reason": verdict.reason,
            "result": records.pack(result),
            "started_ns": facts.get("started_ns"),
        }
        disk_bytes = facts.get("disk_bytes", 0)
        changes = self._another.changes(job_id, verdict, ended_ns, disk_bytes)
        if changes is not None:
            status = verdict.exit_status
            _logger.info("job %s failed: %s, status %d", job_id, verdict.reason, status)
            self._have_retried(job_id, {**about, **changes})
            return
        is_ok = verdict.reason == outcome.EXIT and verdict.exit_status == 0
        job = self._store.mark_ended(job_id, **about, is_ok=is_ok, disk_bytes=disk_bytes)
        _logger.info("job %s ended: %s, status %d", job_id, verdict.reason, verdict.exit_status)
        if "disk_bytes" not in facts:
            self._work.spawn(self._measure(job_id))
        self._changes.announce(job_id)
        self._on_end(job)

    # Another attempt

    def _have_retried(self, job_id: str, values: dict[str, Any]) -> Job:
        job = self._store.mark_retried(job_id, time.time_ns(), **values)
        _logger.info("job %s is queued again, for attempt %d", job_id, job.attempt)
        self._changes.announce(job_id)
        self._on_again(job)
        return job

    def again(self, job: Job, uid: int) -> Job:
        """Queue a job that has ended once more, because somebody asks. The job then.

        A deadline that has passed counts no more. Raises Refusal for a job in another state and
        for one whose spec is damaged, StoreError.
        """
        now = self._store.get(job.id)
        if now is None or now.state is not State.ENDED:
            raise not_now(now, f"{state_of(now)}; only a job that has ended can be tried again")
        if now.attempt >= retrying.MOST_ATTEMPTS:
            raise not_now(now, f"it has had {now.attempt} attempts, the most of a job; submit anew")
        try:
            stored.spec(now)
        except records.RecordError as error:
            raise not_now(now, f"its record is damaged: {error}") from None
        changes: dict[str, Any] = {}
        if now.deadline_ns is not None and now.deadline_ns <= time.time_ns():
            changes = {"deadline_ns": None}
        return self._have_retried(now.id, {"by_uid": uid, **changes})

    async def _measure(self, job_id: str) -> None:
        size = await self._work.blocking(self.disk_bytes, job_id)
        # Most of them have never begun, and have no directory.
        if size:
            await self._work.surely(lambda: self._store.measure({job_id: size}))

    def disk_bytes(self, job_id: str, attempt: int | None = None) -> int:
        """What a job's directory takes; 0 when that cannot be found out: the next start tries.

        `attempt` is its newest, where that is known.
        """
        try:
            return job_bytes(f"{self._directories.path}/{job_id}", attempt)
        except OSError as error:
            _logger.warning("job %s: its directory cannot be measured: %s", job_id, error)
            return 0

    def _last_usage(self, job_id: str) -> dict[str, Any]:
        """What a lost job had used; a cgroup that was removed in part says nothing."""
        cgroup = self._tree.job(job_id)
        try:
            fds = None if cgroup is None else cgroup.open_fds()
        except CgroupError:
            fds = None
        if fds is None:
            return {}
        try:
            return read_usage(fds.job, fds.payload)
        finally:
            fds.close()

    async def clean_up(self, job_id: str) -> None:
        """Remove a job's cgroups, with whatever is left in them, and give back what it held."""
        await self._work.blocking(self._remove_cgroup, job_id)
        await self._give_back(job_id)

    async def _give_back(self, job_id: str) -> None:
        if self._outside.release is not None:
            try:
                await self._outside.release(job_id)
            # RuntimeError: no thread can be started.
            except (OSError, RuntimeError) as error:
                _logger.error(  # noqa: TRY400 - the text says it
                    "job %s: what it held stays until the next start: %s", job_id, error
                )

    def _remove_cgroup(self, job_id: str) -> None:
        try:
            if not self._tree.remove_empty(job_id) and (cgroup := self._tree.job(job_id)):
                # A monitor that was killed takes its PID namespace with it; a process that a
                # privileged job moved out of that namespace would still be here.
                cgroup.kill()
                cgroup.remove()
        except OSError as error:
            _logger.error("job %s: its cgroup stays behind: %s", job_id, error)  # noqa: TRY400

    # Removing

    async def remove(self, job: Job, uid: int) -> None:
        """Forget an ended job and its output. Raises Refusal for another, and StoreError."""
        # It may have been queued again since it was read.
        state = (self._store.get(job.id) or job).state
        if state is not State.ENDED:
            raise Refusal(
                "job-active", given=job.id[:8], detail=f"it is {state.value}; stop it first"
            )
        try:
            self._directories.doom(job.id)
        except OSError as error:
            raise Refusal(
                "store-error", given=job.id[:8], detail=_cannot_remove(self._directories, error)
            ) from None
        if not await self._forget([job.id], uid):
            raise Refusal("no-such-job", field="job", given=job.id[:8], detail="it was removed")

    async def remove_ended(self, ids: Iterable[str], uid: int) -> list[str]:
        """Forget ended jobs; which of them are no more. What cannot be removed is a problem.

        What is of a group that goes on again since it was chosen stays.
        Raises StoreError: then some may have lost their output, and can be removed again.
        """
        jobs = {job_id: self._store.get(job_id) for job_id in ids}
        ended = [job_id for job_id, job in jobs.items() if job is None or self.is_over(job)]
        return await self._forget([job_id for job_id in ended if self._doomed(job_id)], uid)

    def is_over(self, job: Job) -> bool:
        """Whether a job has ended, and its group. It may be queued again at any moment but this."""
        goes_on = job.group_id is not None and self._store.ended.goes_on(job.group_id)
        return job.state is State.ENDED and not goes_on

    async def finish_removals(self) -> None:
        """After a restart: remove what was being removed."""
        await self._forget(self._directories.doomed(), 0)

    async def retry_removals(self) -> None:
        """Remove directories of removed jobs that could not be removed before."""
        await self._remove_doomed(list(self._left))

    def _doomed(self, job_id: str) -> bool:
        """Take a directory out of use; False, and it is said, when that is not possible."""
        try:
            self._directories.doom(job_id)
        except OSError as error:
            self._problems.add(_cannot_remove(self._directories, error), job_id)
            return False
        return True

    async def _forget(self, doomed: list[str], uid: int) -> list[str]:
        try:
            removed = self._store.delete_ended(doomed, time.time_ns(), uid)
        except FullStoreError:
            # What is removed makes the room to say so.
            await self._remove_doomed(doomed)
            removed = self._store.delete_ended(doomed, time.time_ns(), uid)
        for job_id in removed:
            self._problems.forget(job_id)
            self._changes.announce(job_id)
        await self._remove_doomed(doomed)
        return removed

    async def _remove_doomed(self, ids: Iterable[str]) -> None:
        """Remove directories in one thread; what stays is said, and tried again later."""
        # Two that remove the same tree would each give up on what the other has removed.
        mine = [job_id for job_id in ids if job_id not in self._removing]
        known = self._left.intersection(mine)
        self._removing.update(mine)
        # Now, not when it has failed: who asked for it may be cancelled meanwhile.
        self._left.update(mine)
        try:
            failed = await self._work.blocking(self._remove_trees, mine)
        except RuntimeError as no_thread:
            failed = dict.fromkeys(mine, OSError(errno.EAGAIN, str(no_thread)))
        finally:
            self._removing.difference_update(mine)
        self._left.difference_update(frozenset(mine).difference(failed))
        for job_id in known.difference(failed):
            self._problems.forget(job_id)
        for job_id, error in failed.items():
            text = "it was removed and its directory stays, which is tried again every minute"
            why = _cannot_remove(self._directories, error)
            self._problems.add(f"{text}: {why}", job_id, is_removed=True)

    def _remove_trees(self, ids: list[str]) -> dict[str, OSError]:
        failed = {}
        for job_id in ids:
            try:
                self._directories.remove_doomed(job_id)
            except OSError as error:
                failed[job_id] = error
        return failed


def _cannot_remove(directories: JobDirectories, error: OSError) -> str:
    remedy = "unmount what is mounted there" if error.errno == errno.EBUSY else "look at the disk"
    why = error.strerror or error
    return f"its directory in {directories.path} cannot be removed: {why}; {remedy}"
