"""Who is connected: so many at once, so many of one user, and what waits in their half frames.

Counts and refuses. Who somebody is, the kernel says (`runner.server.peers`) or, of those for whom
the gateway acts, `runner.server.acting`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from runner.policy import ROOT_UID
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.config_gateway import ClientsConfig
    from runner.server.connection import Connection

# Of frames that are not complete, for each user: some of the longest, many of the usual.
MAX_HELD_BYTES: Final = 16 * 1024 * 1024


class Clients:
    """The connections there are, each counted for one user."""

    def __init__(self, bounds: ClientsConfig) -> None:
        self._bounds = bounds
        # With the user for whom each is counted.
        self._connections: dict[Connection, int] = {}
        self._by_uid: Counter[int] = Counter()
        # Bytes of frames that are not complete, for each user.
        self._held: Counter[int] = Counter()

    def all(self) -> list[Connection]:
        """Those that were let in and have not gone."""
        return list(self._connections)

    def admit(self, connection: Connection, uid: int, *, is_job: bool = False) -> None:
        """Count a connection in. Raises Refusal when there are too many, or for a job."""
        if is_job and not self._bounds.allow_jobs:
            raise Refusal(
                "not-permitted",
                detail="a job may not use runnerd, unless clients.allow_jobs is set",
            )
        # Root is never locked out by others.
        others = len(self._connections) - self._by_uid[ROOT_UID]
        most = self._bounds.max_connections
        if uid != ROOT_UID and others >= most:
            raise Refusal("too-many-requests", allowed=f"{most} connections")
        self._check_room(uid)
        self._count(connection, uid)

    def move(self, connection: Connection, uid: int, held: int) -> None:
        """It is that user's from now on, with what it holds. Raises Refusal: those are too many."""
        before = self._connections[connection]
        self._check_room(uid)
        self.hold(uid, held)
        self.hold(before, -held)
        self._discount(before)
        self._count(connection, uid)

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        uid = self._connections.pop(connection, None)
        if uid is not None:
            self._discount(uid)

    def hold(self, uid: int, more: int) -> None:
        """Count bytes that wait in half frames. Raises Refusal, and counts none: too many."""
        held = self._held[uid] + more
        if more > 0 and held > MAX_HELD_BYTES:
            raise Refusal("too-many-requests", allowed=f"{MAX_HELD_BYTES} bytes in half frames")
        if held:
            self._held[uid] = held
        else:
            del self._held[uid]

    def _check_room(self, uid: int) -> None:
        most = self._bounds.max_connections_per_user
        if uid != ROOT_UID and self._by_uid[uid] >= most:
            raise Refusal("too-many-requests", allowed=f"{most} connections of one user")

    def _count(self, connection: Connection, uid: int) -> None:
        self._connections[connection] = uid
        self._by_uid[uid] += 1

    def _discount(self, uid: int) -> None:
        self._by_uid[uid] -= 1
        if not self._by_uid[uid]:
            del self._by_uid[uid]
