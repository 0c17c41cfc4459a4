"""Whether a job that has just come starts at once, before it has waited for a moment.

So that what is to be written of its waiting need not be. A shortcut of `selection`, for the usual
case alone: wherever somebody else might go first, or anything is kept for anybody, the answer is
no, and the job waits for the next decision. It changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.scheduling.ledger import over_quota
from runner.scheduling.users import User

if TYPE_CHECKING:
    from runner.scheduling.kinds import Waiting
    from runner.scheduling.state import State


def may_go_at_once(state: State, job: Waiting, now_ns: int) -> bool:
    """Whether a decision would start it now, whoever else waits."""
    # Those who wait could not start at the last look, and nothing has happened since.
    is_quiet = not (state.is_stirred or state.reservation or _has_time_come(state, now_ns))
    is_free = not state.waiting or is_quiet
    return is_free and _is_ready(job, now_ns) and _has_room(state, job)


def _has_time_come(state: State, now_ns: int) -> bool:
    """Whether something that waits for a time may be due, of which no look has been taken yet."""
    looked_ns = state.times.now_ns
    times = (state.times.next_ns(looked_ns), state.patience.wake_ns(looked_ns))
    return now_ns < looked_ns or any(time is not None and time <= now_ns for time in times)


def _is_ready(job: Waiting, now_ns: int) -> bool:
    """Whether it waits for nothing of its own."""
    return not (
        job.is_held
        or job.after
        or job.group is not None
        or (job.not_before_ns is not None and job.not_before_ns > now_ns)
        or (job.deadline_ns is not None and job.deadline_ns <= now_ns)
    )


def _has_room(state: State, job: Waiting) -> bool:
    ledger = state.ledger
    line = state.lines.by_name.get(job.queue)
    if line is None or not state.is_open(line) or job.queue in ledger.apart:
        return False
    needs = ledger.clamped(job.needs)
    if ledger.free_slots <= 0 or not ledger.fits(needs):
        return False
    user = state.users.get(job.uid) or User(job.uid, state.quota_of(job.uid))
    if not user.is_bounded:
        return user.hold is None
    return user.hold is None and over_quota(user.quota, ledger.used_by(job.uid), needs) is None
