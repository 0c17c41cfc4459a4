"""The end of attempts and of jobs: records read, cgroups removed, results committed.

In what order a job gets here is `runner.supervisor`'s, why it ended `runner.outcome`'s, whether
another attempt follows `runner.another_attempt`'s, the removal of what has ended
`runner.removing`'s.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import CgroupError
from runner import outcome, records, retrying, stored
from runner.another_attempt import AnotherAttempt
from runner.disk_usage import UsualBytes, job_bytes
from runner.lifecycle import State
from runner.logs.format import INDEX_RECORD
from runner.pausing import not_now, state_of
from runner.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.outcome import Outcome
    from runner.realm import Realm
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)

# Of so much output there are few segments: measuring them takes no time.
_SMALL_LOG_BYTES: Final = 262_144
# The index of so much has as many blocks whatever is written at once.
_TINY_LOG_BYTES: Final = 512 // INDEX_RECORD.size


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
        self._changes, self._work, self._problems = realm.changes, realm.work, realm.problems
        self._outside = realm.outside
        self._on_end = on_end
        self._on_again = on_again
        self._another = AnotherAttempt(realm, most_memory, most_log_bytes)
        self._usual = UsualBytes()

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
            data = self._directories.read_exit_bytes(job_id, job.attempt)
            if data is None:
                return None
            record = stored.exit_record(data, job_id)
        except (records.RecordError, OSError):
            return None
        # What was dropped leaves gaps, each with a segment behind it.
        log_bytes = (record["log_bytes"] or 0) + (record.get("log_dropped_bytes") or 0)
        if not 0 <= log_bytes <= _SMALL_LOG_BYTES or not self._tree.remove_empty(job_id):
            return None
        record["disk_bytes"] = self._likely_bytes(job_id, len(data), log_bytes)
        return record

    def _likely_bytes(self, job_id: str, record_bytes: int, log_bytes: int) -> int:
        """`disk_bytes` of a first attempt; of one with little or no output without a look at it."""
        spec_bytes = self._directories.untouched(job_id)
        if spec_bytes is None or log_bytes > _TINY_LOG_BYTES:
            return self.disk_bytes(job_id, 1)
        # At most a record of the index for each byte.
        lengths = spec_bytes, record_bytes, log_bytes
        try:
            return self._usual.of(f"{self._directories.path}/{job_id}", lengths)
        except OSError as error:
            return _unmeasured(job_id, error)

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
            self._store.stats.use(facts.get("cpu_usec"), facts.get("log_bytes"))
            return
        is_ok = verdict.reason == outcome.EXIT and verdict.exit_status == 0
        job = self._store.mark_ended(job_id, **about, is_ok=is_ok, disk_bytes=disk_bytes)
        self._store.stats.use(facts.get("cpu_usec"), facts.get("log_bytes"))
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
        # Nobody asks for that any more.
        self._directories.untouched(job_id)
        try:
            return job_bytes(f"{self._directories.path}/{job_id}", attempt)
        except OSError as error:
            return _unmeasured(job_id, error)

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


def _unmeasured(job_id: str, error: OSError) -> int:
    _logger.warning("job %s: its directory cannot be measured: %s", job_id, error)
    return 0
