"""runnerd's own protocol over TLS, for `runctl --context`: the frames of docs/PROTOCOL.md.

    Door ─► WireConnection: bytes, turns, bounds ─► Answers: ids, credit ─► Session ─► runnerd

A translator: who has come in is known by the door, what they may by the session. What one client
can make the gateway hold is bounded: half frames by time and by identity, requests in flight by
number and size, answers because a client that does not read them is not read from either (how long
that may last is the door's).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, cast

from client import protocol
from client.errors import RequestRefused
from client.frames import FrameBuffer
from gateway.wire_answers import Answers, Outgoing, Services
from gateway.wire_messages import error_of

if TYPE_CHECKING:
    from client.protocol import Message
    from gateway.door import Admitted
    from gateway.session import Session

__all__ = ["Services", "Wire", "last_word"]

_LOG: Final = logging.getLogger(__name__)

# A frame that was begun must be finished in this time, and so must the greeting.
FRAME_SECONDS: Final = 10.0
# How long a connection that is closed may take to read what was written to it.
LINGER_SECONDS: Final = 1.0
# Then others have their turn, however much has come.
TURN_SECONDS: Final = 0.001
# Of one identity, in frames that are not complete.
HELD_BYTES: Final = 16 * 1024 * 1024
# Of one connection, in requests that are not answered: beyond it nothing more is read.
IN_HAND_BYTES: Final = 2 * protocol.MAX_FRAME_BYTES


class Wire:
    """All connections of the wire. An instance is the factory that a door is given.

    `frame_seconds` as FRAME_SECONDS, for tests.
    """

    def __init__(self, services: Services, *, frame_seconds: float = FRAME_SECONDS) -> None:
        self.services = services
        self.frame_seconds = frame_seconds
        self._held: Counter[str] = Counter()
        self._connections: set[WireConnection] = set()

    def __call__(self, admitted: Admitted) -> asyncio.Protocol:
        """What serves a connection that the door has let in."""
        return WireConnection(self, admitted)

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def close(self) -> None:
        """End them all, as runnerd ends: whoever follows comes again, wherever it was."""
        for connection in list(self._connections):
            connection.close()

    def opened(self, connection: WireConnection) -> None:
        """One more."""
        self._connections.add(connection)

    def closed(self, connection: WireConnection) -> None:
        """One less."""
        self._connections.discard(connection)

    def hold(self, subject: str, more: int) -> None:
        """Account for what waits in half frames. Raises RequestRefused when it is too much."""
        self._held[subject] += more
        if self._held[subject] <= 0:
            del self._held[subject]
        elif more > 0 and self._held[subject] > HELD_BYTES:
            detail = f"more than {HELD_BYTES} bytes wait in frames that are not complete"
            raise RequestRefused("too-many-requests", detail=detail)


def last_word(refused: RequestRefused) -> bytes:
    """What a connection is told that ends, or does not begin."""
    return protocol.encode_frame({"id": 0, "error": error_of(refused)})


class WireConnection(asyncio.Protocol):
    """One client: what comes from it and when it has its turn, and its end."""

    def __init__(self, wire: Wire, admitted: Admitted) -> None:
        self._wire = wire
        self._admitted = admitted
        self._loop = asyncio.get_running_loop()
        self._writable = asyncio.Event()
        self._writable.set()
        self._buffer = FrameBuffer()
        self._held_bytes = self._in_hand = 0
        self._is_behind = False
        self._deadline: asyncio.TimerHandle | None = None
        out = Outgoing(self._send, self._writable, self._hang_up)
        self._answers = Answers(wire.services, self._enter, out, self._done)

    def _enter(self, user: str | None) -> Session:
        """Let in once more, so that revocation and policy count at once. Raises RequestRefused."""
        try:
            return self._wire.services.gate.enter(
                self._admitted.certificate, remote=self._admitted.remote, api="wire", user=user
            )
        except RequestRefused as refused:
            if refused.code == "unauthenticated":
                self._loop.call_soon(self.close)
            raise

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands, and whose it is is known."""
        self._transport = cast("asyncio.Transport", transport)
        self._wire.opened(self)
        self._start_clock("no hello came")

    def data_received(self, data: bytes) -> None:
        """Take what was sent; anything but frames ends the connection."""
        self._buffer.add(data)
        if not self._is_behind:
            self._take_turn()

    def eof_received(self) -> None:
        """The client has gone: what it waited for is cancelled, the connection closed."""
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's name
        """Nobody is there to answer any more."""
        self._wire.closed(self)
        self._hold(0)
        self._stop_clock()
        self._answers.end()
        self._writable.set()

    def pause_writing(self) -> None:
        """The client does not read: nothing is written to it, and nothing read from it."""
        self._writable.clear()
        self._stop_clock()
        self._read_on()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()
        self._read_on()

    # Turns

    def _read_on(self) -> None:
        """Read, or do not: while it is answered, and what has come is not too much."""
        if self._transport.is_closing():
            return
        if self._writable.is_set() and not self._is_behind and self._in_hand < IN_HAND_BYTES:
            self._transport.resume_reading()
            self._watch_frame(completed=False)
        else:
            self._stop_clock()
            self._transport.pause_reading()

    def _take_turn(self) -> None:
        """Do what was asked, for a while; what is left waits until others had their turn."""
        if self._transport.is_closing():
            return
        try:
            self._take_some()
        except protocol.FrameError as error:
            self._drop(RequestRefused("bad-frame", detail=str(error)))
        except RequestRefused as refused:
            self._drop(refused)

    def _take_some(self) -> None:
        taken, until = 0, time.monotonic() + TURN_SECONDS
        while (body := self._buffer.take()) is not None:
            taken += 1
            if self._answers.take(body):
                self._in_hand += len(body)
            if self._answers.greeted:
                self._buffer.greeted()
            if self._in_hand >= IN_HAND_BYTES or time.monotonic() >= until:
                self._fall_behind()
                return
        self._is_behind = False
        self._hold(self._buffer.held_bytes)
        self._read_on()
        self._watch_frame(completed=taken > 0)

    def _fall_behind(self) -> None:
        """Go on in another turn, and read no more until all was done: nobody is waited for."""
        self._is_behind = True
        self._read_on()
        if self._in_hand < IN_HAND_BYTES:
            self._loop.call_soon(self._take_turn)

    def _done(self, size: int) -> None:
        """A request of that size is answered."""
        was_full = self._in_hand >= IN_HAND_BYTES
        self._in_hand -= size
        if was_full and self._in_hand < IN_HAND_BYTES:
            if self._is_behind:
                self._loop.call_soon(self._take_turn)
            else:
                self._read_on()

    # Bounds

    def close(self) -> None:
        """End the connection: soon, also when the client does not read."""
        self._transport.close()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _send(self, message: Message) -> None:
        """One message; nothing once the connection is closing. Raises FrameError."""
        if not self._transport.is_closing():
            self._transport.write(protocol.encode_frame(message))

    def _hang_up(self) -> None:
        self.close()

    def _drop(self, refused: RequestRefused) -> None:
        _LOG.warning("connection of %s dropped: %s", self._admitted.certificate.subject, refused)
        self._turn_away(refused)

    def _turn_away(self, refused: RequestRefused) -> None:
        if not self._transport.is_closing():
            self._transport.write(last_word(refused))
        self.close()

    def _hold(self, held_bytes: int) -> None:
        more, self._held_bytes = held_bytes - self._held_bytes, held_bytes
        if more:
            self._wire.hold(self._admitted.certificate.subject, more)

    def _watch_frame(self, *, completed: bool) -> None:
        """A half frame holds memory: for a while, not for ever."""
        if completed or not self._held_bytes:
            self._stop_clock()
        if self._deadline is not None or self._transport.is_closing():
            return
        if self._held_bytes:
            self._start_clock("a frame was not complete")
        elif not self._answers.greeted:
            self._start_clock("no hello came")

    def _start_clock(self, why: str) -> None:
        seconds = self._wire.frame_seconds
        refused = RequestRefused("bad-frame", detail=f"{why} within {seconds:g} s")
        self._deadline = self._loop.call_later(seconds, self._drop, refused)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
