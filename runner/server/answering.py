"""What is asked on one connection, and its answers: requests in flight, streams, refusals.

A part of a connection, which it knows as a `Link`. How bytes come, what may be held of them
and when a client has its turn is `runner.server.connection`'s; what the requests mean,
`runner.server.handlers`'.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from client import protocol
from client.protocol import Message, decode_body
from runner import messages
from runner.parsing import SHORT_BYTES, envelope, parse, short
from runner.refusal import Refusal, shown
from runner.server.acting import who
from runner.server.framing import event_head
from runner.server.stream import Stream
from runner.store import StoreError
from runner.store_file import DamagedStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.message_kinds import Closed
    from runner.policy import Peer
    from runner.server.outlet import FilePart
    from runner.server.service import Answer, Service, Work
    from runner.server.writing import Writer

_logger: Final = logging.getLogger(__name__)


class Link(Protocol):
    """The connection that this is a part of: `runner.server.connection.Connection`."""

    def greeted(self) -> None:
        """Who is at the other end is known, and speaks this protocol."""

    def become(self, uid: int) -> None:
        """It is that user's from now on, and counted for it. Raises Refusal: they are too many."""

    def go_on(self) -> None:
        """Take the frames that waited for the greeting."""


class Answering:
    """The requests of one client. `writable` is set while the client reads what is sent."""

    def __init__(
        self,
        service: Service,
        peer: Peer,
        writer: Writer,
        writable: asyncio.Event,
        link: Link,
    ) -> None:
        self.peer = peer
        self.greeted = False
        # Whether somebody is being looked up: until then nothing else is taken.
        self.is_greeting = False
        self._service = service
        self._writer = writer
        self._writable = writable
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, Stream] = {}

    # Requests

    def requests(self) -> list[asyncio.Task[None]]:
        """Those that are in flight."""
        return list(self._requests.values())

    def end(self) -> None:
        """Nobody is there to answer any more: what is in flight is cancelled."""
        for task in self._requests.values():
            task.cancel()

    def take(self, body: bytearray) -> None:
        """Do what the body of a frame asks for. Raises FrameError for what is no message."""
        if len(body) > SHORT_BYTES or not self.take_short(body):
            self._take_message(decode_body(body, protocol.MAX_REQUEST_CONTAINERS))

    def take_short(self, body: bytearray | memoryview) -> bool:
        """The same of at most SHORT_BYTES that ask what is asked most. False: they do not.

        Nor when there is a reason to refuse it: `take` knows which.
        """
        asked = short(body) if self.greeted else None
        if asked is None:
            return False
        request_id, op, request = asked
        if (
            not 1 <= request_id <= protocol.MAX_REQUEST_ID
            or request_id in self._requests
            or len(self._requests) >= protocol.MAX_IN_FLIGHT
        ):
            return False
        try:
            self._begin(request_id, op, request)
        except Exception as error:  # noqa: BLE001 - it must not end the other requests
            self._fail(request_id, error)
        return True

    def _take_message(self, message: Message) -> None:
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
        elif not self.greeted:
            raise Refusal("hello-required", detail="the first request must be hello")
        elif request_id in self._requests:
            raise Refusal("bad-request", field="id", given=str(request_id),
                          allowed="an id that is not in flight")  # fmt: skip
        elif len(self._requests) >= protocol.MAX_IN_FLIGHT:
            raise Refusal("too-many-requests", allowed=f"{protocol.MAX_IN_FLIGHT} in flight")
        else:
            self._begin(request_id, op, self._service.read(op, args))

    def _begin(self, request_id: int, op: str, request: Closed) -> None:
        stream = Stream(self, request_id)
        work = self._service.handle(self.peer, op, request, stream)
        answer = self._asked(work) if callable(work) else work
        if isinstance(answer, dict):
            self._writer.send({"id": request_id, "ok": answer})
            return
        self._start(request_id, stream, answer)

    def _start(self, request_id: int, stream: Stream, work: Work) -> None:
        self._streams[request_id] = stream
        self._requests[request_id] = self._loop.create_task(self._answer(request_id, work))

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
        self._service.check_version(hello)
        if self.peer.origin is not None or (self.greeted and hello.act_for is not None):
            why = "whom a connection acts for is said in its first hello, and stays"
            raise Refusal("not-permitted", field="act_for", detail=why)
        if hello.act_for is None:
            self._writer.send({"id": request_id, "ok": self._greeted()})
        else:
            self.is_greeting = True
            self._start(request_id, Stream(self, request_id), self._act(hello.act_for))

    def _greeted(self) -> Answer:
        self.greeted = True
        self._link.greeted()
        return self._service.greet(self.peer)

    async def _act(self, asked: messages.ActFor) -> Answer:
        """The answer to a greeting in somebody's name. Raises Refusal: the peer stays who it is."""
        try:
            peer = await self._service.acting.peer_for(self.peer, asked)
            self._link.become(peer.uid)
            self.peer = peer
            return self._greeted()
        finally:
            self.is_greeting = False
            self._link.go_on()

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

    def send_packed(self, request_id: int, seq: int, event: bytes) -> None:
        """The same, of output of a job that is packed."""
        self._writer.send_frame(event_head(request_id, seq, len(event)) + event, is_output=True)

    def send_part(self, request_id: int, seq: int, head: bytes, part: FilePart) -> None:
        """The same, of an event that is packed and ends with that. Raises OSError of pread(2)."""
        self._writer.send_part(event_head(request_id, seq, len(head) + part.length) + head, part)

    def _own_up(self, request_id: int, error: Exception) -> None:
        """A defect of ours: its details are for the log, not for the client."""
        _logger.error("a defect while answering %s", who(self.peer), exc_info=error)
        self._refuse(request_id, Refusal("internal"))

    def _refuse(self, request_id: int, refusal: Refusal) -> None:
        self._service.refusals[refusal.code] += 1
        self._writer.send({"id": request_id, "error": refusal.to_wire()})
