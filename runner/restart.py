"""After a restart: finds out what became of the jobs that were under way, and goes on.

The verdicts are `runner.reconcile`'s. A launch whose outcome is not known is settled in the
same way.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

from runner.lifecycle import State
from runner.reconcile import Facts, Verdict, examine, judge
from runner.store_file import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.ending import Ending
    from runner.pausing import Pausing
    from runner.realm import Realm
    from runner.removing import Removing
    from runner.rows import Job
    from runner.running import Running
    from runner.updating import Updating

_logger: Final = logging.getLogger(__name__)


class Restart:
    """Settles jobs. `on_again` is called when one is queued again because it never ran."""

    def __init__(
        self,
        realm: Realm,
        ending: Ending,
        removing: Removing,
        pausing: Pausing,
        updating: Updating,
        running: Running,
        on_again: Callable[[Job], None],
    ) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._work = realm.work
        self._ending, self._removing = ending, removing
        self._pausing = pausing
        self._updating = updating
        self._running = running
        self._on_again = on_again
        self._problems = realm.problems

    async def reconcile(self) -> None:
        """Settle every job that was under way."""
        await self._finish_removals()
        unsettled = set()
        for job in self._store.launched():
            try:
                await self.settle(job)
            # What cannot be found out of one job must not keep the others from their daemon.
            except (OSError, StoreError, ValueError) as error:
                unsettled.add(job.id)
                text = f"where it is cannot be found out, the next start tries again: {error}"
                self._problems.add(text, job.id)
        await self._report_strangers(unsettled)

    async def _finish_removals(self) -> None:
        """What was half removed needs no daemon to wait for it."""
        try:
            await self._removing.finish_removals()
        except (OSError, StoreError, ValueError) as error:
            text = f"a removal that was under way is finished at the next start: {error}"
            self._problems.add(text)

    async def settle(self, job: Job, *, may_requeue: bool = True) -> None:
        """Find out where a job is that was starting, running or paused, and go on from there."""
        facts = await self._work.patiently(examine, job, self._tree, self._directories)
        verdict = judge(job.state, facts)
        _logger.info("job %s was %s: %s", job.id, job.state.value, verdict.value)
        if verdict is Verdict.WATCH:
            await self._adopt(job, facts)
            return
        if facts.pidfd is not None:
            os.close(facts.pidfd)
        if verdict is Verdict.FINISH:
            await self._ending.finish(job.id)
        elif verdict is Verdict.LOST or not may_requeue:
            why = facts.damage or facts.cut or "its monitor is gone and left no record"
            await self._ending.lose(job.id, why)
        else:
            await self._ending.clean_up(job.id)
            await self.requeue(job.id, "it never ran")

    async def requeue(self, job_id: str, why: str) -> None:
        """Queue a job again that was starting, in its old place; nothing of it may be left."""
        now = time.time_ns()
        await self._work.surely(lambda: self._requeue(job_id, now, why))

    def _requeue(self, job_id: str, now_ns: int, why: str) -> None:
        _logger.info("job %s is queued again: %s", job_id, why)
        job = self._store.mark_requeued(job_id, now_ns, why)
        self._changes.announce(job_id)
        self._on_again(job)

    async def _adopt(self, job: Job, facts: Facts) -> None:
        assert facts.pidfd is not None  # noqa: S101 - what the verdict says
        assert facts.pid is not None  # noqa: S101
        if job.state is State.STARTING:
            await self._running.begin(job.id, facts.pid, facts.pidfd, None, facts.begun_ns)
        else:
            self._running.watch(job.id, facts.pidfd)
        if facts.damage is not None:
            self._problems.add(facts.damage, job.id)
        try:
            await self._work.blocking(self._directories.check_control, job.id)
        except OSError as error:
            text = f"its monitor cannot be told anything, a stop kills it: {error.strerror}"
            self._problems.add(text, job.id)
        await self._work.surely(lambda: self._pausing.settle(job, frozen=facts.frozen))
        await self._updating.settle(job.id)

    async def _report_strangers(self, unsettled: set[str]) -> None:
        """Cgroups of no running job: those of ended jobs go, a stranger's when it is empty."""
        for job_id in await self._work.blocking(self._tree.jobs):
            if job_id in self._running or job_id in unsettled:
                continue
            cgroup = self._tree.job(job_id)
            is_known = self._store.get(job_id) is not None
            if cgroup is not None and not is_known and cgroup.populated():
                text = "it is not in the store, and its cgroup has processes; left alone: end them "
                self._problems.add(f"{text}by its cgroup.kill", job_id)
            else:
                await self._ending.clean_up(job_id)
