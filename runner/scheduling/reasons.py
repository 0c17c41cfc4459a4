"""Why a waiting job does not start: the causes alone, each cheap to find, first things first.

What there is to say about a cause is `explain`'s.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from runner.scheduling.lanes import first_lane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.scheduling.kinds import Cause
    from runner.scheduling.state import Entry, State


def causes(state: State, entry: Entry, *, may_start: bool) -> Iterator[Cause]:
    """All of them, as of the clock that was told last."""
    is_ready = is_free = True
    for cause in _own(state, entry):
        is_ready = is_free = False
        yield cause
    for cause in chain(_of_caps(state, entry), _of_machine(state, entry)):
        is_free = False
        yield cause
    if is_ready:
        yield from _of_others(state, entry, is_free=is_free)
    if not may_start:
        yield "draining"


def is_group_full(state: State, entry: Entry) -> bool:
    """Whether as many of its group go as may."""
    job = entry.job
    if job.group is None or job.group_cap is None:
        return False
    return state.ledger.groups[job.group] >= job.group_cap


def is_before(state: State, entry: Entry) -> bool:
    """Whether the reservation is another job's and comes before this one."""
    kept, lane = state.reservation, entry.lane
    return (
        kept is not None
        and kept.entry is not entry
        and lane is not None
        and kept.level <= lane.strand.level
    )


def is_next(state: State, entry: Entry) -> bool:
    """Whether the next decision looks at this job before any other."""
    for _, strands in state.lines.levels(state.is_open):
        lane = first_lane(strands, state.is_open)
        return lane is not None and lane is entry.lane and lane.ready.first == entry.item
    return False


def count_ahead(state: State, entry: Entry) -> int:
    """How many jobs come before it in its queue, as far as that can be told."""
    job = entry.job
    line = state.lines.by_name.get(job.queue)
    if line is None:
        return 0
    ahead = sum(s.count for priority, s in line.strands.items() if priority > job.priority)
    strand = line.strands.get(job.priority)
    lane = None if strand is None else strand.lanes.get(job.uid)
    if lane is None:
        return ahead
    lane.strand.catch_up()
    place = 0 if lane.key is None else lane.strand.order.count_before(lane.key)
    return ahead + lane.count_before(entry.item) + place


def _own(state: State, entry: Entry) -> Iterator[Cause]:
    job = entry.job
    if job.is_held:
        yield "held"
    if not state.dependencies.is_clear(job.id):
        yield "dependency"
    if not state.times.is_due(job) or state.times.is_over(job):
        yield "time"


def _of_caps(state: State, entry: Entry) -> Iterator[Cause]:
    line = state.lines.by_name.get(entry.job.queue)
    closed = "no-queue" if line is None else state.closed(line)
    if closed is not None:
        yield closed
    elif state.is_apart(entry) and state.is_user_full(entry):
        yield "queue-cap"
    if is_group_full(state, entry):
        yield "group-cap"
    quota = state.beyond_quota(entry) or state.over_quota(entry)
    if quota is not None:
        yield quota


def _of_machine(state: State, entry: Entry) -> Iterator[Cause]:
    has_slot = state.is_apart(entry) or state.ledger.free_slots > 0
    slots: list[Cause] = [] if has_slot else ["slots"]
    yield from chain(slots, state.ledger.short_of(entry.needs))


def _of_others(state: State, entry: Entry, *, is_free: bool) -> Iterator[Cause]:
    """What is kept for others and who comes first; `is_free`: nothing else holds it back."""
    if is_free and is_before(state, entry):
        yield "reserved"
    elif count_ahead(state, entry) or (is_free and not is_next(state, entry)):
        yield "behind"
