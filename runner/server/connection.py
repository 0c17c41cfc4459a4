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

import msgspec

from client.frames import FrameBuffer
from client.protocol import FrameError
from runner.event_loop import Loop
from runner.parsing import SHORT_BYTES
from runner.refusal import Refusal
from runner.server.acting import who
from runner.server.answering import Answering
from runner.server.framing import only_body
from runner.server.peers import is_in_a_job, peer_of
from runner.server.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.policy import Peer
    from runner.server.service import Service

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


class Connection(asyncio.BufferedProtocol):
    """A connection of the socket server. Made by asyncio when a client connects.

    What it can make the daemon hold is bounded: requests in flight by their number, half
    frames by `Service.hold` and by time, and answers because a client that does not read
    what was written is not read from either.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        # There once the peer was let in.
        self._answering: Answering | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._buffer = FrameBuffer()
        self._held_bytes = 0
        # For whom they are counted, once the peer was let in.
        self._uid = -1
        # What has come and was not looked at yet.
        self._coming: Iterator[bytearray] = iter(())
        self._is_behind = False
        self._fd = -1
        self._deadline: asyncio.TimerHandle | None = None

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is, and whether there is room for one more."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = Writer(self._transport, self, self._hold_events, self._service.settling)
        sock = transport.get_extra_info("socket")
        try:
            peer = peer_of(sock)
            if is_in_a_job(sock, peer.pid):
                peer = msgspec.structs.replace(peer, is_job=True)
            self._service.clients.admit(self, peer.uid, is_job=peer.is_job)
        except Refusal as refusal:
            self._turn_away(refusal)
        except OSError:
            _logger.exception("a peer that the kernel does not name was turned away")
            self._transport.abort()
        else:
            self._begin(peer, sock.fileno())

    def _begin(self, peer: Peer, fd: int) -> None:
        self._answering = Answering(self._service, peer, self._writer, self._writable, self)
        self._uid = peer.uid
        self._start_clock("no hello came")
        self._fd = fd
        if isinstance(self._loop, Loop):
            self._loop.read_at_once(fd, self._read_now)

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
            _logger.exception("a defect while reading from %s", self._who())
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
        answering, body = self._answering, only_body(_received, nbytes)
        if body is None or answering is None or self._held_bytes or self._transport.is_closing():
            return False
        return answering.take_short(body)

    def eof_received(self) -> None:
        """The client has gone: what it waited for is cancelled, the connection closed."""
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Nobody is there to answer any more."""
        self._service.clients.forget(self)
        if isinstance(self._loop, Loop) and self._fd >= 0:
            self._loop.forget(self._fd)
        self._hold(0)
        self._stop_clock()
        self._writer.close()
        if self._answering is not None:
            self._answering.end()
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
        if self._answering is None or self._transport.is_closing():
            return
        self._writer.gathers = True
        try:
            self._take_some(self._answering)
        except FrameError as error:
            self._drop(Refusal("bad-frame", detail=str(error)))
        except Refusal as refusal:
            self._drop(refusal)
        finally:
            self._writer.gathers = False
            self._writer.flush()

    def _take_some(self, answering: Answering) -> None:
        taken, until = 0, time.monotonic() + TURN_SECONDS
        for body in self._coming:
            taken += 1
            answering.take(body)
            if answering.is_greeting:
                self._stop_taking()
                return
            if time.monotonic() >= until:
                self._fall_behind()
                return
        held = self._buffer.held_bytes
        # Nothing to be done between two frames, which is the usual case.
        if held or self._held_bytes or self._deadline or not answering.greeted:
            self._hold(held)
            self._watch_frame(completed=taken > 0)
        if self._is_behind:
            self._catch_up()

    def _fall_behind(self) -> None:
        """Go on in another turn, and read no more until all was done: nobody is waited for."""
        self._stop_taking()
        self.go_on()

    def _stop_taking(self) -> None:
        self._is_behind = True
        self._stop_clock()
        self._transport.pause_reading()

    def go_on(self) -> None:
        """Take what has come, in a turn soon."""
        self._loop.call_soon(self._take_turn)

    def _catch_up(self) -> None:
        self._is_behind = False
        if self._writable.is_set():
            self._transport.resume_reading()

    # Who it is

    def greeted(self) -> None:
        """The client speaks this protocol: frames may be long from here on."""
        self._buffer.greeted()

    def become(self, uid: int) -> None:
        """Count it, and what waits in its half frame, for that user. Raises Refusal."""
        self._service.clients.move(self, uid, self._held_bytes)
        self._uid = uid

    # Bounds

    def requests(self) -> list[asyncio.Task[None]]:
        """Those that are in flight."""
        return [] if self._answering is None else self._answering.requests()

    def close(self) -> None:
        """End the connection: soon, also when the client does not read."""
        self._writer.finish()
        self._transport.close()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _drop(self, refusal: Refusal) -> None:
        _logger.warning("connection of %s dropped: %s", self._who(), refusal)
        self._turn_away(refusal)

    def _turn_away(self, refusal: Refusal) -> None:
        self._service.refusals[refusal.code] += 1
        self._writer.send({"id": 0, "error": refusal.to_wire()})
        self.close()

    def _who(self) -> str:
        return "nobody" if self._answering is None else who(self._answering.peer)

    def _hold(self, held_bytes: int) -> None:
        """Account for what waits in a half frame. Raises Refusal when it is too much."""
        more = held_bytes - self._held_bytes
        if more:
            self._service.clients.hold(self._uid, more)
            self._held_bytes = held_bytes

    def _watch_frame(self, *, completed: bool) -> None:
        """A half frame holds memory: for a while, not for ever."""
        if completed or not self._held_bytes:
            self._stop_clock()
        if self._held_bytes and self._deadline is None:
            self._start_clock("a frame was not complete")
        elif not self._is_greeted and self._deadline is None:
            self._start_clock("no hello came")

    @property
    def _is_greeted(self) -> bool:
        return self._answering is not None and self._answering.greeted

    def _start_clock(self, why: str) -> None:
        refusal = Refusal("bad-frame", detail=f"{why} within {FRAME_SECONDS:g} s")
        self._deadline = self._loop.call_later(FRAME_SECONDS, self._drop, refusal)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
