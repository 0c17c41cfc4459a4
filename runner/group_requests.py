"""What people ask of groups, as one thing: retry, hold, release, change, remove, wait.

What is asked of many jobs is done some at a time, and to its end, though who asked may be gone: but
a retry is one transaction. Who may ask about which group was decided before a call gets here; what
an admin alone may do with its jobs is decided here, as for one job (`runner.queue_requests`). Stops
are `runner.stop_requests`'.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from runner import flow_graph, records, retrying, stored
from runner.group_rows import SKIPPED
from runner.lifecycle import State
from runner.pausing import not_now
from runner.refusal import Refusal
from runner.submission_queue import check_priority, queue_for
from runner.turns import Breaths, Turns
from runner.work import in_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from runner.group_rows import Group
    from runner.intake import Intake
    from runner.message_groups import UpdateGroup
    from runner.policy import Peer
    from runner.pruning import Pruning
    from runner.queueing import Queueing
    from runner.queues import Rules
    from runner.realm import Realm
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)

# Read, and changed in one transaction: some 30 ms. The loop goes on in between.
BATCH: Final = 100


class GroupRequests:
    """The requests about one daemon's groups."""

    def __init__(
        self, realm: Realm, queueing: Queueing, rules: Rules, intake: Intake, pruning: Pruning
    ) -> None:
        self._store, self._changes = realm.store, realm.changes
        self._queueing = queueing
        self._rules = rules
        self._intake = intake
        self._pruning = pruning
        self._turns = Turns()
        self._breaths = Breaths()

    async def close(self) -> None:
        """Wait a while for what is under way."""
        await self._turns.close()

    async def wait_ended(self, group_id: str) -> Group | None:
        """The group once all of its jobs have ended; None when it was removed meanwhile."""
        while (group := self._store.group(group_id)) is not None and group.ended_ns is None:
            await self._changes.next(group_id)
        return group

    # Once more

    async def retry(self, group: Group, peer: Peer) -> int:
        """Queue what failed once more, and what was skipped for it; how many. Raises Refusal.

        All of it or nothing.
        """
        return await self._turns.take(group.id, partial(self._retry, group, peer, None))

    async def retry_step(self, group: Group, job: Job, peer: Peer) -> int:
        """The same of one job that failed: else what was skipped for it would stay behind."""
        return await self._turns.take(group.id, partial(self._retry, group, peer, job.id))

    async def _retry(self, group: Group, peer: Peer, only: str | None) -> int:
        checked: set[str] = set()
        while True:
            # What is to be skipped for what has failed must have been, or it would stay behind.
            await self._queueing.settled()
            ids = self._to_retry(group, only)
            self._intake.refuse_unless_open(group.submitted_by_uid, len(ids))
            if checked.issuperset(ids):
                break
            await self._check([each for each in ids if each not in checked], peer)
            checked.update(ids)
        # Nothing was waited for since it was known which.
        again = self._intake.retry_all(group.submitted_by_uid, ids, peer.uid)
        for job_id in again:
            self._changes.announce(job_id)
        _logger.info("%s %s: %d jobs are queued again by uid %d",
                     group.kind, group.id, len(again), peer.uid)  # fmt: skip
        return len(again)

    def _to_retry(self, group: Group, only: str | None) -> list[str]:
        members = self._store.failed_members(group.id)
        if only is not None:
            members = [each for each in members if each.fate == SKIPPED or each.id == only]
        ids = flow_graph.again(members)
        if not ids:
            raise Refusal("not-now", field="group", given=group.id[:8],
                          detail="none of its jobs that are still there has failed")  # fmt: skip
        return ids

    async def _check(self, ids: Iterable[str], peer: Peer) -> None:
        """Whether jobs may be tried again, as one may. Raises Refusal."""
        places: set[tuple[str, int]] = set()
        sound = b""
        for batch in in_batches(ids, BATCH):
            for job in filter(None, map(self._store.get, batch)):
                if (job.queue, job.priority) not in places:
                    queue = queue_for(self._rules, peer, job.queue)
                    check_priority(self._rules, peer, queue, job.priority)
                    places.add((job.queue, job.priority))
                _check_attempts(job)
                # The jobs of an array have one in common, of up to some MiB.
                if job.spec is not sound:
                    _check_spec(job)
                    sound = job.spec
            await asyncio.sleep(0)

    # Held, changed

    async def hold(self, group: Group, uid: int) -> int:
        """Keep its queued jobs from starting. How many were not held before. Raises StoreError.

        What an admin holds stays the admin's.
        """
        return await self._turns.take(group.id, partial(self._hold, group, uid))

    async def _hold(self, group: Group, uid: int) -> int:
        def may(job: Job) -> bool:
            by_others = job.held_by_uid not in {None, job.submitted_by_uid}
            return job.held_by_uid != uid and not (by_others and uid == job.submitted_by_uid)

        return await self._change(group, "hold", uid, may, held_by_uid=uid)

    async def release(self, group: Group, uid: int, *, is_admin: bool) -> int:
        """Let its held jobs start when their turn comes. How many. Raises Refusal, StoreError.

        What an admin holds only an admin can release.
        """
        release = partial(self._release, group, uid, is_admin=is_admin)
        return await self._turns.take(group.id, release)

    async def _release(self, group: Group, uid: int, *, is_admin: bool) -> int:
        of_others: list[int] = []

        def may(job: Job) -> bool:
            if job.held_by_uid in {None, uid} or is_admin:
                return job.held_by_uid is not None
            of_others.append(job.held_by_uid or 0)
            return False

        released = await self._change(group, "release", uid, may, held_by_uid=None)
        if of_others and not released:
            detail = f"uid {of_others[0]}, an admin, holds it; only an admin can release it"
            raise Refusal("not-permitted", field="group", given=group.id[:8], detail=detail)
        return released

    async def update(self, group: Group, peer: Peer, request: UpdateGroup) -> tuple[Group, int]:
        """How many of it run at once, and the priority of its queued jobs.

        The group then, and how many jobs have another priority; one that is moved meanwhile to
        where it may not have that keeps its own. Raises Refusal, and nothing is changed;
        StoreError.
        """
        return await self._turns.take(group.id, partial(self._update, group, peer, request))

    async def _update(self, group: Group, peer: Peer, request: UpdateGroup) -> tuple[Group, int]:
        priority, most = request.priority, request.max_running
        if priority is not UNSET:
            await self._check_priority(group, peer, priority)
        if most is not UNSET:
            await self._cap(group, peer.uid, most)
        changed = 0
        if priority is not UNSET:

            def may(job: Job) -> bool:
                # Asked once more: since the check it may have been moved.
                is_other = job.priority != priority
                return is_other and bool(self._rules.may_have_priority(peer, job.queue, priority))

            changed = await self._change(group, "priority", peer.uid, may, priority=priority)
        return self._store.group(group.id) or group, changed

    async def _cap(self, group: Group, uid: int, most: int | None) -> None:
        async with self._breaths.of(uid):
            now = self._store.group(group.id)
            if now is not None and now.max_running == most:
                return
            self._store.set_group_max_running(group.id, most, time.time_ns(), uid)
            self._queueing.cap_group(group.id, most)
        _logger.info("%s %s: at most %s of it run at once, by uid %d",
                     group.kind, group.id, most, uid)  # fmt: skip

    async def _check_priority(self, group: Group, peer: Peer, priority: int) -> None:
        queues: set[str] = set()
        for batch in self._queued(group):
            jobs = filter(None, map(self._store.get, batch))
            for name in {job.queue for job in jobs if job.priority != priority} - queues:
                check_priority(self._rules, peer, name, priority)
                queues.add(name)
            await asyncio.sleep(0)

    def _queued(self, group: Group) -> Iterator[list[str]]:
        states = self._store.member_states(group.id)
        queued = (job_id for job_id, state in states if state is State.QUEUED)
        return in_batches(queued, BATCH)

    async def _change(
        self,
        group: Group,
        kind: Any,  # noqa: ANN401 - what the store takes
        uid: int,
        is_meant: Callable[[Job], bool],
        **columns: Any,  # noqa: ANN401
    ) -> int:
        """Change those of its queued jobs that are meant; how many. Raises StoreError."""
        count = 0
        for batch in self._queued(group):
            jobs = filter(None, map(self._store.get, batch))
            ids = [job.id for job in jobs if job.state is State.QUEUED and is_meant(job)]
            if ids:
                now = time.time_ns()
                changed = self._store.change_queued_many(ids, now, kind, uid, **columns)
                self._queueing.all_changed(changed)
                for job_id in changed:
                    self._changes.announce(job_id)
                count += len(changed)
            await asyncio.sleep(0)
        _logger.info("%s %s: %s of %d jobs by uid %d", group.kind, group.id, kind, count, uid)
        return count

    # Removing

    async def remove(self, group: Group, uid: int) -> int:
        """Forget a group that has ended, its jobs and their output. How many jobs. Raises Refusal.

        Raises StoreError: some are left then.
        """
        return await self._turns.take(group.id, partial(self._remove, group, uid))

    async def _remove(self, group: Group, uid: int) -> int:
        now = self._store.group(group.id)
        if now is None or now.ended_ns is None:
            left = now.unended if now else "some"
            raise Refusal("not-now", field="group", given=group.id[:8],
                          detail=f"{left} of its jobs have not ended; stop it first")  # fmt: skip
        ids = [job_id for job_id, _ in self._store.member_states(group.id)]
        removed = await self._pruning.remove(ids, uid)
        _logger.info("%s %s: %d of %d jobs removed by uid %d",
                     group.kind, group.id, removed, len(ids), uid)  # fmt: skip
        return removed


def _check_attempts(job: Job) -> None:
    """Whether there may be one more. Raises Refusal."""
    if job.attempt >= retrying.MOST_ATTEMPTS:
        name = job.name or job.id[:8]
        detail = f"job {name} has had {job.attempt} attempts, the most of a job; submit anew"
        raise not_now(job, detail, "group")


def _check_spec(job: Job) -> None:
    """Whether its spec can be read. Raises Refusal."""
    try:
        stored.spec(job)
    except records.RecordError as error:
        name = job.name or job.id[:8]
        raise not_now(job, f"the record of job {name} is damaged: {error}", "group") from None
