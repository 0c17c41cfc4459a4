"""Which jobs start now: one look at the queue from its beginning, as long as there are slots.

In order, until one does not fit; from there on past it, as far as `reservation` allows and only
so many jobs deep, so that a look costs the same however many wait.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from runner.scheduling.kinds import Start
from runner.scheduling.lanes import first_lane
from runner.scheduling.reservation import Passing, Reservation, outlook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.scheduling.lanes import Item, Key, Lane, Level, Strand
    from runner.scheduling.state import Entry, State

# How many jobs are looked at behind one that does not fit.
DEPTH: Final = 200


def select(state: State, now_ns: int, most: int) -> list[Start]:
    """Start what may start, at most so many; they are going in `state` when this returns."""
    starts: list[Start] = []
    state.is_cut = False
    if not state.waiting:
        state.is_stirred = False
    # What a start brings about may let another job start that was looked at already: a queue
    # that is full now holds nobody of its users back elsewhere.
    while state.is_stirred:
        state.is_stirred = False
        starts += _Look(state, now_ns, most - len(starts)).run()
        if len(starts) == most:
            state.is_stirred = state.is_cut = True
            break
    return starts


class _Look:
    """One look. A start only takes away, so each level is looked at once, the highest first."""

    def __init__(self, state: State, now_ns: int, most: int) -> None:
        self._state = state
        self._now_ns = now_ns
        self._most = most
        self._left = DEPTH
        self._starts: list[Start] = []
        self._passing: Passing | None = None
        self._has_asked = False
        # Whether the jobs that are looked at take no slot.
        self._is_apart = False

    def run(self) -> list[Start]:
        for level, strands in self._state.lines.levels(self._state.is_open):
            apart = self._state.ledger.apart
            self._is_apart = all(strand.line.name in apart for strand in strands)
            if not self._may_go_on() or not self._left:
                break
            self._level(level, strands)
        return self._starts

    def _level(self, level: Level, strands: list[Strand]) -> None:
        kept = self._reservation(level)
        if kept is not None and kept.level == level:
            kept = self._try_kept(kept, strands)
        if kept is not None or self._is_stuck(level, strands):
            self._past(strands)

    def _try_kept(self, kept: Reservation, strands: list[Strand]) -> Reservation | None:
        """Start what room is kept for, or an equal job that comes before it by now."""
        state = self._state
        while (lane := first_lane(strands, state.is_open)) is not None:
            entry = _first(state, lane)
            if entry is not kept.entry and state.holds_back(entry):
                continue
            if entry.needs == kept.entry.needs:
                kept.hand_over(entry)
            break
        if not self._fits(kept.entry):
            return kept
        self._start(kept.entry)
        state.patience.rest()
        return None

    def _reservation(self, level: Level) -> Reservation | None:
        """The one that this level has to respect, if any; one that is held back goes."""
        kept = self._state.reservation
        if kept is None or level < kept.level:
            return None
        if not _can_be_kept(self._state, kept.entry) or not self._is_worth_it(kept.entry):
            self._state.reservation = None
        return self._state.reservation

    def _is_stuck(self, level: Level, strands: list[Strand]) -> bool:
        """Start one after the other; whether one does not fit, so that room is kept."""
        state = self._state
        while self._may_go_on() and (lane := first_lane(strands, state.is_open)) is not None:
            entry = _first(state, lane)
            if state.holds_back(entry):
                continue
            if not self._fits(entry):
                self._keep_for(entry, level)
                return True
            self._start(entry)
        return False

    def _keep_for(self, entry: Entry, level: Level) -> None:
        """Keep room for the job, if none is for an equal or higher one and it can be hoped for."""
        kept = self._state.reservation
        if (kept is None or level < kept.level) and self._is_worth_it(entry):
            self._state.reservation = Reservation(entry, level)
            self._passing = None

    def _keep_for_first(self, entry: Entry, level: Level) -> None:
        """Once in a look: finding out when there will be room costs as much as many jobs do."""
        if not self._has_asked and self._state.reservation is None:
            self._has_asked = True
            self._keep_for(entry, level)

    def _is_worth_it(self, entry: Entry) -> bool:
        """Whether its start is known, or it is the turn of those whose start is not."""
        state = self._state
        if outlook(state.ledger, entry.needs, self._now_ns) is not None:
            return True
        return state.patience.keeps(self._now_ns)

    def _past(self, strands: list[Strand]) -> None:
        """One job of each lane after the other, then the next one of each, and so on."""
        lanes: list[tuple[Lane, Item | None]] = [
            (lane, None) for lane in islice(_lanes_in_order(strands), self._left)
        ]
        while lanes and self._left and self._may_go_on():
            lanes = [turn for turn in map(self._turn, lanes) if turn is not None]

    def _turn(self, turn: tuple[Lane, Item | None]) -> tuple[Lane, Item] | None:
        """Look at a lane's next job; None where there is no more to look at."""
        lane, last = turn
        item = lane.ready.first if last is None else lane.ready.after(last)
        if item is None or not self._left:
            return None
        self._left -= 1
        entry = self._state.waiting[item[1]]
        if self._state.holds_back(entry):
            return None
        if not self._fits(entry):
            self._keep_for_first(entry, lane.strand.level)
        elif self._may_go_on() and self._may_pass(entry):
            self._start(entry)
        return lane, item

    def _may_pass(self, entry: Entry) -> bool:
        kept = self._state.reservation
        if not self._is_open(entry):
            return False
        if kept is None or entry.lane is None or entry.lane.strand.level < kept.level:
            return True
        if kept.entry is entry:
            return False
        if self._passing is None:
            self._passing = Passing(self._state, kept, self._now_ns)
        if not self._passing.allows(entry):
            return False
        self._passing.took(entry)
        return True

    def _is_open(self, entry: Entry) -> bool:
        return entry.lane is not None and self._state.is_open(entry.lane.strand.line)

    def _may_go_on(self) -> bool:
        has_slot = self._is_apart or self._state.ledger.free_slots > 0
        return has_slot and len(self._starts) < self._most

    def _fits(self, entry: Entry) -> bool:
        return self._state.ledger.fits(entry.needs)

    def _start(self, entry: Entry) -> None:
        self._state.start(entry, self._now_ns)
        self._starts.append(Start(entry.job.id))


def _lanes_in_order(strands: list[Strand]) -> Iterator[Lane]:
    if len(strands) == 1:
        return (strands[0].lanes[key[3]] for key in strands[0].order)
    return (lane for _, lane in merge(*map(_lanes, strands), key=itemgetter(0)))


def _lanes(strand: Strand) -> Iterator[tuple[Key, Lane]]:
    return ((key, strand.lanes[key[3]]) for key in strand.order)


def _first(state: State, lane: Lane) -> Entry:
    item = lane.ready.first
    if item is None:
        raise AssertionError(f"a lane of uid {lane.user.uid} is in order without a job")
    return state.waiting[item[1]]


def _can_be_kept(state: State, entry: Entry) -> bool:
    """Whether the machine is all that it waits for."""
    lane = entry.lane
    return (
        lane is not None
        and entry.item in lane.ready
        and state.is_open(lane.strand.line)
        and not entry.user.is_held_at(lane.position(entry.item))
        and state.over_quota(entry) is None
    )
