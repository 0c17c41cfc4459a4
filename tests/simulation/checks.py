"""What every decision has to be, worked out slowly from what the world knows.

whole()   capacity, caps, quotas; work conservation; what is said about who waits
start()   one start: it may, and no job of a higher level was passed over
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from runner.scheduling.kinds import Abandon, Expire, Needs, Start
from runner.scheduling.selection import DEPTH

if TYPE_CHECKING:
    from runner.scheduling.kinds import Action, Waiting
    from tests.simulation.world import World


class Checks:
    """Of one world, as it is now. AssertionError: the scheduler is wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._all = Needs()
        self._jobs: Counter[int] = Counter()
        self._of_user: dict[int, Needs] = {}
        self._of_queue: Counter[str] = Counter()
        self._of_group: Counter[str | None] = Counter()
        # By queue and user, of queues that are apart: these count for nothing else.
        self._beside: Counter[tuple[str, int]] = Counter()
        for job in world.going.values():
            self._of_queue[job.queue] += 1
            self._of_group[job.group] += 1
            if self._is_apart(job.queue):
                self._beside[job.queue, job.uid] += 1
                continue
            needs = self._clamped(job.needs)
            self._all = self._all.plus(needs)
            self._jobs[job.uid] += 1
            self._of_user[job.uid] = self._of_user.get(job.uid, Needs()).plus(needs)

    def order(self, actions: list[Action]) -> None:
        """Ends before starts, and nobody twice."""
        kinds = [isinstance(action, Start) for action in actions]
        assert kinds == sorted(kinds), "an end comes after a start"
        ids = [action.id for action in actions]
        assert len(ids) == len(set(ids)), "a job is in two actions"

    def expire(self, action: Expire) -> None:
        deadline = self._world.waiting[action.id].deadline_ns
        assert deadline is not None, f"{action} has no deadline"
        assert deadline <= self._world.now_ns, f"{action} is too early"

    def abandon(self, action: Abandon) -> None:
        on_id, kind = action.on_id, action.kind
        assert self._world.has_ended(on_id), f"{action}: that has not ended"
        end = self._world.ends.get(on_id)
        assert end is None or not _met(kind, end.ok, end.has_started), f"{action}: it is met"

    def start(self, action: Start) -> None:
        job = self._world.waiting[action.id]
        assert self._world.may_start, f"{action} while draining"
        assert self.is_eligible(job), f"{action}: {job} may not start"
        assert self._is_open(job), f"{action}: its queue is closed"
        assert not self._is_group_full(job), f"{action}: its group is full"
        assert not self._is_user_full(job), f"{action}: its user has enough in that queue"
        assert self._quota_left(job), f"{action}: no quota left"
        assert self._has_room(job), f"{action}: no room for it"

    def whole(self) -> None:
        """Between decisions. What waits and could start has a reason not to."""
        self._counts()
        if not self._world.may_start:
            return
        kept = self._world.scheduler._state.reservation
        behind = self._first_without_quota()
        deep = self._looked_past()
        for job in self._world.waiting.values():
            if not self._is_apart(job.queue):
                if kept is not None and self._level(job) >= kept.level and job.id != kept.job_id:
                    continue
                if deep is not None and self._level(job) >= deep:
                    continue
            assert not self._could_start(job, behind), f"{job} could start and waits"

    def explanations(self) -> None:
        """Something is said about every job that waits after a decision."""
        world = self._world
        for job in world.waiting.values():
            said = world.scheduler.explain(job.id, world.now_ns, may_start=world.may_start)
            assert said.because, f"{job} waits for no reason"
            assert said.ahead >= 0
            assert world.scheduler.cause(job.id) == said.because[0].cause
            assert said.start_ns is None or said.start_ns >= world.now_ns

    def is_eligible(self, job: Waiting) -> bool:
        """Whether it could start, on an empty machine."""
        now_ns, world = self._world.now_ns, self._world
        return (
            not job.is_held
            and (job.not_before_ns is None or job.not_before_ns <= now_ns)
            and (job.deadline_ns is None or job.deadline_ns > now_ns)
            and not world.unmet[job.id]
        )

    def _counts(self) -> None:
        world = self._world
        scheduler = world.scheduler
        assert scheduler.waiting_count() == len(world.waiting)
        apart = sum(self._beside.values())
        assert scheduler.going_count() == len(world.going) - apart
        assert scheduler.promised() == self._all
        for uid, count in Counter(job.uid for job in world.waiting.values()).items():
            assert scheduler.waiting_of(uid) == count
        for uid, needs in self._of_user.items():
            assert scheduler.usage(uid) == (self._jobs[uid], needs)
        waiting = Counter(job.uid for job in world.waiting.values() if self._is_apart(job.queue))
        for uid in {job.uid for job in world.waiting.values()}:
            assert scheduler.waiting_apart(uid) == waiting[uid]

    def _could_start(self, job: Waiting, behind: dict[int, tuple[int | str, ...]]) -> bool:
        if not self._is_candidate(job) or not self._quota_left(job) or not self._has_room(job):
            return False
        first = behind.get(job.uid)
        return first is None or self._position(job) < first

    def _first_without_quota(self) -> dict[int, tuple[int | str, ...]]:
        """Where in each user's order a job waits for quota: the later ones wait with it."""
        found: dict[int, tuple[int | str, ...]] = {}
        for job in self._world.waiting.values():
            if self._is_candidate(job) and not self._quota_left(job) and self._alone(job):
                at = self._position(job)
                found[job.uid] = min(at, found.get(job.uid, at))
        return found

    def _looked_past(self) -> tuple[int, int] | None:
        """From which level on only so many jobs are looked at: one there does not fit."""
        if len(self._world.waiting) <= DEPTH:
            return None
        short = (
            self._level(job)
            for job in self._world.waiting.values()
            if self._is_candidate(job) and not self._has_room(job)
        )
        return min(short, default=None)

    def _is_candidate(self, job: Waiting) -> bool:
        is_full = self._is_group_full(job) or self._is_user_full(job)
        return self.is_eligible(job) and self._is_open(job) and not is_full

    def _is_open(self, job: Waiting) -> bool:
        queue = self._world.queues.get(job.queue)
        if queue is None or queue.paused:
            return False
        return queue.max_running is None or self._of_queue[job.queue] < queue.max_running

    def _is_group_full(self, job: Waiting) -> bool:
        if job.group is None or job.group_cap is None:
            return False
        return self._of_group[job.group] >= job.group_cap

    def _is_user_full(self, job: Waiting) -> bool:
        queue = self._world.queues.get(job.queue)
        if queue is None or queue.user_cap is None:
            return False
        return self._beside[job.queue, job.uid] >= queue.user_cap

    def _is_apart(self, name: str) -> bool:
        queue = self._world.queues.get(name)
        return queue is not None and queue.apart

    def _quota_left(self, job: Waiting) -> bool:
        if self._is_apart(job.queue):
            return True
        most = self._world.quota_of(job.uid).max_running
        used = self._of_user.get(job.uid, Needs())
        return (most is None or self._jobs[job.uid] < most) and self._within(job, used)

    def _alone(self, job: Waiting) -> bool:
        return self._within(job, Needs())

    def _within(self, job: Waiting, used: Needs) -> bool:
        quota, needs = self._world.quota_of(job.uid), self._clamped(job.needs)
        both = used.plus(needs)
        cpus, memory = quota.max_millicpus, quota.max_memory_bytes
        return (not needs.millicpus or cpus is None or both.millicpus <= cpus) and (
            not needs.memory_bytes or memory is None or both.memory_bytes <= memory
        )

    def _has_room(self, job: Waiting) -> bool:
        if self._is_apart(job.queue):
            return True
        world, needs = self._world, self._clamped(job.needs)
        both = self._all.plus(needs)
        most = world.capacity.needs
        return (
            len(world.going) - sum(self._beside.values()) < world.capacity.slots
            and (not needs.millicpus or both.millicpus <= most.millicpus)
            and (not needs.memory_bytes or both.memory_bytes <= most.memory_bytes)
        )

    def _clamped(self, needs: Needs) -> Needs:
        most = self._world.capacity.needs
        return Needs(
            min(needs.millicpus, most.millicpus), min(needs.memory_bytes, most.memory_bytes)
        )

    def _level(self, job: Waiting) -> tuple[int, int]:
        queue = self._world.queues.get(job.queue)
        return (0 if queue is None else -queue.priority, -job.priority)

    def _position(self, job: Waiting) -> tuple[int | str, ...]:
        return (*self._level(job), job.rank, job.id)


def _met(kind: str, ok: bool, has_started: bool) -> bool:  # noqa: FBT001  a table in three columns
    return {"any": True, "ok": ok, "fail": not ok, "started": has_started}[kind]
