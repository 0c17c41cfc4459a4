"""One client: who it is, its requests in flight, its streams, and its end.

Nothing that a client does reaches beyond its own connection: a bad frame closes it, a
request that fails is answered, a reader that does not read is not written to. What the
requests mean is `runner.server.handlers`' business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, cast

from client import protocol
from client.protocol import FrameError, Message
from runner import messages
from runner.parsing import envelope, parse
from runner.refusal import Refusal, shown
from runner.server.framing import FrameBuffer, event_head
from runner.server.peers import is_in_a_job, peer_of
from runner.server.stream import Stream
from runner.server.writing import Writer
from runner.store import StoreError
from runner.store_file import DamagedStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.policy import Peer
    from runner.server.outlet import FilePart
    from runner.server.service import Answer, Service, Work

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


class Connection(asyncio.BufferedProtocol):
    """A connection of the socket server. Made by asyncio when a client connects.

    What it can make the daemon hold is bounded: requests in flight by their number, half
    frames by `Service.hold` and by time, and answers because a client that does not read
    what was written is not read from either.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._buffer = FrameBuffer()
        self._held_bytes = 0
        # What has come and was not looked at yet.
        self._coming: Iterator[Message] = iter(())
        self._is_behind = False
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, Stream] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._greeted = False
        self._deadline: asyncio.TimerHandle | None = None
        self.peer: Peer | None = None

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is, and whether there is room for one more."""
        self._transport = cast("asyncio.Transport", transport)
        self._writer = Writer(self._transport, self)
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

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Where what comes is put; taken out of there before another connection reads."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was sent; anything but frames ends the connection."""
        self._coming = self._buffer.feed(_received[:nbytes])
        self._take_turn()

    def eof_received(self) -> None:
        """The client has gone: what it waited for is cancelled, the connection closed."""
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Nobody is there to answer any more."""
        self._service.forget(self)
        self._hold(0)
        self._stop_clock()
        self._writer.close()
        for task in self._requests.values():
            task.cancel()
        self._writable.set()

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
        for message in self._coming:
            taken += 1
            self._take(message)
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

    # Requests

    def requests(self) -> list[asyncio.Task[None]]:
        """Those that are in flight."""
        return list(self._requests.values())

    def _take(self, message: Message) -> None:
        request_id = message.get("id")
        if type(request_id) is not int or not 1 <= request_id <= protocol.MAX_REQUEST_ID:
            self._refuse(0, Refusal("bad-request", field="id", given=shown(request_id),
                                    allowed=f"1 to {protocol.MAX_REQUEST_ID}"))  # fmt: skip
            return
        try:
            self._dispatch(request_id, *envelope(message))
        except Exception as error:  # noqa: BLE001 - it must not end the other requests
            self._fail(request_id, error)

    def _dispatch(self, request_id: int, op: str, args: Message) -> None:
        if op == "credit":
            self._credit(request_id, parse(messages.Credit, args).events)
        elif op == "cancel":
            parse(messages.Cancel, args)
            self._cancel(request_id)
        elif op == "signal":
            self._signal(request_id, parse(messages.Signal, args).signal)
        elif op == "hello":
            self._greet(request_id, parse(messages.Hello, args))
        elif not self._greeted:
            raise Refusal("hello-required", detail="the first request must be hello")
        elif request_id in self._requests:
            raise Refusal("bad-request", field="id", given=str(request_id),
                          allowed="an id that is not in flight")  # fmt: skip
        elif len(self._requests) >= protocol.MAX_IN_FLIGHT:
            raise Refusal("too-many-requests", allowed=f"{protocol.MAX_IN_FLIGHT} in flight")
        else:
            self._begin(request_id, op, args)

    def _begin(self, request_id: int, op: str, args: Message) -> None:
        stream = Stream(self, request_id)
        work = self._service.handle(self._known_peer(), op, args, stream)
        answer = self._asked(work) if callable(work) else work
        if isinstance(answer, dict):
            self._writer.send({"id": request_id, "ok": answer})
            return
        self._streams[request_id] = stream
        self._requests[request_id] = self._loop.create_task(self._answer(request_id, answer))

    def _asked(self, ask: Callable[[], Answer | Work]) -> Answer | Work:
        # Not before the client has read: 64 pages of a list are 200 MB.
        return ask() if self._writable.is_set() else self._later(ask)

    async def _later(self, ask: Callable[[], Answer | Work]) -> Answer:
        await self._writable.wait()
        answer = ask()
        return answer if isinstance(answer, dict) else await answer

    async def _answer(self, request_id: int, work: Work) -> None:
        try:
            await self._writable.wait()
            answer = await work
            await self._writable.wait()
            self._writer.send({"id": request_id, "ok": answer})
        except asyncio.CancelledError:
            self._refuse(request_id, Refusal("cancelled"))
        except Exception as error:  # noqa: BLE001 - the client must be answered
            self._fail(request_id, error)
        finally:
            # Never begun, when it was cancelled before the client had read.
            work.close()
            del self._requests[request_id]
            del self._streams[request_id]

    def _fail(self, request_id: int, error: Exception) -> None:
        """Answer a request that came to nothing."""
        if isinstance(error, Refusal):
            self._refuse(request_id, error)
        elif isinstance(error, StoreError):
            if isinstance(error, DamagedStoreError):
                self._service.problems.add(str(error))
            else:
                _logger.error("request refused: %s", error)
            self._refuse(request_id, Refusal("store-error", detail=str(error)))
        else:
            self._own_up(request_id, error)

    def _greet(self, request_id: int, hello: messages.Hello) -> None:
        answer = self._service.greet(self._known_peer(), hello)
        self._greeted = True
        self._buffer.greeted()
        self._writer.send({"id": request_id, "ok": answer})

    def _credit(self, request_id: int, events: int) -> None:
        stream = self._streams.get(request_id)
        if stream is not None:
            stream.grant(events)

    def _signal(self, request_id: int, number: int) -> None:
        stream = self._streams.get(request_id)
        if stream is not None:
            stream.signal(number)

    def _cancel(self, request_id: int) -> None:
        task = self._requests.get(request_id)
        if task is not None:
            # After its first step, which may still be due: a task that is cancelled before
            # it never runs, and nobody would be answered.
            self._loop.call_soon(task.cancel)

    def _known_peer(self) -> Peer:
        assert self.peer is not None  # noqa: S101 - set when the connection was made
        return self.peer

    # Writing

    @property
    def is_writable(self) -> bool:
        """Whether the client takes what is sent."""
        return self._writable.is_set()

    async def writable(self) -> None:
        """Wait until it does."""
        await self._writable.wait()

    def send_event(self, request_id: int, seq: int, event: Message) -> None:
        """One event of a stream; to be called while the client reads."""
        self._writer.send({"id": request_id, "seq": seq, "event": event})

    def send_part(self, request_id: int, seq: int, head: bytes, part: FilePart) -> None:
        """The same, of an event that is packed and ends with that. Raises OSError of pread(2)."""
        self._writer.send_part(event_head(request_id, seq, len(head) + part.length) + head, part)

    def _own_up(self, request_id: int, error: Exception) -> None:
        """A defect of ours: its details are for the log, not for the client."""
        _logger.error("a defect while answering uid %d", self._known_peer().uid, exc_info=error)
        self._refuse(request_id, Refusal("internal"))

    def _refuse(self, request_id: int, refusal: Refusal) -> None:
        self._writer.send({"id": request_id, "error": refusal.to_wire()})
