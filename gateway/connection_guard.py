"""What stands between TLS and the protocol inside: hands on, and cuts off who takes nothing.

It exists before it is known who has connected, because the first request may come with the last
byte of the handshake. Who it is and which protocol it becomes says `door`; what is said inside is
no business of this module.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Guard(asyncio.Protocol):
    """The protocol of one TLS connection, around the one that serves it."""

    def __init__(
        self, stall_seconds: float, stalled: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        self._stall_seconds = stall_seconds
        self._stalled = stalled
        self._lost = lost
        self._inner: asyncio.Protocol | None = None
        self._early: list[bytes] = []
        self._ended = False
        self.gone = False
        self._stall: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def serve(self, transport: asyncio.Transport, inner: asyncio.Protocol) -> None:
        """From now on `inner` has the connection; what came earlier it gets first."""
        self.transport, self._inner = transport, inner
        inner.connection_made(transport)
        early, self._early = self._early, []
        for data in early:
            inner.data_received(data)
        if self._ended:
            self.eof_received()

    def data_received(self, data: bytes) -> None:
        """Bytes that TLS has let through."""
        if self._inner is None:
            self._early.append(data)  # one read of the socket at most: `serve` comes next
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer sends no more."""
        self._ended = True
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        """What waits to be sent is more than enough; the peer has so long to take some of it."""
        loop = asyncio.get_running_loop()
        self._stall = loop.call_later(self._stall_seconds, self._cut_off)
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It took most of it."""
        self._at_ease()
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, once."""
        self._at_ease()
        self.gone = True
        self._lost()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def abort(self) -> None:
        """Ends the connection at once: nothing more is sent, nothing more is heard."""
        if self.transport is not None:
            self.transport.abort()

    def _cut_off(self) -> None:
        self._stall = None
        self._stalled()
        self.abort()

    def _at_ease(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
