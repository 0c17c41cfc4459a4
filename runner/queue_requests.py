"""What people ask of the queue: hold, release, move, why, the queues themselves.

Each is checked, committed, and then told to `runner.queueing`. Who may ask about which job was
decided before a call gets here; what an admin alone may do with it is decided here, by
`runner.policy` and the rules of the configuration.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from runner.lifecycle import State
from runner.pausing import not_now, state_of
from runner.promises import needs_of
from runner.refusal import Refusal, shown
from runner.rows import QueueState
from runner.store import NoSuchJobError, NotUpdatableError
from runner.submission_queue import check_priority, queue_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.message_queue import SetQueue
    from runner.policy import Peer
    from runner.queueing import Queueing
    from runner.queues import Rules
    from runner.realm import Realm
    from runner.rows import Job
    from runner.scheduling.kinds import Because, Explanation
    from runner.store_queue import QueueChange


_logger: Final = logging.getLogger(__name__)


class QueueRequests:
    """The requests about one daemon's queue."""

    def __init__(self, realm: Realm, queueing: Queueing, rules: Rules) -> None:
        self._store, self._changes = realm.store, realm.changes
        self._queueing = queueing
        self._rules = rules

    # Of one job

    def hold(self, job: Job, uid: int) -> Job:
        """Keep a queued job from starting. Raises Refusal, StoreError.

        What an admin holds stays the admin's.
        """
        by_others = job.held_by_uid not in {None, job.submitted_by_uid}
        if job.held_by_uid == uid or (by_others and uid == job.submitted_by_uid):
            return self._still_queued(job)
        return self._change(job, "hold", uid, held_by_uid=uid)

    def release(self, job: Job, uid: int, *, is_admin: bool) -> Job:
        """Let a held job start when its turn comes. Raises Refusal, StoreError."""
        if job.held_by_uid is None:
            return self._still_queued(job)
        if job.held_by_uid != uid and not is_admin:
            detail = f"uid {job.held_by_uid}, an admin, holds it; only an admin can release it"
            raise Refusal("not-permitted", field="job", given=job.id[:8], detail=detail)
        return self._change(job, "release", uid, held_by_uid=None)

    def move(
        self, job: Job, peer: Peer, *, top: bool, before: Job | None, queue: str | None
    ) -> Job:
        """Put a queued job before all, or directly before one, of its submitter's; or elsewhere.

        Raises Refusal, StoreError.
        """
        self._still_queued(job)
        # A place is one among all that wait.
        self._queueing.arrivals.hurry()
        if before is not None:
            self._refuse_neighbour(job, before)
            self._refuse_place(peer, job, before.queue, before.priority, "before")
            return self._move_before(job, before, peer.uid)
        name = job.queue if queue is None else queue_for(self._rules, peer, queue)
        self._refuse_place(peer, job, name, job.priority, "queue")
        place: dict[str, Any] = {} if name == job.queue else {"queue": name}
        waiting = self._queueing.ranks.get(job.id)
        if top and waiting is not None:
            lane = (job.submitted_by_uid, name, job.priority)
            place["rank"] = self._queueing.ranks.top(lane, waiting)
        return self._change(job, "move", peer.uid, **place) if place else self._still_queued(job)

    def _refuse_neighbour(self, job: Job, before: Job) -> None:
        self._still_queued(before, "before")
        if before.id == job.id:
            raise Refusal("invalid-argument", field="before", given=before.id[:8],
                          allowed="another job")  # fmt: skip
        if before.submitted_by_uid != job.submitted_by_uid:
            detail = "jobs of different users share their turns; only `priority` is between them"
            raise Refusal("invalid-argument", field="before", given=before.id[:8],
                          allowed="a job of the same submitter", detail=detail)  # fmt: skip

    def _refuse_place(self, peer: Peer, job: Job, queue: str, priority: int, field: str) -> None:
        if (queue, priority) == (job.queue, job.priority):
            return
        queue_for(self._rules, peer, queue, field)
        check_priority(self._rules, peer, queue, priority, field)

    def _move_before(self, job: Job, before: Job, uid: int) -> Job:
        other = self._queueing.ranks.get(before.id)
        if other is None:
            raise not_now(before, "it is starting or ending", "before")
        others = self._queueing.ranks.before(other, job.id)
        place = {"queue": before.queue, "priority": before.priority, "rank": others.pop(job.id)}
        return self._change(job, "move", uid, others=others, **place)

    def _still_queued(self, job: Job, field: str = "job") -> Job:
        """The job as it is now. Raises Refusal when it does not wait."""
        now = self._store.get(job.id)
        if now is None or now.state is not State.QUEUED:
            raise not_now(now, f"{state_of(now)}; only a queued job has a place", field)
        return now

    def _change(
        self,
        job: Job,
        kind: QueueChange,
        uid: int,
        others: Mapping[str, int] | None = None,
        **columns: Any,  # noqa: ANN401
    ) -> Job:
        now = time.time_ns()
        try:
            changed = self._store.change_queued(job.id, now, kind, uid, others=others, **columns)
        except (NotUpdatableError, NoSuchJobError):
            return self._still_queued(job)
        _logger.info("job %s: %s by uid %d", job.id, kind, uid)
        self._queueing.made_room(others or {})
        self._queueing.changed(changed)
        self._changes.announce(job.id)
        return changed

    # Of the queue

    def why(self, job: Job, may_see: Callable[[str], bool]) -> dict[str, Any]:
        """What a queued job waits for; of another, nothing. Names only jobs that may be seen."""
        found = self._queueing.explain(job.id) if job.state is State.QUEUED else None
        if found is None:
            return {"because": [], "ahead": 0, "start_ns": None}
        shown = _shown(found, may_see, self._kept_for)
        for because in shown["because"]:
            because["group"] = self._group_of(job) if because["cause"] == "group-cap" else None
        return shown

    def _group_of(self, job: Job) -> dict[str, Any] | None:
        """The group of which so many run as may: how many that is."""
        group = None if job.group_id is None else self._store.group(job.group_id)
        if group is None:
            return None
        return {
            "group": group.id,
            "kind": group.kind,
            "max_running": group.max_running,
            "running": self._queueing.scheduler.going_of(group.id),
        }

    def _kept_for(self, because: Because) -> dict[str, int] | None:
        """What the job needs that room is kept for: also of one that may not be named."""
        first = because.on[0] if because.cause == "reserved" and because.on else None
        job = None if first is None else self._store.get(first)
        return None if job is None else needs_of(job)._asdict()

    def show(self, peer: Peer) -> dict[str, Any]:
        """Every queue, the capacity, and what is promised to all and to the peer."""
        scheduler, quota = self._queueing.scheduler, self._rules.quota_of(peer.uid)
        running, own = scheduler.usage(peer.uid)
        capacity = self._rules.capacity
        return {
            "queues": [self._show(peer, name) for name in self._rules.queues],
            "capacity": {"slots": capacity.slots, **capacity.needs._asdict()},
            "promised": {"jobs": scheduler.going_count(), **scheduler.promised()._asdict()},
            "own": {
                "queued": self._queueing.queued_of(peer.uid), "running": running, **own._asdict(),
            },
            "quota": {
                "max_queued": quota.max_queued,
                **quota.running._asdict(),
                "max_log_bytes": quota.max_log_bytes,
            },
        }  # fmt: skip

    def _show(self, peer: Peer, name: str) -> dict[str, Any]:
        scheduler = self._queueing.scheduler
        queue = scheduler.queues[name]
        return {
            "name": queue.name,
            "priority": queue.priority,
            "max_running": queue.max_running,
            "paused": queue.paused,
            "allowed": bool(self._rules.may_use(peer, name)),
            "max_priority": self._rules.max_priority(name),
            "queued": scheduler.waiting_count(name),
            "running": scheduler.going_count(name),
        }

    def set_queue(self, request: SetQueue, uid: int) -> dict[str, Any]:
        """Pause a queue, let it go on, or cap it; kept over restarts. Raises Refusal."""
        name = request.name
        if name not in self._rules.queues:
            raise Refusal("no-such-queue", field="name", given=shown(name),
                          allowed=", ".join(self._rules.queues))  # fmt: skip
        said = self._store.queue_states().get(name, QueueState(paused=False, max_running=None))
        state = QueueState(
            said.paused if request.paused is UNSET else request.paused,
            said.max_running if request.max_running is UNSET else request.max_running,
        )
        self._store.set_queue_state(name, state.paused, state.max_running)
        self._queueing.set_queue(name, state)
        queue = self._queueing.scheduler.queues[name]
        _logger.warning("queue %s: %s, at most %s running, by uid %d", name,
                        "paused" if queue.paused else "open", queue.max_running, uid)  # fmt: skip
        return {"name": name, "paused": queue.paused, "max_running": queue.max_running}


def _shown(
    found: Explanation,
    may_see: Callable[[str], bool],
    kept_for: Callable[[Because], dict[str, int] | None],
) -> dict[str, Any]:
    """With the ids of no job that the peer does not know of."""
    because = []
    for each in found.because:
        kinds = each.kinds or (None,) * len(each.on)
        seen = [(on, kind) for on, kind in zip(each.on, kinds, strict=True) if may_see(on)]
        because.append(
            {
                **each._asdict(),
                "on": [on for on, _ in seen],
                "kinds": [kind for _, kind in seen if kind is not None],
                "kept": kept_for(each),
            }
        )
    return {"because": because, "ahead": found.ahead, "start_ns": found.start_ns}
