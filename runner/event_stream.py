"""What has happened to jobs, for whoever follows it: a place in the store's events, and a bell.

Nothing is kept for a follower but its place; what comes next is read when it may be sent. All
wait for one bell, which the store rings. Who may see which events is
`runner.server.handlers.events`'s, what they are `runner.store`'s.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from runner.store import REMOVE, SUBMIT

if TYPE_CHECKING:
    from runner.rows import StoredEvent
    from runner.store import Store

# Of one read: what a follower that is not read from holds.
BATCH_EVENTS: Final = 64
# Between two rings: however many follow, and however much is recorded, most of the loop's time
# is for others.
REST_SECONDS: Final = 0.02


class Bell:
    """Wakes all who follow, and knows for all how far there is to go. For the loop's thread only.

    To be rung after each commit that has recorded an event.
    """

    def __init__(self) -> None:
        self._newest: int | None = None
        self._event = asyncio.Event()
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rang_at = -math.inf

    def ring(self) -> None:
        """Something was recorded. Takes as long whether one waits or a thousand."""
        self._newest = None
        if not self._waiting or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        when = max(loop.time(), self._rang_at + REST_SECONDS)
        self._timer = loop.call_at(when, self._wake)

    def newest(self, store: Store) -> int:
        """The number of the newest event, asked of the store once between two rings."""
        if self._newest is None:
            self._newest = store.newest_event()
        return self._newest

    async def rung(self) -> None:
        """Wait for what is recorded from now on. Look again then, and before."""
        self._waiting += 1
        try:
            await self._event.wait()
        finally:
            self._waiting -= 1

    def _wake(self) -> None:
        self._timer = None
        self._rang_at = asyncio.get_running_loop().time()
        self._event.set()
        self._event.clear()


class EventReader:
    """One follower's way through the events. `place` is the number of the last it has passed.

    `uid` is whose jobs' events it is to see, None all; `job_id` narrows them to those of one job.
    """

    def __init__(
        self, store: Store, bell: Bell, place: int, uid: int | None, job_id: str | None
    ) -> None:
        self.place = place
        # The job was removed: nothing can happen to it any more.
        self.is_over = False
        self._store = store
        self._bell = bell
        self._uid = uid
        self._job_id = job_id

    @property
    def is_behind(self) -> bool:
        """Whether there is something that was not looked at."""
        return self.place < self._bell.newest(self._store)

    def read(self) -> list[dict[str, Any]]:
        """What comes next, as docs/PROTOCOL.md has it, at most BATCH_EVENTS and a gap."""
        found = self._store.events_since(self.place, BATCH_EVENTS, self._uid, self._job_id)
        items = [*self._gap(found), *map(_shown, found)]
        # Past what is others': it may be trimmed, and is missing to nobody here.
        self.place = found[-1].seq if found else self._bell.newest(self._store)
        self.is_over = self._job_id is not None and any(e.kind == REMOVE for e in found)
        return items

    def _gap(self, found: list[StoredEvent]) -> list[dict[str, Any]]:
        """What is to be said of events before these that are not kept any more."""
        if found and found[0].seq == self.place + 1:
            return []
        oldest = self._store.oldest_event()
        # Of one job nothing comes before its submission.
        has_all = self._job_id is not None and bool(found) and found[0].kind == SUBMIT
        if self.place + 1 >= oldest or has_all:
            return []
        return [{"gap": True, "since": self.place, "oldest": oldest}]


def _shown(event: StoredEvent) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "time_ns": event.time_ns,
        "job": event.job_id,
        "kind": event.kind,
        "data": event.data,
    }
