"""The launches that are under way: so many at a time, and what becomes of those that fail.

In the event loop's thread. None begins before its submission is on disk, and all that was promised
before it, so that a job that ran is known after a power cut (`runner.settling`). How a job is
launched is `runner.launching`'s, when `runner.queueing`'s; where a job is whose launcher died is
found out by `runner.restart`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from runner import outcome
from runner.launch_answers import LauncherGoneError
from runner.launching import CannotLaunchError, HostShortError, Started
from runner.rows import DamagedRowError
from runner.store_file import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.ending import Ending
    from runner.group_rows import About, Group
    from runner.launching import Begun, Launching
    from runner.realm import Realm
    from runner.restart import Restart
    from runner.rows import Job
    from runner.running import Running
    from runner.shortage import Shortage
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)

# Plain ones: each keeps the loop for half a millisecond, and the launcher takes one at a time.
AT_ONCE: Final = 8
_SETTLE_SECONDS: Final = 10.0


class Launches:
    """Those of one daemon."""

    def __init__(
        self,
        realm: Realm,
        launching: Launching,
        *,
        running: Running,
        ending: Ending,
        restart: Restart,
        shortage: Shortage,
    ) -> None:
        self._store, self._work = realm.store, realm.work
        self._settling = realm.settling
        self._launching = launching
        self._running = running
        self._ending = ending
        self._restart = restart
        self._shortage = shortage
        # Asked of a launcher that has not answered.
        self._asked = 0
        self._next: deque[Job] = deque()
        self._done: asyncio.Future[None] | None = None
        self._closed = False

    def begin(self, job: Job) -> None:
        """Launch a job that is committed as starting, when that is on disk: now or soon.

        Or when some others are through.
        """
        self._next.append(job)
        self._settling.then(self._go_on)

    async def close(self) -> None:
        """Let what is under way settle for a while; an answer after that is nobody's."""
        if self._asked or self._next:
            self._done = self._work.loop.create_future()
            await asyncio.wait([self._done], timeout=_SETTLE_SECONDS)
        self._closed = True
        # Nobody was asked for them, which only this process knows.
        for job in self._next:
            with suppress(StoreError):
                self._store.mark_requeued(job.id, time.time_ns(), "runnerd ended")
        self._next.clear()

    def _begin(self, job: Job) -> None:
        self._asked += 1
        try:
            is_asked = self._ask(job)
        except Exception as error:  # noqa: BLE001 - it is told there
            self._answered(job, error)
            return
        if not is_asked:
            self._asked -= 1
            self._work.spawn(self._launch(job))
            self._go_on_soon()

    def _ask(self, job: Job) -> bool:
        """Whether a launcher is asked, and `_answered` will be called: the job is plain."""
        group = group_of(self._store, job)
        labels = _labels_of(self._store, job)
        return self._launching.begin(job, labels, group, partial(self._answered, job))

    def _answered(self, job: Job, begun: Begun) -> None:
        self._asked -= 1
        if self._closed:
            if isinstance(begun, Started):
                os.close(begun.monitor.pidfd)
            return
        try:
            if isinstance(begun, Started):
                self._has_begun(job, begun)
            else:
                self._work.spawn(self._take_back(job, begun))
        finally:
            # Whatever is wrong with this one, the others have their turn.
            self._go_on_soon()

    def _go_on_soon(self) -> None:
        """Not from within: whoever fails at once would come here again for each of the others."""
        if self._next or self._done is not None:
            self._work.loop.call_soon(self._settling.then, self._go_on)

    def _go_on(self) -> None:
        if self._next and self._asked < AT_ONCE and not self._closed:
            self._begin(self._next.popleft())
        if self._done is not None and not (self._asked or self._next or self._done.done()):
            self._done.set_result(None)

    async def _launch(self, job: Job) -> None:
        try:
            labels, group = _labels_of(self._store, job), group_of(self._store, job)
            started = await self._launching.launch(job, labels, group)
        except Exception as error:  # noqa: BLE001 - it is told there
            await self._fail(job, error)
        else:
            self._has_begun(job, started)

    async def _take_back(self, job: Job, error: Exception) -> None:
        await self._fail(job, await self._launching.take_back(job, error))

    def _has_begun(self, job: Job, started: Started) -> None:
        self._shortage.over()
        self._running.begin_now(job.id, *started.monitor, started.limits, started.asked_ns)

    async def _fail(self, job: Job, error: Exception) -> None:
        if isinstance(error, HostShortError):
            self._shortage.found(str(error))
            await self._restart.requeue(job.id, str(error))
        elif isinstance(error, CannotLaunchError):
            _logger.warning("job %s could not be launched: %s", job.id, error)
            verdict = outcome.never_started(str(error))
            await self._work.surely(lambda: self._ending.end(job.id, verdict, {}))
        elif isinstance(error, LauncherGoneError):
            _logger.warning("job %s: %s; looking for its monitor", job.id, error)
            await self._restart.settle(job)
        else:
            # A defect of ours must not keep a job starting for ever, nor start it for ever.
            text = "a defect in the launch of job %s; looking for its monitor"
            _logger.error(text, job.id, exc_info=error)
            await self._restart.settle(job, may_requeue=False)


def _labels_of(store: Store, job: Job) -> Mapping[str, str]:
    """The labels of a job; none where they cannot be read now, which is no reason not to launch."""
    with suppress(StoreError, DamagedRowError):
        if store.attached(job).labels:
            return store.labels([job.id])[job.id]
    return {}


def group_of(store: Store, job: Job) -> tuple[Group, About] | None:
    """The group that a job is of, None for a job by itself. Raises CannotLaunchError."""
    if job.group_id is None:
        return None
    try:
        group = store.group(job.group_id)
        if group is not None:
            return group, store.group_about(group)
    except (StoreError, DamagedRowError) as error:
        raise CannotLaunchError(str(error)) from error
    raise CannotLaunchError(f"its group {job.group_id} is lost")
