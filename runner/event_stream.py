"""What has happened to jobs, for whoever follows it: a place in the store's events, and a bell.

Nothing is kept for a follower but its place; what comes next is read when it may be sent. The
store rings the bell, and those wake who see what was recorded. Who may see which events is
`runner.server.handlers.events`'s, what they are `runner.store`'s.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from runner.refusal import Refusal
from runner.store import REMOVE, SUBMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.rows import StoredEvent
    from runner.store import Store

# Streams of one user: each that is woken reads for itself.
MAX_AT_ONCE: Final = 16
# Of one read: what a follower that is not read from holds.
BATCH_EVENTS: Final = 64
# Between two rings for the same: however much is recorded, most of the loop's time is for others.
REST_SECONDS: Final = 0.02


class Bell:
    """Wakes who follows, and knows how far there is to go. For the loop's thread only.

    To be rung after each commit that has recorded an event.
    """

    def __init__(self) -> None:
        self._newest: int | None = None
        # By whose events they see, None: everybody's. Kept while one follows.
        self._audiences: dict[int | None, _Audience] = {}
        self._by_peer: Counter[int] = Counter()

    def is_heard(self) -> bool:
        """Whether anybody follows."""
        return bool(self._audiences)

    def ring(self, latest: Mapping[int, int]) -> None:
        """Something was recorded: for each uid, its newest number. Others are not disturbed.

        Takes as long whether one waits or a thousand.
        """
        before, self._newest = self._newest, max(latest.values())
        if before is None:
            # Nobody has asked for it yet, so nobody follows.
            return
        for uid, number in (*latest.items(), (None, self._newest)):
            if (audience := self._audiences.get(uid)) is not None:
                audience.ring(number, before)

    def newest(self, store: Store) -> int:
        """The number of the newest event; the store is asked once."""
        if self._newest is None:
            self._newest = store.newest_event()
        return self._newest

    def newest_of(self, store: Store, uid: int | None) -> int:
        """A number that no event of this uid is beyond, None: of any."""
        audience = self._audiences.get(uid)
        return self.newest(store) if audience is None else audience.newest

    @contextmanager
    def place(self, store: Store, peer_uid: int, uid: int | None) -> Iterator[None]:
        """A stream of this peer's, who sees the events of `uid`, None: of all. Raises Refusal."""
        if self._by_peer[peer_uid] >= MAX_AT_ONCE:
            raise Refusal("too-many-requests", allowed=f"{MAX_AT_ONCE} event streams at once")
        self._by_peer[peer_uid] += 1
        audience = self._audiences.setdefault(uid, _Audience(self.newest(store)))
        audience.streams += 1
        try:
            yield
        finally:
            audience.streams -= 1
            if not audience.streams:
                del self._audiences[uid]
            self._by_peer[peer_uid] -= 1
            if not self._by_peer[peer_uid]:
                del self._by_peer[peer_uid]

    async def rung(self, uid: int | None) -> int:
        """Wait for what is recorded for this uid from now on, in a place. Look again before.

        Returns the number up to which nothing was that had not been there to see before.
        """
        return await self._audiences[uid].rung()


class _Round:
    """From one waking to the next. `quiet`: the newest event before the first that is theirs."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()
        self.quiet: int | None = None


class _Audience:
    """All who see the same events, and the newest number of these or a later one."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self.streams = 0
        self._round = _Round()
        self._rang_at = -math.inf

    def ring(self, number: int, before: int) -> None:
        self.newest = number
        if self._round.quiet is not None:
            return
        self._round.quiet = before
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._rang_at + REST_SECONDS), self._wake)

    async def rung(self) -> int:
        mine = self._round
        await mine.is_over.wait()
        return mine.quiet or 0

    def _wake(self) -> None:
        self._rang_at = asyncio.get_running_loop().time()
        # Those of this round have its number, though another ring comes before they run.
        self._round.is_over.set()
        self._round = _Round()


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
        """Whether there may be something to see that was not looked at."""
        return self.place < self._bell.newest_of(self._store, self._uid)

    def pass_others(self) -> None:
        """Go on to the newest event without a look; to be called when it is not behind."""
        self.place = max(self.place, self._bell.newest(self._store))

    async def more(self) -> None:
        """Wait, when it is not behind, until it is. It needs a place at the bell."""
        # Past what others did meanwhile, which can be trimmed without a gap here.
        self.place = max(self.place, await self._bell.rung(self._uid))

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
