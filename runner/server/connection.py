"""One client: who it is, what comes from it and when it has its turn, and its end.

Nothing that a client does reaches beyond its own connection: a bad frame closes it, a
request that fails is answered, a reader that does not read is not written to. What is asked
and answered is `runner.server.answering`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final, cast

from client.protocol import FrameError
from runner.event_loop import Loop
from runner.parsing import SHORT_BYTES, short
from runner.refusal import Refusal
from runner.server.answering import Answering
from runner.server.framing import only_body
from runner.server.peers import is_in_a_job, peer_of
from runner.server.stream import Stream
from runner.server.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.server.service import Service

__all__ = ["FRAME_SECONDS", "LINGER_SECONDS", "Connection", "Stream"]

_logger: Final = logging.getLogger(__name__)

# A frame that was begun must be finished in this time, and so must the greeting.
FRAME_SECONDS: Final = 10.0
# How long a connection that is closed may take to read what was written to it.
LINGER_SECONDS: Final = 1.0
# Then others have their turn, however much has come.
TURN_SECONDS: Final = 0.001

# One for all connections: a loop fills it and has it emptied in one breath, thread by thread.
# A buffer for each read would be made four times as long, and cost more than a short request.
_received: Final = memoryview(bytearray(64 * 1024))
_into_received: Final = (_received,)


class Connection(Answering, asyncio.BufferedProtocol):
    """A connection of the socket server. Made by asyncio when a client connects.

    What it can make the daemon hold is bounded: requests in flight by their number, half
    frames by `Service.hold` and by time, and answers because a client that does not read
    what was written is not read from either.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._held_bytes = 0
        # What has come and was not looked at yet.
        self._coming: Iterator[bytearray] = iter(())
        self._is_behind = False
        self._fd = -1
        self._deadline: asyncio.TimerHandle | None = None

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is, and whether there is room for one more."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = Writer(self._transport, self, self._hold_events)
        try:
            sock = transport.get_extra_info("socket")
            self.peer = peer_of(sock)
            self._service.admit(self, is_job=is_in_a_job(sock, self.peer.pid))
        except Refusal as refusal:
            self._refuse(0, refusal)
            self.close()
        except OSError:
            _logger.exception("a peer that the kernel does not name was turned away")
            self._transport.abort()
        else:
            self._start_clock("no hello came")
            self._fd = sock.fileno()
            if isinstance(self._loop, Loop):
                self._loop.read_at_once(self._fd, self._read_now)

    def _read_now(self) -> bool:
        """What the transport's reader does in the next step of the loop, if nothing is odd."""
        try:
            count = os.readv(self._fd, _into_received)
        except OSError:
            return False
        if not count:
            return False
        try:
            self.buffer_updated(count)
        except Exception:
            # As the transport has it: the end of this connection alone.
            _logger.exception("a defect while reading from uid %d", self._known_peer().uid)
            self._transport.abort()
        return True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Where what comes is put; taken out of there before another connection reads."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was sent; anything but frames ends the connection."""
        if nbytes > SHORT_BYTES or not self._take_short(nbytes):
            self._coming = self._buffer.feed(_received[:nbytes])
            self._take_turn()

    def _take_short(self, nbytes: int) -> bool:
        """Answer what came, if it is one short request and nothing else has to be done."""
        body = only_body(_received, nbytes)
        is_usual = self._greeted and not self._held_bytes and not self._transport.is_closing()
        asked = short(body) if body is not None and is_usual else None
        if asked is None:
            return False
        request_id, op, message = asked
        if not self._is_free(request_id):
            return False
        self._attempt(request_id, op, message)
        return True

    def eof_received(self) -> None:
        """The client has gone: what it waited for is cancelled, the connection closed."""
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Nobody is there to answer any more."""
        self._service.forget(self)
        if isinstance(self._loop, Loop) and self._fd >= 0:
            self._loop.forget(self._fd)
        self._hold(0)
        self._stop_clock()
        self._writer.close()
        for task in self._requests.values():
            task.cancel()
        self._writable.set()

    def _hold_events(self) -> None:
        # A part of a file is on its way. Reading goes on, as long as nothing is answered.
        self._writable.clear()

    def pause_writing(self) -> None:
        """The client does not read: nothing is written to it, and nothing read from it."""
        self._writable.clear()
        self._stop_clock()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()
        if not self._is_behind and not self._transport.is_closing():
            self._transport.resume_reading()
            self._watch_frame(completed=False)

    # Turns

    def _take_turn(self) -> None:
        """Do what was asked, for a while; what is left waits until others had their turn."""
        if self._transport.is_closing():
            return
        self._writer.gathers = True
        try:
            self._take_some()
        except FrameError as error:
            self._drop(Refusal("bad-frame", detail=str(error)))
        except Refusal as refusal:
            self._drop(refusal)
        finally:
            self._writer.gathers = False
            self._writer.flush()

    def _take_some(self) -> None:
        taken, until = 0, time.monotonic() + TURN_SECONDS
        for body in self._coming:
            taken += 1
            self._take(body)
            if time.monotonic() >= until:
                self._fall_behind()
                return
        held = self._buffer.held_bytes
        # Nothing to be done between two frames, which is the usual case.
        if held or self._held_bytes or self._deadline or not self._greeted:
            self._hold(held)
            self._watch_frame(completed=taken > 0)
        if self._is_behind:
            self._catch_up()

    def _fall_behind(self) -> None:
        """Go on in another turn, and read no more until all was done: nobody is waited for."""
        self._is_behind = True
        self._stop_clock()
        self._transport.pause_reading()
        self._loop.call_soon(self._take_turn)

    def _catch_up(self) -> None:
        self._is_behind = False
        if self._writable.is_set():
            self._transport.resume_reading()

    # Bounds

    def close(self) -> None:
        """End the connection: soon, also when the client does not read."""
        self._writer.finish()
        self._transport.close()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _drop(self, refusal: Refusal) -> None:
        _logger.warning("connection of uid %d dropped: %s", self._known_peer().uid, refusal)
        self._refuse(0, refusal)
        self.close()

    def _hold(self, held_bytes: int) -> None:
        """Account for what waits in a half frame. Raises Refusal when it is too much."""
        more = held_bytes - self._held_bytes
        self._held_bytes = held_bytes
        if more and self.peer is not None:
            self._service.hold(self.peer.uid, more)

    def _watch_frame(self, *, completed: bool) -> None:
        """A half frame holds memory: for a while, not for ever."""
        if completed or not self._held_bytes:
            self._stop_clock()
        if self._held_bytes and self._deadline is None:
            self._start_clock("a frame was not complete")
        elif not self._greeted and self._deadline is None:
            self._start_clock("no hello came")

    def _start_clock(self, why: str) -> None:
        refusal = Refusal("bad-frame", detail=f"{why} within {FRAME_SECONDS:g} s")
        self._deadline = self._loop.call_later(FRAME_SECONDS, self._drop, refusal)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
