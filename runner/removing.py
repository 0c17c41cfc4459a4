"""The removal of jobs that have ended: their rows, and their directories whatever the disk says.

How a job ends is `runner.ending`'s, which ended jobs nobody needs to keep `runner.pruning`'s; who
may remove one was decided before a call gets here.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from runner.lifecycle import State
from runner.refusal import Refusal
from runner.store_file import FullStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.jobdirs import JobDirectories
    from runner.realm import Realm
    from runner.rows import Job


class Removing:
    """The removals of one daemon's jobs."""

    def __init__(self, realm: Realm) -> None:
        self._store, self._directories = realm.store, realm.directories
        self._changes, self._work, self._problems = realm.changes, realm.work, realm.problems
        # Removed jobs whose directories are being removed, and are not known to be gone.
        self._removing: set[str] = set()
        self._left: set[str] = set()

    async def remove(self, job: Job, uid: int) -> None:
        """Forget an ended job and its output. Raises Refusal for another, and StoreError."""
        # It may have been queued again since it was read.
        state = (self._store.get(job.id) or job).state
        if state is not State.ENDED:
            raise Refusal(
                "job-active", given=job.id[:8], detail=f"it is {state.value}; stop it first"
            )
        # What is removed is not found again after a power cut.
        self._store.settle()
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
        self._store.settle()
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
