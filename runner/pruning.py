"""Removes ended jobs: those beyond the bounds of `[retention]`, and those somebody asks for.

Which ones is decided in `runner.retention`, how one is removed in `runner.removing`. In the
event loop's thread, some jobs at a time, so that nobody waits for it however many there are:
a batch is one commit, and its directories are removed in a thread before the next begins. Jobs of
a group are passed over, without a look at them, until it has ended (`runner.ended`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from runner import retention
from runner.retention import GRACE_SECONDS, Selection
from runner.store import StoreError
from runner.turns import Turns
from runner.work import in_batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.config import RetentionConfig
    from runner.ending import Ending
    from runner.realm import Realm
    from runner.removing import Removing
    from runner.rows import EndedJob

_logger: Final = logging.getLogger(__name__)

# Age needs a look now and then; what has ended is looked at when it may go.
INTERVAL_SECONDS: Final = 60.0
_SOON_SECONDS: Final = GRACE_SECONDS + 0.1
# Each keeps the loop for about a millisecond: jobs that are removed together, or measured, or
# only counted, and events.
BATCH: Final = 16
_MEASURED: Final = 32
_PAGE: Final = 100
_EVENTS: Final = 200
_SECOND_NS: Final = 1_000_000_000
# What an answer names.
MOST_NAMED: Final = 1000
# Batches come one after the other, whoever asks: they share threads with the launches.
_ONE_QUEUE: Final = ""


class Pruned:
    """What was removed, or would be: how many, their bytes on the disk, the first of them."""

    def __init__(self) -> None:
        self.jobs = 0
        self.bytes = 0
        self.removed: list[str] = []

    def add(self, jobs: Iterable[EndedJob]) -> None:
        """Count some more."""
        for job in jobs:
            self.jobs += 1
            self.bytes += job.bytes
            if len(self.removed) < MOST_NAMED:
                self.removed.append(job.id)


class _Request(NamedTuple):
    """What somebody asks for, of each user; `now_ns` is when."""

    selection: Selection
    by_uid: int
    now_ns: int
    dry_run: bool


class Pruning:
    """The removing of one daemon. Made before a job can end; works from `begin` on."""

    def __init__(
        self, realm: Realm, ending: Ending, removing: Removing, config: RetentionConfig
    ) -> None:
        self._store, self._work = realm.store, realm.work
        self._ending, self._removing = ending, removing
        self._config = config
        self._turns = Turns()
        # Jobs that could not be removed: tried again in the next round, not in this one.
        self._stuck: dict[str, EndedJob] = {}
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._ended_since = False
        self._tasks: list[asyncio.Task[None]] = []
        self._has_begun = False

    def begin(self) -> None:
        """Remove from now on what is beyond the bounds."""
        loop = self._work.loop
        self._tasks = [loop.create_task(self._rounds()), loop.create_task(self._measure_the_old())]
        # What ended just before the start may not go in the first round.
        self.soon()

    def soon(self) -> None:
        """A job has ended: look when it may go. Costs nothing, however often it is said."""
        if self._timer is not None:
            self._ended_since = True
        elif self._tasks:
            self._timer = self._work.loop.call_later(_SOON_SECONDS, self._look)

    async def close(self) -> None:
        """Stop; the batch that is under way is finished."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._turns.close()

    async def prune(
        self, uids: Iterable[int] | None, selection: Selection, by_uid: int, *, dry_run: bool
    ) -> Pruned:
        """Remove of the ended jobs of some users, or of each, those that `selection` says.

        Jobs that end meanwhile stay. Raises StoreError; what was removed by then is removed.
        """
        request = _Request(selection, by_uid, time.time_ns(), dry_run)
        found = Pruned()
        for uid in sorted(self._store.ended.final_totals()) if uids is None else uids:
            await self._prune_user(uid, request, found)
        return found

    async def _prune_user(self, uid: int, request: _Request, found: Pruned) -> None:
        ended = self._store.ended
        to_look_at, passed = ended.final_total(uid).jobs, 0
        after: EndedJob | None = None
        while page := ended.page(uid, after, min(_PAGE if request.dry_run else BATCH, to_look_at)):
            # Counted anew: others may remove jobs meanwhile, and the newest are to stay.
            left = ended.final_total(uid).jobs - passed
            chosen = list(retention.selected(request.selection, left, page, request.now_ns))
            gone = chosen if request.dry_run else await self._remove(chosen, request.by_uid)
            found.add(gone)
            if len(chosen) < len(page):
                return
            # Somebody else may have removed the rest of them.
            passed += len(page) if request.dry_run else sum(map(self._stays, page))
            to_look_at -= len(page)
            after = page[-1]
            await asyncio.sleep(0)

    async def remove(self, ids: Iterable[str], by_uid: int) -> int:
        """Remove these ended jobs; how many were. Raises StoreError: some are left then."""
        removed = 0
        for batch in in_batches(ids, BATCH):
            remove = partial(self._removing.remove_ended, batch, by_uid)
            removed += len(await self._turns.take(_ONE_QUEUE, remove))
        return removed

    # By the configuration

    def _look(self) -> None:
        self._timer = None
        self._wake.set()
        if self._ended_since:
            self._ended_since = False
            self.soon()

    async def _rounds(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._round()
            except StoreError as error:
                _logger.error("ended jobs cannot be removed: %s", error)  # noqa: TRY400
            except Exception:
                # Whatever it is, the next round may do better; without any the disk fills up.
                _logger.exception("a defect in the removal of ended jobs")
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._wake.wait()

    async def _round(self) -> None:
        self._stuck.clear()
        await self._removing.retry_removals()
        found = Pruned()
        try:
            while batch := self._decide():
                self._say_why(batch)
                found.add(await self._remove(batch, 0))
                self._stuck |= {job.id: job for job in batch if self._stays(job)}
        finally:
            if found.jobs:
                _logger.info("removed %d ended jobs of %d bytes, by the bounds of [retention]",
                             found.jobs, found.bytes)  # fmt: skip
        await self._trim_events()

    def _say_why(self, batch: list[EndedJob]) -> None:
        """Before the first removal since the start: an older version may have kept them all."""
        if self._has_begun:
            return
        self._has_begun = True
        ended = self._store.ended
        totals, now_ns = (ended.final_total(), ended.final_totals()), time.time_ns()
        why = "; ".join(retention.reasons(self._config, *totals, batch[0], now_ns))
        _logger.warning("ended jobs are removed from now on, the oldest first: %s", why)

    async def _trim_events(self) -> None:
        age = self._config.max_event_age_seconds
        before_ns = None if age is None else time.time_ns() - round(age * _SECOND_NS)
        are_more = True
        while are_more:
            are_more = self._store.trim_events(self._config.max_events, _EVENTS, before_ns)
            await asyncio.sleep(0)

    def _decide(self) -> list[EndedJob]:
        """The next that have to go, as if those that cannot be removed were gone."""
        ended = self._store.ended
        total, by_user = ended.final_total(), ended.final_totals()
        for job in self._stuck.values():
            total = total.plus(-1, -job.bytes)
            if job.uid in by_user:
                by_user[job.uid] = by_user[job.uid].plus(-1, -job.bytes)
        now_ns = time.time_ns()
        found = retention.to_remove(self._config, total, by_user, self._oldest_first, now_ns)
        return list(islice(found, BATCH))

    def _oldest_first(self, uid: int | None) -> Iterator[EndedJob]:
        after: EndedJob | None = None
        while page := self._store.ended.page(uid, after, BATCH + 1):
            after = page[-1]
            yield from (job for job in page if job.id not in self._stuck)

    async def _measure_the_old(self) -> None:
        """Count what an older daemon did not, or what could not be counted at the end."""
        after: int | None = 0
        while after is not None:
            try:
                after = await self._measure_page(after)
            # RuntimeError: no thread can be started.
            except (StoreError, RuntimeError) as error:
                _logger.error("the sizes of ended jobs cannot be stored yet: %s", error)  # noqa: TRY400
                await asyncio.sleep(INTERVAL_SECONDS)
            except Exception:
                _logger.exception("a defect in the measuring of ended jobs")
                await asyncio.sleep(INTERVAL_SECONDS)
        self._wake.set()

    async def _measure_page(self, after: int) -> int | None:
        """Measure the next jobs after this number; the last one's, None when there is none."""
        page = self._store.ended.unmeasured(after, _MEASURED)
        if not page:
            return None
        sizes = await self._work.blocking(self._sizes, [job_id for _, job_id in page])
        if sizes:
            self._store.measure(sizes)
        return page[-1][0]

    def _sizes(self, ids: list[str]) -> dict[str, int]:
        sizes = {job_id: self._ending.disk_bytes(job_id) for job_id in ids}
        return {job_id: size for job_id, size in sizes.items() if size}

    # For both

    async def _remove(self, jobs: list[EndedJob], uid: int) -> list[EndedJob]:
        """Remove a batch, to its end though who asked may be gone; those that are removed."""
        if not jobs:
            return []
        ids = [job.id for job in jobs]
        removed = await self._turns.take(_ONE_QUEUE, partial(self._removing.remove_ended, ids, uid))
        gone = frozenset(removed)
        return [job for job in jobs if job.id in gone]

    def _stays(self, job: EndedJob) -> bool:
        """Whether it is still one of those that could go."""
        found = self._store.get(job.id)
        return found is not None and self._removing.is_over(found)
