"""The end of jobs: records read, cgroups removed, results committed; and their removal.

In what order a job gets here is `runner.supervisor`'s, why it ended `runner.outcome`'s, which
ended jobs nobody needs to keep `runner.pruning`'s.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import CgroupError
from runner import outcome, records, stored
from runner.disk_usage import tree_bytes
from runner.lifecycle import State
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


class Ending:
    """The ends of one daemon's jobs. `on_end` is called after each."""

    def __init__(self, realm: Realm, on_end: Callable[[], None]) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._work = realm.work
        self._hooks = realm.hooks
        self._problems = realm.problems
        self._on_end = on_end
        # Removed jobs whose directories are being removed, and are not known to be gone.
        self._removing: set[str] = set()
        self._left: set[str] = set()

    async def finish(self, job_id: str) -> None:
        """The monitor is gone: its record says how the job ended, or the job is lost."""
        try:
            record = await self._work.patiently(self._final_record, job_id)
            why = "its monitor ended without a record"
        except (records.RecordError, OSError) as error:
            record, why = None, f"its exit record cannot be read: {error}"
            self._problems.add(why, job_id)
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

    def _final_record(self, job_id: str) -> dict[str, Any] | None:
        """How a job ended, and what its directory takes, which nobody writes to any more."""
        record = self._directories.read_exit(job_id)
        return None if record is None else {**record, "disk_bytes": self.disk_bytes(job_id)}

    async def _end_recorded(self, job_id: str, record: dict[str, Any]) -> None:
        names = outcome.Outcome._fields
        verdict = outcome.Outcome(**{name: record[name] for name in names})
        rest = {name: value for name, value in record.items() if name not in names}
        await self._work.surely(lambda: self.end(job_id, verdict, rest))

    def end(self, job_id: str, verdict: Outcome, facts: dict[str, Any]) -> None:
        """Commit the end, tell whoever waits, and start what now has room.

        `facts` are fields of the result and of the job; without `disk_bytes` among them its
        directory is measured afterwards.
        """
        result = {**{name: facts.get(name) for name in stored.RESULT_FIELDS}, **verdict._asdict()}
        self._store.mark_ended(
            job_id,
            facts.get("ended_ns") or time.time_ns(),
            verdict.reason,
            records.pack(result),
            started_ns=facts.get("started_ns"),
            disk_bytes=facts.get("disk_bytes", 0),
        )
        _logger.info("job %s ended: %s, status %d", job_id, verdict.reason, verdict.exit_status)
        if "disk_bytes" not in facts:
            self._work.spawn(self._measure(job_id))
        self._changes.announce(job_id)
        self._on_end()

    async def _measure(self, job_id: str) -> None:
        size = await self._work.blocking(self.disk_bytes, job_id)
        # Most of them have never begun, and have no directory.
        if size:
            await self._work.surely(lambda: self._store.measure({job_id: size}))

    def disk_bytes(self, job_id: str) -> int:
        """What a job's directory takes; 0 when that cannot be found out: the next start tries."""
        try:
            return tree_bytes(os.path.join(self._directories.path, job_id))
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
        """Forget an ended job and its output. Raises Refusal for another, and StoreError."""
        if job.state is not State.ENDED:
            raise Refusal(
                "job-active", given=job.id[:8], detail=f"it is {job.state.value}; stop it first"
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

        Raises StoreError: then some may have lost their output, and can be removed again.
        """
        return await self._forget([job_id for job_id in ids if self._doomed(job_id)], uid)

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
