"""When a job will start, by the time limits of those before it: a guess with reasons.

Every job is taken to use all of its time, and those before it to start in order. Only slots,
CPUs and memory are looked at, so there is no guess for a job that something else holds back.
"""

from __future__ import annotations

from heapq import heappop, heappush, merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from runner.scheduling.reservation import Room, by_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from runner.scheduling.kinds import Cause, Needs
    from runner.scheduling.lanes import Strand
    from runner.scheduling.state import Entry, State

_MS_NS: Final = 1_000_000
# No estimate for a job with more than so many before it.
_DEPTH: Final = 200
_OF_MACHINE: Final = frozenset[str](["slots", "cpus", "memory", "reserved", "behind"])


def estimate(state: State, entry: Entry, causes: Sequence[Cause]) -> int | None:
    """When it will start, as far as that can be told; of one that waits for a time, that."""
    job, now_ns = entry.job, state.times.now_ns
    if list(causes) == ["time"] and not state.times.is_due(job):
        return job.not_before_ns
    if entry.lane is None or not _OF_MACHINE.issuperset(causes):
        return None
    before: list[Entry] = []
    for other in islice(_in_order(state), _DEPTH):
        if other is entry:
            return _Future(state, now_ns).start_of(before, entry)
        before.append(other)
    return None


def makes_room(state: State, needs: Needs) -> tuple[int | None, str] | None:
    """When a job that goes ends whose end makes room for it, and which; None: none alone can.

    Those that have to end by a time are taken to end first, then the others, the oldest first.
    """
    ledger = state.ledger
    ends: list[tuple[int | None, str]] = list(by_end(ledger, state.times.now_ns))
    known = {job_id for _, job_id in ends}
    ends += [(None, job_id) for job_id in ledger.going if job_id not in known]
    room = Room(1, ledger.free)
    for end, job_id in ends:
        room = room.plus(ledger.clamped(ledger.going[job_id].needs))
        if room.holds(needs):
            return end, job_id
    return None


class _Future:
    """The machine as it will be, one start after the other."""

    def __init__(self, state: State, now_ns: int) -> None:
        ledger = state.ledger
        self._now_ns = now_ns
        self._room = Room(ledger.free_slots, ledger.free)
        self._ends = [
            (end, ledger.clamped(ledger.going[job_id].needs))
            for end, job_id in by_end(ledger, now_ns)
        ]

    def start_of(self, before: Iterable[Entry], entry: Entry) -> int | None:
        """When it starts after those; None where that cannot be known."""
        for other in before:
            if not self._start(other):
                return None
        return self._now_ns if self._wait_for(entry.needs) else None

    def _start(self, entry: Entry) -> bool:
        if not self._wait_for(entry.needs):
            return False
        self._room = self._room.minus(entry.needs)
        limit = entry.job.time_limit_ms
        if limit is not None:
            heappush(self._ends, (self._now_ns + limit * _MS_NS, entry.needs))
        return True

    def _wait_for(self, needs: Needs) -> bool:
        while not self._room.holds(needs):
            if not self._ends:
                return False
            end, freed = heappop(self._ends)
            self._now_ns = max(self._now_ns, end)
            self._room = self._room.plus(freed)
        return True


def _in_order(state: State) -> Iterator[Entry]:
    """Waiting jobs as they will be looked at, roughly: of users who share one after the other."""
    kept = state.reservation
    if kept is not None:
        yield kept.entry
    for _, strands in state.lines.levels(state.is_open):
        keyed = merge(*map(_turns, strands), key=itemgetter(0))
        for _, job_id in keyed:
            entry = state.waiting[job_id]
            if kept is None or entry is not kept.entry:
                yield entry


def _turns(strand: Strand) -> Iterator[tuple[tuple[int, int], str]]:
    """The jobs of a strand with the turn that each has, as many as are of interest."""
    lanes = [iter(strand.lanes[key[3]].ready) for key in islice(strand.order, _DEPTH)]
    for turn in range(_DEPTH):
        items = [next(lane, None) for lane in lanes]
        yield from (((turn, at), item[1]) for at, item in enumerate(items) if item is not None)
        if not any(items):
            return
