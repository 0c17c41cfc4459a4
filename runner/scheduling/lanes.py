"""Jobs that could start if there were room, in order: queues, priorities, users, ranks.

    Lines            the queues, those of a higher priority first
      Line           one queue
        Strand       one priority of the jobs in it
          Lane       one user's jobs in it, by rank

A strand keeps its lanes in the order in which users are served. A lane is out of that order
while nothing of it is ready, or while its user has to wait (`parked`). Whether a job may be
here is `state`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from runner.scheduling.groups import Members
from runner.scheduling.ordered import Ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.scheduling.groups import Group
    from runner.scheduling.kinds import Queue
    from runner.scheduling.users import User

Item: TypeAlias = tuple[int, str]  # rank, id
Key: TypeAlias = tuple[float, int, Item, int]  # share, when served last, first job, uid
Level: TypeAlias = tuple[int, int]  # of queue and job, the priority negated: smaller is first
IsOpen: TypeAlias = "Callable[[Line], bool]"

# After every level of a queue priority.
_END: Final = 1 << 62


class Lane:
    """One user's jobs of one queue and priority. `ready` are those that no group holds back."""

    __slots__ = ("is_full", "key", "members", "ready", "strand", "user", "version")

    def __init__(self, strand: Strand, user: User) -> None:
        self.strand = strand
        self.user = user
        self.ready: Ordered[Item] = Ordered()
        self.members: dict[str, Members] = {}
        self.key: Key | None = None
        self.version = user.version
        # As many of its queue go as may of one user.
        self.is_full = False

    def add(self, item: Item, group: Group | None) -> None:
        """One more job."""
        self.strand.count += 1
        if group is None:
            self.ready.add(item)
        else:
            members = self.members.get(group.name)
            if members is None:
                members = self.members[group.name] = Members(self.ready)
                group.lanes[self] = members
            members.add(item, group.room)

    def remove(self, item: Item, group: Group | None) -> None:
        """One less."""
        self.strand.count -= 1
        if group is None:
            self.ready.discard(item)
            return
        members = self.members[group.name]
        members.remove(item, group.room)
        if not members:
            del self.members[group.name], group.lanes[self]

    def refresh(self) -> None:
        """Take the place that user and first job give it now, or none."""
        first = self.ready.first
        self.version = self.user.version
        if self.is_parked and (first is None or not self.user.is_held_at(self.position(first))):
            del self.user.parked[self]
        if first is None or self.is_parked or self.is_full:
            key = None
        else:
            key = (self.user.share, self.user.served, first, self.user.uid)
        if key != self.key:
            self.strand.move(self, key)
        if first is None and not self.members:
            self.strand.forget(self)

    def park(self) -> None:
        """Out of the order, if its user is held back at its first job already."""
        first = self.ready.first
        if first is not None and self.user.is_held_at(self.position(first)):
            self.user.parked[self] = None
            self.refresh()

    @property
    def is_parked(self) -> bool:
        """Whether it is out of the order because its user has to wait."""
        return self in self.user.parked

    def position(self, item: Item) -> tuple[int | str, ...]:
        """Where one of its jobs is among all of its user's; smaller comes first."""
        return (*self.strand.level, *item)

    def count_before(self, item: Item) -> int:
        """How many of its jobs come before that one, those held back by a group included."""
        hidden = sum(m.hidden.count_before(item) for m in self.members.values())
        return self.ready.count_before(item) + hidden


class Strand:
    """The jobs of one queue and priority."""

    __slots__ = ("count", "lanes", "line", "order", "priority")

    def __init__(self, line: Line, priority: int) -> None:
        self.line = line
        self.priority = priority
        self.lanes: dict[int, Lane] = {}
        self.order: Ordered[Key] = Ordered()
        self.count = 0

    @property
    def level(self) -> Level:
        """Where it is among all of them; of an unknown queue, by its own priority."""
        queue = self.line.queue
        return (0 if queue is None else -queue.priority, -self.priority)

    def lane(self, user: User) -> Lane:
        """The user's, made if need be."""
        lane = self.lanes.get(user.uid)
        if lane is None:
            lane = self.lanes[user.uid] = Lane(self, user)
            user.lanes[lane] = None
        return lane

    def catch_up(self) -> None:
        """Lanes take the places that shares and services give them now."""
        for lane in [each for each in self.lanes.values() if each.version != each.user.version]:
            lane.refresh()

    def first(self) -> Key | None:
        """Whose turn it is. Between two `catch_up` shares may only have grown."""
        while (key := self.order.first) is not None:
            lane = self.lanes[key[3]]
            if lane.version == lane.user.version:
                break
            lane.refresh()
        return key

    def move(self, lane: Lane, key: Key | None) -> None:
        """Give a lane its place in the order."""
        was_empty = not self.order
        if lane.key is not None:
            self.order.discard(lane.key)
        if key is not None:
            self.order.add(key)
        lane.key = key
        if was_empty and self.order:
            self.line.active.add(-self.priority)
        elif not was_empty and not self.order:
            self.line.active.discard(-self.priority)

    def forget(self, lane: Lane) -> None:
        """A lane without jobs."""
        self.lanes.pop(lane.user.uid, None)
        lane.user.lanes.pop(lane, None)
        if not self.lanes:
            self.line.strands.pop(self.priority, None)


class Line:
    """A queue's jobs. `active` are the priorities of which something is ready, negated."""

    __slots__ = ("active", "holding", "name", "queue", "strands")

    def __init__(self, name: str, queue: Queue | None = None) -> None:
        self.name = name
        self.queue = queue
        self.strands: dict[int, Strand] = {}
        self.active: Ordered[int] = Ordered()
        # Users who wait, as a whole, for a job that is here.
        self.holding: dict[int, None] = {}

    def strand(self, priority: int) -> Strand:
        """Of that priority, made if need be."""
        strand = self.strands.get(priority)
        if strand is None:
            strand = self.strands[priority] = Strand(self, priority)
        return strand


class Lines:
    """All queues, also those that only waiting jobs name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Line] = {}
        self._tiers: list[list[Line]] | None = None

    def line(self, name: str) -> Line:
        """The queue of that name, made (and unknown) if need be."""
        line = self.by_name.get(name)
        if line is None:
            line = self.by_name[name] = Line(name)
        return line

    def set(self, queue: Queue) -> None:
        """What the queue of that name is now."""
        self.line(queue.name).queue = queue
        self._tiers = None

    def forget(self, name: str) -> None:
        """A queue that is not known, and that nothing names any more."""
        del self.by_name[name]
        self._tiers = None

    def levels(self, is_open: IsOpen) -> Iterator[tuple[Level, list[Strand]]]:
        """Each level of which something is ready, in order; it may be changed meanwhile."""
        for tier in self._by_priority():
            after = -_END
            while True:
                nexts = [(line.active.after(after), line) for line in tier if is_open(line)]
                found = [(at, line) for at, line in nexts if at is not None]
                if not found:
                    break
                after = min(at for at, _ in found)
                strands = [line.strands[-after] for at, line in found if at == after]
                for strand in strands:
                    strand.catch_up()
                yield strands[0].level, strands

    def _by_priority(self) -> list[list[Line]]:
        if self._tiers is None:
            tiers: dict[int, list[Line]] = {}
            for line in self.by_name.values():
                if line.queue is not None:
                    tiers.setdefault(-line.queue.priority, []).append(line)
            self._tiers = [tiers[at] for at in sorted(tiers)]
        return self._tiers


def first_lane(strands: list[Strand], is_open: IsOpen) -> Lane | None:
    """Who is served next, of some strands of one level."""
    keys = [(strand.first(), strand) for strand in strands if strand.order and is_open(strand.line)]
    found = min(((key, at) for at, (key, _) in enumerate(keys) if key is not None), default=None)
    if found is None:
        return None
    key, at = found
    return keys[at][1].lanes[key[3]]
