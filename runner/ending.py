"""The end of jobs: records read, cgroups removed, results committed; and their removal.

In what order a job gets here is `runner.supervisor`'s, why it ended `runner.outcome`'s.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import CgroupError
from runner import outcome, records, stored
from runner.lifecycle import State
from runner.refusal import Refusal
from runner.store import StoreError
from runner.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.outcome import Outcome
    from runner.realm import Realm
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)


class Ending:
    """The ends of one daemon's jobs. `on_room` is called when there is room for another."""

    def __init__(self, realm: Realm, on_room: Callable[[], None]) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._work = realm.work
        self._hooks = realm.hooks
        self._on_room = on_room

    async def finish(self, job_id: str) -> None:
        """The monitor is gone: its record says how the job ended, or the job is lost."""
        try:
            record = await self._work.patiently(self._directories.read_exit, job_id)
            why = "its monitor ended without a record"
        except (records.RecordError, OSError) as error:
            record, why = None, f"its exit record cannot be read: {error}"
        if record is None:
            await self.lose(job_id, why)
        else:
            await self.clean_up(job_id)
            await self._end_recorded(job_id, record)

    async def lose(self, job_id: str, why: str) -> None:
        """End a job of which nobody knows how it ended."""
        usage = await self._work.blocking(self._last_usage, job_id)
        await self.clean_up(job_id)
        _logger.error("job %s is lost: %s", job_id, why)
        await self._work.surely(lambda: self.end(job_id, outcome.lost(why), usage))

    async def _end_recorded(self, job_id: str, record: dict[str, Any]) -> None:
        names = outcome.Outcome._fields
        verdict = outcome.Outcome(**{name: record[name] for name in names})
        rest = {name: value for name, value in record.items() if name not in names}
        await self._work.surely(lambda: self.end(job_id, verdict, rest))

    def end(self, job_id: str, verdict: Outcome, facts: dict[str, Any]) -> None:
        """Commit the end, tell whoever waits, and start what now has room."""
        result = {**{name: facts.get(name) for name in stored.RESULT_FIELDS}, **verdict._asdict()}
        self._store.mark_ended(
            job_id,
            facts.get("ended_ns") or time.time_ns(),
            verdict.reason,
            records.pack(result),
            started_ns=facts.get("started_ns"),
        )
        _logger.info("job %s ended: %s, status %d", job_id, verdict.reason, verdict.exit_status)
        self._changes.announce(job_id)
        self._on_room()

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
        try:
            await self._work.blocking(self._remove_cgroup, job_id)
        except OSError as error:
            _logger.error("job %s: its cgroup stays behind: %s", job_id, error)  # noqa: TRY400
        if self._hooks.release is not None:
            try:
                await self._hooks.release(job_id)
            # RuntimeError: no thread can be started.
            except (OSError, RuntimeError) as error:
                _logger.error(  # noqa: TRY400 - the text says it
                    "job %s: what it held stays until the next start: %s", job_id, error
                )

    def _remove_cgroup(self, job_id: str) -> None:
        cgroup = self._tree.job(job_id)
        if cgroup is not None:
            # A monitor that was killed takes its PID namespace with it; a process that a
            # privileged job moved out of that namespace would still be here.
            cgroup.kill()
            cgroup.remove()

    # Removing

    async def remove(self, job: Job, uid: int) -> None:
        """Forget an ended job and its output. Raises Refusal for another."""
        if job.state is not State.ENDED:
            raise Refusal(
                "job-active", given=job.id[:8], detail=f"it is {job.state.value}; stop it first"
            )
        self._directories.doom(job.id)
        try:
            self._store.delete(job.id, time.time_ns(), uid)
        except StoreError:
            # A full disk: what is removed makes the room to say so.
            await self._remove_doomed(job.id)
            self._store.delete(job.id, time.time_ns(), uid)
        self._changes.announce(job.id)
        await self._remove_doomed(job.id)

    async def finish_removals(self) -> None:
        """After a restart: remove what was being removed."""
        for job_id in self._directories.doomed():
            job = self._store.get(job_id)
            if job is not None and job.state is State.ENDED:
                self._store.delete(job_id, time.time_ns(), 0)
            await self._remove_doomed(job_id)

    async def _remove_doomed(self, job_id: str) -> None:
        try:
            await self._work.blocking(self._directories.remove_doomed, job_id)
        except OSError as error:
            _logger.error(  # noqa: TRY400 - the text says it
                "job %s: its directory stays until the next start: %s", job_id, error
            )
