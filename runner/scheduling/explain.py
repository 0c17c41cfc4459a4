"""Why a job waits, for people: each cause with what there is to say about it, and an estimate.

Bounded, however many jobs wait: what cannot be told by looking at so many is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner.scheduling.estimate import estimate, makes_room
from runner.scheduling.kinds import Because, Explanation, Needs
from runner.scheduling.reasons import causes, count_ahead
from runner.scheduling.reservation import Passing, by_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.scheduling.kinds import Cause, Going
    from runner.scheduling.ledger import Account
    from runner.scheduling.state import Entry, State

# So many of the jobs that one waits for are named.
_MOST_NAMED: Final = 100


def explain(state: State, entry: Entry, *, may_start: bool) -> Explanation:
    """All that one waiting job waits for, as of the clock that was told last."""
    found = list(causes(state, entry, may_start=may_start))
    because = tuple(_ABOUT[cause](state, entry, cause) for cause in found)
    return Explanation(because, count_ahead(state, entry), estimate(state, entry, found))


def _plain(_state: State, _entry: Entry, cause: Cause) -> Because:
    return Because(cause)


def _dependency(state: State, entry: Entry, cause: Cause) -> Because:
    doom = state.dependencies.doom(entry.job.id)
    unmet = state.dependencies.unmet(entry.job.id)[:_MOST_NAMED] if doom is None else (doom,)
    return Because(
        cause, on=tuple(d.on_id for d in unmet), kinds=tuple(d.kind for d in unmet)
    )  # fmt: skip


def _time(state: State, entry: Entry, cause: Cause) -> Because:
    job = entry.job
    is_due = state.times.is_due(job)
    return Because(cause, until_ns=job.deadline_ns if is_due else job.not_before_ns)


def _queue_cap(state: State, entry: Entry, cause: Cause) -> Because:
    return _count(state, cause, lambda job: job.queue == entry.job.queue)


def _group_cap(state: State, entry: Entry, cause: Cause) -> Because:
    return _count(state, cause, lambda job: job.group == entry.job.group)


def _running(state: State, entry: Entry, cause: Cause) -> Because:
    return _count(state, cause, lambda job: job.uid == entry.job.uid)


def _slots(state: State, _entry: Entry, cause: Cause) -> Because:
    return _count(state, cause, lambda _job: True)


def _count(state: State, cause: Cause, counts: Callable[[Going], bool]) -> Because:
    """One more may go when one of those has ended."""
    now_ns = state.times.now_ns
    for end, job_id in by_end(state.ledger, now_ns):
        if counts(state.ledger.going[job_id]):
            return Because(cause, needs=1, free=0, on=(job_id,), until_ns=end)
    return Because(cause, needs=1, free=0)


def _cpus(state: State, entry: Entry, cause: Cause) -> Because:
    free = state.ledger.free.millicpus
    needs = Needs(millicpus=entry.needs.millicpus)
    return _amount(state, cause, needs.millicpus, free, makes_room(state, needs))


def _memory(state: State, entry: Entry, cause: Cause) -> Because:
    free = state.ledger.free.memory_bytes
    needs = Needs(memory_bytes=entry.needs.memory_bytes)
    return _amount(state, cause, needs.memory_bytes, free, makes_room(state, needs))


def _quota_cpus(state: State, entry: Entry, cause: Cause) -> Because:
    used, quota = _used(state, entry).millicpus, entry.user.quota.max_millicpus or 0
    return _amount(state, cause, entry.needs.millicpus, quota - used, None)


def _quota_memory(state: State, entry: Entry, cause: Cause) -> Because:
    used, quota = _used(state, entry).memory_bytes, entry.user.quota.max_memory_bytes or 0
    return _amount(state, cause, entry.needs.memory_bytes, quota - used, None)


def _used(state: State, entry: Entry) -> Account:
    return state.ledger.used_by(entry.job.uid)


def _amount(
    _state: State, cause: Cause, needs: int, free: int, end: tuple[int | None, str] | None
) -> Because:
    on = () if end is None else (end[1],)
    return Because(cause, needs, max(free, 0), on, until_ns=None if end is None else end[0])


def _reserved(state: State, _entry: Entry, cause: Cause) -> Because:
    kept = state.reservation
    if kept is None:
        return Because(cause)
    start_ns = Passing(state, kept, state.times.now_ns).start_ns
    return Because(cause, on=(kept.job_id,), until_ns=start_ns)


def _behind(_state: State, entry: Entry, cause: Cause) -> Because:
    """On the job of the same user that comes right before, if there is one."""
    hold = entry.user.hold
    if hold is not None and hold.job_id != entry.job.id:
        return Because(cause, on=(hold.job_id,))
    first = None if entry.lane is None else entry.lane.ready.first
    return Because(cause, on=() if first in (None, entry.item) else (first[1],))


_ABOUT: Final[Mapping[Cause, Callable[[State, Entry, Cause], Because]]] = {
    "held": _plain,
    "dependency": _dependency,
    "time": _time,
    "no-queue": _plain,
    "queue-paused": _plain,
    "queue-cap": _queue_cap,
    "group-cap": _group_cap,
    "quota-running": _running,
    "quota-cpus": _quota_cpus,
    "quota-memory": _quota_memory,
    "slots": _slots,
    "cpus": _cpus,
    "memory": _memory,
    "reserved": _reserved,
    "behind": _behind,
    "draining": _plain,
}
