"""Connections to runnerd, by whom they act for: opened when needed, shared, closed when idle.

It knows no operation and decides about no rights: what may be asked is `gateway.session`'s, what a
user may, runnerd's. Each certificate has connections of its own for each user that it acts for, so
that nobody's streams take another one's places, and runnerd's log says whose request it was.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import pwd
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from client import __version__
from client.aio import WINDOW_EVENTS, AsyncConnection
from client.connection import ANSWER_SECONDS
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from client.aio import AsyncStream
    from client.errors import ClientError
    from client.protocol import Message

# Of the 64 requests that runnerd lets be in flight on one; the rest is for answers still to come.
IN_FLIGHT: Final = 56
IDLE_SECONDS: Final = 60.0
# A connection has the groups that its user had when it was opened, so none takes requests for ever.
AGE_SECONDS: Final = 300.0
_CLIENT: Final = f"runner-gateway {__version__}"
_ORIGIN_CHARS: Final = 256
# Events in flight, at most 1 MiB each of output, next to nothing of what happened to jobs.
_WINDOWS: Final = {"events": 128}
_START_IT: Final = (
    "start it with `sudo runnerd`, or name its socket: `socket` in config.toml, --socket, or "
    "RUNNER_GATEWAY_SOCKET"
)
_logger: Final = logging.getLogger(__name__)


class Who(NamedTuple):
    """A user to act for, and who that is outside: text for runnerd's log. No user: ourselves."""

    user: str | None
    origin: str = ""


OURSELVES: Final = Who(None)


class Upstream:
    """The runnerd at the socket `path`, for at most `most` connections, `most_each` for one `Who`.

    Raises DaemonUnavailable and ConnectionLost while it is away, RequestRefused where it does not
    let us act for a user (`not-permitted`) or where there are too many connections.
    """

    def __init__(self, path: str, *, most: int = 256, most_each: int = 8) -> None:
        self.path = path
        self._most = most
        self._most_each = most_each
        self._connections: defaultdict[Who, list[AsyncConnection]] = defaultdict(list)
        self._opening: defaultdict[Who, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._idle: dict[AsyncConnection, asyncio.TimerHandle] = {}
        # Until when each takes requests, by the loop's clock.
        self._until: dict[AsyncConnection, float] = {}
        self._count = 0
        self._name = _own_name()
        # Why runnerd was not reached the last time: a word that is said when it changes.
        self._away: str | None = None

    async def request(
        self,
        who: Who,
        op: str,
        args: Message,
        *,
        timeout: float | None = ANSWER_SECONDS,  # noqa: ASYNC109  what `client.aio` takes
    ) -> Message:
        """The answer of runnerd to one request of that user."""
        async with self._one(who) as connection:
            return await connection.request(op, args, timeout=timeout)

    @asynccontextmanager
    async def stream(
        self, who: Who, op: str, args: Message, *, allowed: float = math.inf
    ) -> AsyncIterator[AsyncStream]:
        """The events of one request of that user; `allowed` as in `client.aio`."""
        window = _WINDOWS.get(op, WINDOW_EVENTS)
        async with (
            self._one(who) as connection,
            connection.stream(op, args, window=window, allowed=allowed) as events,
        ):
            yield events

    async def greeting(self, who: Who = OURSELVES) -> Message:
        """What runnerd says of itself, and of that user, now: the answer to `hello`."""
        async with self._one(who) as connection:
            return connection.hello

    @property
    def connections(self) -> int:
        """How many there are now."""
        return self._count

    def close(self) -> None:
        """Close them all; what is in flight ends with ConnectionLost."""
        for timer in self._idle.values():
            timer.cancel()
        self._idle.clear()
        for connections in self._connections.values():
            for connection in connections:
                connection.close()
        self._connections.clear()
        self._until.clear()
        self._count = 0

    @asynccontextmanager
    async def _one(self, who: Who) -> AsyncIterator[AsyncConnection]:
        """A connection with room for one more request."""
        connection = self._with_room(who) or await self._opened(who)
        if (timer := self._idle.pop(connection, None)) is not None:
            timer.cancel()
        try:
            yield connection
        finally:
            self._give_back(who, connection)

    def _with_room(self, who: Who) -> AsyncConnection | None:
        """The one with the fewest requests in flight, if it has room."""
        self._forget_closed(who)
        having = [each for each in self._young(who) if each.in_flight < IN_FLIGHT]
        return min(having, key=_in_flight, default=None)

    def _young(self, who: Who) -> list[AsyncConnection]:
        now = asyncio.get_running_loop().time()
        return [each for each in self._connections.get(who, ()) if self._until[each] > now]

    async def _opened(self, who: Who) -> AsyncConnection:
        async with self._opening[who]:
            # Somebody else's may be there by now.
            if (connection := self._with_room(who)) is not None:
                return connection
            if len(self._young(who)) >= self._most_each or not self._has_room():
                raise RequestRefused(
                    "too-many-requests", detail="too many requests are in flight; try again soon"
                )
            self._count += 1
            try:
                connection = await self._greeted(who)
            except BaseException:
                self._count -= 1
                raise
            self._connections[who].append(connection)
            self._until[connection] = asyncio.get_running_loop().time() + AGE_SECONDS
            return connection

    async def _greeted(self, who: Who) -> AsyncConnection:
        try:
            connection = await AsyncConnection.open(
                self.path, act_for=self._act_for(who), client=_CLIENT
            )
        except (DaemonUnavailable, ConnectionLost, ProtocolError) as error:
            self._say_away(error)
            raise
        except RequestRefused:
            self._say_reached()
            raise
        self._say_reached()
        return connection

    def _say_away(self, error: ClientError) -> None:
        kind = error.reason if isinstance(error, DaemonUnavailable) else type(error).__name__
        if kind != self._away:
            self._away = kind
            _logger.error("runnerd cannot be reached: %s", _why_away(error))

    def _say_reached(self) -> None:
        if self._away is not None:
            self._away = None
            _logger.info("runnerd is reached again")

    def _act_for(self, who: Who) -> Message | None:
        """Nothing for our own account: whoever runs a gateway for himself needs no permission."""
        if who.user is None or who.user == self._name:
            return None
        return {"user": who.user, "origin": who.origin[:_ORIGIN_CHARS]}

    def _has_room(self) -> bool:
        """Whether one more may be opened; one that is idle gives way."""
        if self._count >= self._most:
            for who in list(self._connections):
                self._forget_closed(who)
        unused = (each for each in self._idle if not each.in_flight)
        if self._count >= self._most and (oldest := next(unused, None)) is not None:
            oldest.close()
            for who in list(self._connections):
                self._forget_closed(who)
        return self._count < self._most

    def _give_back(self, who: Who, connection: AsyncConnection) -> None:
        if not connection.is_open:
            self._forget_closed(who)
        elif connection not in self._idle:
            self._wait_for_end(who, connection)

    def _wait_for_end(self, who: Who, connection: AsyncConnection) -> None:
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.call_later(IDLE_SECONDS, self._expire, who, connection)

    def _expire(self, who: Who, connection: AsyncConnection) -> None:
        """Close it, unless somebody else uses it, or what was cancelled is not answered yet."""
        del self._idle[connection]
        if connection.in_flight:
            self._wait_for_end(who, connection)
        else:
            connection.close()
            self._forget_closed(who)

    def _forget_closed(self, who: Who) -> None:
        connections = self._connections.get(who)
        if connections is None:
            return
        still = [each for each in connections if each.is_open]
        self._count -= len(connections) - len(still)
        for each in connections:
            if not each.is_open:
                self._until.pop(each, None)
                if (timer := self._idle.pop(each, None)) is not None:
                    timer.cancel()
        if still:
            self._connections[who] = still
        else:
            del self._connections[who]
            # A lock that somebody waits for stays with them; the next one makes another.
            if who in self._opening and not self._opening[who].locked():
                del self._opening[who]


def _why_away(error: ClientError) -> str:
    """The sentence of `client.connection`, with what to do here rather than in a shell."""
    if not isinstance(error, DaemonUnavailable):
        return str(error)
    remedy = error.remedy
    if error.reason == "denied":
        remedy = f"{remedy.removesuffix(', then log in again')}, then start the gateway again"
    elif error.reason != "silent":
        remedy = _START_IT
    return f"{error.text}; {remedy}"


def _in_flight(connection: AsyncConnection) -> int:
    return connection.in_flight


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
