"""One client: who it is, its requests in flight, its streams, and its end.

Nothing that a client does reaches beyond its own connection: a bad frame closes it, a
request that fails is answered, a reader that does not read is not written to. What the
requests mean is `runner.server.handlers`' business.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from client import protocol
from client.protocol import FrameError, Message
from runner import messages
from runner.parsing import parse
from runner.refusal import Refusal, shown
from runner.server.framing import FrameBuffer
from runner.server.peers import is_in_a_job, peer_of
from runner.store import StoreError
from runner.store_file import DamagedStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.policy import Peer
    from runner.server.service import Service

_logger: Final = logging.getLogger(__name__)

# A frame that was begun must be finished in this time, and so must the greeting.
FRAME_SECONDS: Final = 10.0
# How long a connection that is closed may take to read what was written to it.
LINGER_SECONDS: Final = 1.0
# Of those that come before anybody listens: Ctrl-C, and Ctrl-C again.
_MAX_EARLY_SIGNALS: Final = 16


class Connection(asyncio.Protocol):
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
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, Stream] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._greeted = False
        self._deadline: asyncio.TimerHandle | None = None
        self.peer: Peer | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is, and whether there is room for one more."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a server makes
        self._transport = transport
        try:
            sock = transport.get_extra_info("socket")
            self.peer = peer_of(sock)
            self._service.admit(self, is_job=is_in_a_job(sock, self.peer.pid))
        except Refusal as refusal:
            self._refuse(0, refusal)
            self.close()
        except OSError:
            _logger.exception("a peer that the kernel does not name was turned away")
            transport.abort()
        else:
            self._start_clock("no hello came")

    def data_received(self, data: bytes) -> None:
        """Take what was sent; anything but frames ends the connection."""
        if self._transport.is_closing():
            return
        taken = 0
        try:
            for message in self._buffer.feed(data):
                taken += 1
                self._take(message)
            self._hold(self._buffer.held_bytes)
        except FrameError as error:
            self._drop(Refusal("bad-frame", detail=str(error)))
        except Refusal as refusal:
            self._drop(refusal)
        else:
            self._watch_frame(completed=taken > 0)

    def eof_received(self) -> None:
        """The client has gone: what it waited for is cancelled, the connection closed."""
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Nobody is there to answer any more."""
        self._service.forget(self)
        self._hold(0)
        self._stop_clock()
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
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._watch_frame(completed=False)

    # Bounds

    def close(self) -> None:
        """End the connection: soon, also when the client does not read."""
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
            self._dispatch(request_id, *_envelope(message))
        except Refusal as refusal:
            self._refuse(request_id, refusal)
        except Exception as error:  # noqa: BLE001 - it must not end the other requests
            self._own_up(request_id, error)

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
        self._streams[request_id] = stream
        self._requests[request_id] = self._loop.create_task(self._answer(request_id, work))

    async def _answer(self, request_id: int, work: Any) -> None:  # noqa: ANN401
        try:
            # Not before the client has read: 64 pages of a list are 200 MB.
            await self._writable.wait()
            answer = await work
            await self._writable.wait()
            self._send({"id": request_id, "ok": answer})
        except Refusal as refusal:
            self._refuse(request_id, refusal)
        except asyncio.CancelledError:
            self._refuse(request_id, Refusal("cancelled"))
        except StoreError as error:
            if isinstance(error, DamagedStoreError):
                self._service.problems.add(str(error))
            else:
                _logger.error("request refused: %s", error)  # noqa: TRY400 - it says it all
            self._refuse(request_id, Refusal("store-error", detail=str(error)))
        except Exception as error:  # noqa: BLE001 - the client must be answered
            self._own_up(request_id, error)
        finally:
            # Never begun, when it was cancelled before the client had read.
            work.close()
            del self._requests[request_id]
            del self._streams[request_id]

    def _greet(self, request_id: int, hello: messages.Hello) -> None:
        answer = self._service.greet(self._known_peer(), hello)
        self._greeted = True
        self._buffer.greeted()
        self._send({"id": request_id, "ok": answer})

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

    async def send_event(self, request_id: int, seq: int, event: Message) -> None:
        """One event of a stream, as soon as the client reads."""
        await self._writable.wait()
        self._send({"id": request_id, "seq": seq, "event": event})

    def _own_up(self, request_id: int, error: Exception) -> None:
        """A defect of ours: its details are for the log, not for the client."""
        _logger.error("a defect while answering uid %d", self._known_peer().uid, exc_info=error)
        self._refuse(request_id, Refusal("internal"))

    def _refuse(self, request_id: int, refusal: Refusal) -> None:
        self._send({"id": request_id, "error": refusal.to_wire()})

    def _send(self, message: Message) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(protocol.encode_frame(message))


class Stream:
    """The events of one request, sent as far as the client granted credit."""

    def __init__(self, connection: Connection, request_id: int) -> None:
        self._connection = connection
        self._request_id = request_id
        self._seq = 0
        self._credit = 0
        self._granted = asyncio.Event()
        self._signals: list[int] = []
        self._on_signal: Callable[[int], None] | None = None

    def listen(self, on_signal: Callable[[int], None]) -> None:
        """From now on signals go there, and first those that came before."""
        self._on_signal = on_signal
        for number in self._signals:
            on_signal(number)

    def signal(self, number: int) -> None:
        """The client sends a signal to the command whose output this is."""
        if self._on_signal is not None:
            self._on_signal(number)
        elif len(self._signals) < _MAX_EARLY_SIGNALS:
            self._signals.append(number)

    def grant(self, events: int) -> None:
        """Let so many more events go."""
        self._credit = min(self._credit + events, protocol.MAX_REQUEST_ID)
        self._granted.set()

    @property
    def is_ready(self) -> bool:
        """Whether an event may be sent now: there is credit, and the client reads."""
        return self._credit > 0 and self._connection.is_writable

    async def ready(self) -> None:
        """Wait until one more event may be sent: nothing need be read before."""
        while not self.is_ready:
            if self._credit == 0:
                self._granted.clear()
                await self._granted.wait()
            await self._connection.writable()

    async def send(self, event: Message) -> None:
        """Send one event; waits for credit and for the client to read."""
        await self.ready()
        self._credit -= 1
        self._seq += 1
        await self._connection.send_event(self._request_id, self._seq, event)


def _envelope(message: Message) -> tuple[str, Message]:
    """The operation and its arguments. Raises Refusal."""
    unknown = message.keys() - {"id", "op", "args"}
    if unknown:
        raise Refusal("bad-request", field=shown(next(iter(unknown))), allowed="id, op, args")
    op, args = message.get("op"), message.get("args", {})
    if not isinstance(op, str):
        raise Refusal("bad-request", field="op", given=shown(op), allowed="an operation's name")
    if not isinstance(args, dict) or not all(isinstance(name, str) for name in args):
        raise Refusal("bad-request", field="args", given=shown(args), allowed="a map of names")
    return op, args
