"""How many jobs wait for what, told from counts that are kept: the price is by users, not by jobs.

Each job is under the first of its causes, as `reasons` has it, save what only a look at each would
tell: jobs of one user, queue and priority are all under what holds back the first of them; where
nothing but others does, `behind` is said, also of those who start next; and what alone is beyond
its user's quota is under that, also in a queue that is closed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.scheduling.kinds import Cause
    from runner.scheduling.lanes import Lane, Strand
    from runner.scheduling.state import Entry, State

# A thousand priorities of one user are as many; they are not worth the time of all others.
MOST_LANES: Final = 2_000


def tally(state: State, *, may_start: bool) -> dict[Cause, int]:
    """The causes of all jobs that wait; what is in lanes beyond MOST_LANES is `behind`."""
    found: Counter[Cause] = Counter(state.barred)
    left = MOST_LANES
    for strand, closed in _strands(state):
        if closed is not None:
            found[closed] += strand.count
        elif len(strand.lanes) > left:
            found["behind"] += strand.count
        else:
            left -= len(strand.lanes)
            for lane in strand.lanes.values():
                found += _of_lane(state, lane, may_start=may_start)
    return {cause: count for cause, count in found.items() if count}


def _strands(state: State) -> Iterator[tuple[Strand, Cause | None]]:
    """Each with what its queue is closed by."""
    for line in state.lines.by_name.values():
        closed = state.closed(line)
        for strand in line.strands.values():
            yield strand, closed


def _of_lane(state: State, lane: Lane, *, may_start: bool) -> Counter[Cause]:
    hidden = sum(len(members.hidden) for members in lane.members.values())
    found: Counter[Cause] = Counter({"group-cap": hidden})
    first = lane.ready.first
    if first is not None:
        cause = _cause(state, state.waiting[first[1]])
        found[cause or ("behind" if may_start else "draining")] += len(lane.ready)
    return found


def _cause(state: State, entry: Entry) -> Cause | None:
    """What holds it back, other jobs that wait left aside."""
    if state.is_apart(entry):
        return "queue-cap" if state.is_user_full(entry) else None
    over = state.over_quota(entry)
    if over is not None:
        return over
    if state.ledger.free_slots <= 0:
        return "slots"
    return next(iter(state.ledger.short_of(entry.needs)), None)
