"""What is kept for the first job that the machine has too little CPU or memory for.

Another may be started past it only if that cannot put it off. Where the time limits of enough
jobs that go say when it can start, another has to end before, or leave enough then. Where
they do not, those that were there when the reservation began will end some time, and all that
came later have to fit beside it. Caps and quotas that both come under are left to it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runner.scheduling.kinds import Needs

if TYPE_CHECKING:
    from runner.scheduling.kinds import Capacity, Going, Quota
    from runner.scheduling.lanes import Level
    from runner.scheduling.ledger import Ledger
    from runner.scheduling.state import Entry, State

_MS_NS = 1_000_000
_MINUTE_NS = 60 * 10**9
FIRST_NS = 10 * _MINUTE_NS
LONGEST_NS = 60 * _MINUTE_NS
_MOST_DOUBLINGS = 10


def end_ns(job: Going, now_ns: int) -> int | None:
    """When a job has to end by its time limit; None: nobody knows, or it should have ended.

    A start in the future is one of a clock that was set back since.
    """
    if job.time_limit_ms is None:
        return None
    end = min(job.started_ns, now_ns) + job.time_limit_ms * _MS_NS
    return end if end > now_ns else None


def by_end(ledger: Ledger, now_ns: int) -> list[tuple[int, str]]:
    """The jobs that go and whose end is known, those that end first coming first."""
    going = (each for each in ledger.going.values() if each.queue not in ledger.apart)
    ends = ((end_ns(job, now_ns), job.id) for job in going if job.time_limit_ms)
    return sorted((end, job_id) for end, job_id in ends if end is not None)


class Room(NamedTuple):
    """Slots, CPUs and memory."""

    slots: int
    needs: Needs

    def plus(self, needs: Needs) -> Room:
        """When one more job has ended."""
        return Room(self.slots + 1, self.needs.plus(needs))

    def minus(self, needs: Needs) -> Room:
        """With one more job."""
        return Room(self.slots - 1, self.needs.minus(needs))

    def holds(self, needs: Needs) -> bool:
        """Whether there is room for one more job. What needs nothing of a kind has room in it."""
        return (
            self.slots > 0
            and (not needs.millicpus or needs.millicpus <= self.needs.millicpus)
            and (not needs.memory_bytes or needs.memory_bytes <= self.needs.memory_bytes)
        )


class Outlook(NamedTuple):
    """When the job can start by time limits alone, and what is left beside it then."""

    start_ns: int
    left: Room


def outlook(ledger: Ledger, needs: Needs, now_ns: int) -> Outlook | None:
    """When there will be room; None where that cannot be known."""
    room = Room(ledger.free_slots, ledger.free)
    ends = by_end(ledger, now_ns)
    for at, (end, job_id) in enumerate(ends):
        room = room.plus(ledger.clamped(ledger.going[job_id].needs))
        is_last_then = at + 1 == len(ends) or ends[at + 1][0] > end
        if is_last_then and room.holds(needs):
            return Outlook(end, room.minus(needs))
    return None


class Reservation:
    """For one job. `beside` are the jobs that were started past it and may outlast its start."""

    def __init__(self, entry: Entry, level: Level) -> None:
        self.level = level
        self.entry = entry
        self.beside: dict[str, Needs] = {}
        self._taken = Needs()

    @property
    def job_id(self) -> str:
        """Whom room is kept for."""
        return self.entry.job.id

    def hand_over(self, entry: Entry) -> None:
        """Another job with the same needs has it from now on."""
        self.entry = entry

    def take(self, job_id: str, needs: Needs) -> None:
        """A job was started beside it."""
        self.beside[job_id] = needs
        self._taken = self._taken.plus(needs)

    def leave(self, job_id: str) -> None:
        """A job goes no more."""
        needs = self.beside.pop(job_id, None)
        if needs is not None:
            self._taken = self._taken.minus(needs)

    def resize(self, job_id: str, needs: Needs) -> None:
        """A job that goes is promised something else."""
        if job_id in self.beside:
            self.leave(job_id)
            self.take(job_id, needs)

    def room_beside(self, capacity: Capacity) -> Room:
        """What those beside it leave, once all that were there before have ended."""
        room = Room(capacity.slots - len(self.beside), capacity.needs.minus(self._taken))
        return room.minus(self.entry.needs)


class Patience:
    """For how long room is kept in a row while nobody knows when there will be enough of it.

    A job without a time limit may never end, and what waits for it must not stop everybody else
    for ever. So others go past for as long as room was kept before, by turns: at first
    FIRST_NS each, then twice as long each time up to LONGEST_NS, so that jobs that take longer make
    room some time too. It begins anew when a job has started in the room that was kept for it.
    """

    def __init__(self) -> None:
        self._turn = 0
        self._until_ns: int | None = None
        self._is_wanted = False

    def keeps(self, now_ns: int) -> bool:
        """Whether room is kept now."""
        if self._until_ns is None:
            self._until_ns = now_ns + FIRST_NS
        self._is_wanted = True
        return self._turn % 2 == 0

    def is_other(self, now_ns: int) -> bool:
        """Tell it the time; whether it is the other's turn since the last time."""
        if self._until_ns is None:
            return False
        # Further away than it was ever put: the clock was set back.
        if now_ns < self._until_ns <= now_ns + LONGEST_NS:
            return False
        if not self._is_wanted:
            self.rest()
            return True
        self._is_wanted = False
        self._turn += 1
        self._until_ns = now_ns + min(FIRST_NS << min(self._turn // 2, _MOST_DOUBLINGS), LONGEST_NS)
        return True

    def rest(self) -> None:
        """The room that was kept has been of use."""
        self._turn = 0
        self._until_ns = None
        self._is_wanted = False

    def wake_ns(self, now_ns: int) -> int | None:
        """When the turn ends."""
        return None if self._until_ns is None else max(self._until_ns, now_ns)


class Passing:
    """Who may be started past the reservation, during one look at the queue."""

    def __init__(self, state: State, kept: Reservation, now_ns: int) -> None:
        self._state = state
        self._kept = kept
        self._now_ns = now_ns
        self._outlook = outlook(state.ledger, kept.entry.needs, now_ns)

    @property
    def start_ns(self) -> int | None:
        """When the reserved job can start, if that is known."""
        return None if self._outlook is None else self._outlook.start_ns

    def allows(self, entry: Entry) -> bool:
        """Whether the job may go first."""
        if not leaves_caps(self._state, self._kept.entry, entry):
            return False
        return self._ends_before(entry) or self._room().holds(entry.needs)

    def took(self, entry: Entry) -> None:
        """The job was started; it was allowed to."""
        if self._ends_before(entry):
            return
        self._kept.take(entry.job.id, entry.needs)
        if self._outlook is not None:
            self._outlook = self._outlook._replace(left=self._outlook.left.minus(entry.needs))

    def _ends_before(self, entry: Entry) -> bool:
        limit = entry.job.time_limit_ms
        if self._outlook is None or limit is None:
            return False
        return self._now_ns + limit * _MS_NS <= self._outlook.start_ns

    def _room(self) -> Room:
        if self._outlook is not None:
            return self._outlook.left
        return self._kept.room_beside(self._state.ledger.capacity)


def leaves_caps(state: State, kept: Entry, other: Entry) -> bool:
    """Whether queue, group and user would have room for both."""
    ledger, mine, its = state.ledger, kept.job, other.job
    queue = state.lines.line(mine.queue).queue
    cap = None if queue is None or its.queue != mine.queue else queue.max_running
    group_cap = None if mine.group is None or its.group != mine.group else mine.group_cap
    if cap is not None and ledger.queues[mine.queue] + 2 > cap:
        return False
    if group_cap is not None and ledger.groups[mine.group or ""] + 2 > group_cap:
        return False
    return its.uid != mine.uid or _leaves_quota(state, kept, other)


def _leaves_quota(state: State, kept: Entry, other: Entry) -> bool:
    quota: Quota = kept.user.quota
    used = state.ledger.used_by(kept.job.uid)
    if quota.max_running is not None and used.jobs + 2 > quota.max_running:
        return False
    both = used.needs.plus(kept.needs).plus(other.needs)
    return _within(both.millicpus, kept.needs.millicpus, quota.max_millicpus) and _within(
        both.memory_bytes, kept.needs.memory_bytes, quota.max_memory_bytes
    )


def _within(both: int, kept: int, most: int | None) -> bool:
    return most is None or not kept or both <= most
