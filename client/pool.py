"""Connections to one daemon that wait to be used again.

It knows no operation: what is asked on a connection is `client.api`'s and the streams'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from client.connection import Connection
from client.errors import ConnectionLost, RequestRefused

if TYPE_CHECKING:
    from client import protocol

_IDLE_CONNECTIONS: Final = 4


class Pool:
    """Connections that wait to be used again. Appending and popping are atomic for threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[Connection] = []
        self.reached = False

    def take(self) -> Connection:
        """An idle connection that still stands, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle():
                return connection
            connection.close()
        try:
            connection = Connection(self._path)
        except ConnectionLost:
            # Somebody was there, and went in the middle of the greeting: a restart.
            self.reached = True
            raise
        self.reached = True
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
            answer = connection.request(op, args, timeout=timeout)
            reusable = True
        except RequestRefused as error:
            reusable = error.code not in ("bad-frame", "hello-required", "shutting-down")
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
