"""Connections to one daemon that wait to be used again.

It knows no operation: what is asked on a connection is `client.api`'s and the streams'.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from client.connection import Connection
from client.errors import ConnectionLost, RequestRefused

if TYPE_CHECKING:
    from client import protocol
    from client.contexts import Target

_IDLE_CONNECTIONS: Final = 4
# For one's turn at a gateway, whose clients may ask only so often; nothing was done until then.
_MOST_WAITED_SECONDS: Final = 30.0
_LEAST_WAITED_SECONDS: Final = 0.05
# After these the next one has to greet again: only then is runnerd known to be there.
_OF_AN_END: Final = ("bad-frame", "hello-required", "shutting-down", "unavailable")


class Pool:
    """Connections that wait to be used again. Appending and popping are atomic for threads."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: list[Connection] = []
        self.reached = False
        # The newest one.
        self.greeting: protocol.Message | None = None

    def take(self) -> Connection:
        """An idle connection that still stands, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle():
                return connection
            connection.close()
        try:
            connection = Connection(self._target)
        except ConnectionLost:
            # Somebody was there, and went in the middle of the greeting: a restart.
            self.reached = True
            raise
        self.reached = True
        self.greeting = connection.hello
        return connection

    def give(self, connection: Connection) -> None:
        """Take back a connection on which everything was answered."""
        if len(self._idle) < _IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def request(
        self, connection: Connection, op: str, args: protocol.Message, timeout: float | None
    ) -> protocol.Message:
        """One request on a connection that was taken; it comes back when it can be used again."""
        reusable = False
        try:
            answer = _asked(connection, op, args, timeout)
            reusable = True
        except RequestRefused as error:
            reusable = error.code not in _OF_AN_END
            raise
        finally:
            if reusable:
                self.give(connection)
            else:
                connection.close()
        return answer

    def close(self) -> None:
        """Close them all; repeating is harmless."""
        while self._idle:
            self._idle.pop().close()


def _asked(
    connection: Connection, op: str, args: protocol.Message, timeout: float | None
) -> protocol.Message:
    """The answer; where a gateway says when to ask again, it is asked again then, for a while."""
    waited = 0.0
    while True:
        try:
            return connection.request(op, args, timeout=timeout)
        except RequestRefused as error:
            if error.code != "too-many-requests" or error.retry_after_seconds is None:
                raise
            seconds = max(error.retry_after_seconds, _LEAST_WAITED_SECONDS)
            if (waited := waited + seconds) > _MOST_WAITED_SECONDS:
                raise
            time.sleep(seconds)
