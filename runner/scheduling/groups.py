"""Jobs of which at most so many run at once: all but that many are hidden from their lane.

So a group that is full costs nothing to pass by, however many of it wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.scheduling.ordered import Ordered

if TYPE_CHECKING:
    from runner.scheduling.lanes import Item, Lane


class Members:
    """One lane's jobs of one group: the first few are shown, that is in the lane's `ready`."""

    __slots__ = ("_ready", "hidden", "shown")

    def __init__(self, ready: Ordered[Item]) -> None:
        self._ready = ready
        self.shown: Ordered[Item] = Ordered()
        self.hidden: Ordered[Item] = Ordered()

    def __len__(self) -> int:
        return len(self.shown) + len(self.hidden)

    def add(self, item: Item, room: int) -> None:
        """One more."""
        last = self.shown.last
        if last is not None and item < last:
            self._show(item)
        else:
            self.hidden.add(item)
        self.balance(room)

    def remove(self, item: Item, room: int) -> None:
        """One less."""
        if self.shown.discard(item):
            self._ready.discard(item)
        else:
            self.hidden.discard(item)
        self.balance(room)

    def balance(self, room: int) -> None:
        """Show as many as there is room for, the first ones."""
        while len(self.shown) > room and (last := self.shown.last) is not None:
            self.shown.discard(last)
            self._ready.discard(last)
            self.hidden.add(last)
        while len(self.shown) < room and (first := self.hidden.first) is not None:
            self.hidden.discard(first)
            self._show(first)

    def _show(self, item: Item) -> None:
        self.shown.add(item)
        self._ready.add(item)


class Group:
    """A group of which jobs wait. `going` is how many of it go."""

    __slots__ = ("cap", "going", "lanes", "name")

    def __init__(self, name: str, cap: int, going: int) -> None:
        self.name = name
        self.cap = cap
        self.going = going
        self.lanes: dict[Lane, Members] = {}

    @property
    def room(self) -> int:
        """How many more may go."""
        return max(self.cap - self.going, 0)

    def set(self, cap: int, going: int) -> None:
        """Show more of it, or less."""
        self.cap, self.going = cap, going
        for lane, members in list(self.lanes.items()):
            members.balance(self.room)
            lane.refresh()
