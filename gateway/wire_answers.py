"""What is asked on one connection of the wire, and its answers: requests in flight, and streams.

How bytes come and when a client has its turn is `gateway.wire`'s; whether anything is allowed,
`gateway.session`'s. Nothing is bought in advance: an event is asked of runnerd when the client has
granted it, and goes out when it reads.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from client import __version__, protocol
from client.errors import ClientError, ConnectionLost, RequestRefused
from gateway.codes import as_refusal
from gateway.verbs import VERBS
from gateway.wire_messages import (
    Hello,
    envelope,
    error_of,
    features,
    first_credit,
    read_credit,
    read_hello,
    read_nothing,
    read_signal,
    request_id_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from client.protocol import Message
    from gateway.session import Gate, Session, SessionStream
    from gateway.upstream import Who

_LOG: Final = logging.getLogger(__name__)

# Answers that may be under way to one connection at once: a page of a list is 1 MiB of frame, and
# ten times that as objects. What only waits is not counted.
AT_ONCE: Final = 8
# Of signals that come before the command has begun: Ctrl-C, and Ctrl-C again.
MAX_EARLY_SIGNALS: Final = 16


class Services(NamedTuple):
    """What the wire asks: `gate` for everything, `greeting` (of `gateway.upstream`) for `hello`."""

    gate: Gate
    greeting: Callable[[Who], Awaitable[Message]]


class Events:
    """The events of one request, on their way to a client that said how many it takes."""

    def __init__(self, credit: int) -> None:
        self.granted = credit
        self._stream: SessionStream | None = None
        self._signals: list[int] = []
        self._signalled = asyncio.Event()

    def grant(self, events: int) -> None:
        """Let so many more go."""
        self.granted += events
        if self._stream is not None:
            self._stream.allow(events)

    def come_from(self, stream: SessionStream, allowed: int) -> None:
        """The stream that was opened with so many allowed; more may have been granted since."""
        self._stream = stream
        if self.granted > allowed:
            stream.allow(self.granted - allowed)

    def signal(self, number: int) -> None:
        """The client sends a signal to the command whose output this is."""
        if len(self._signals) < MAX_EARLY_SIGNALS:
            self._signals.append(number)
            self._signalled.set()

    async def pass_signals(self, stream: SessionStream) -> None:
        """For as long as the stream goes on."""
        while True:
            await self._signalled.wait()
            self._signalled.clear()
            while self._signals:
                with suppress(RequestRefused):
                    await stream.signal(self._signals.pop(0))


class Outgoing(NamedTuple):
    """The way to the client: `send` a message, wait until it is `writable`, `hang_up`."""

    send: Callable[[Message], None]
    writable: asyncio.Event
    hang_up: Callable[[], None]


class Answers:
    """The requests of one client. `enter` lets it in as a local user, anew for each request."""

    def __init__(
        self,
        services: Services,
        enter: Callable[[str | None], Session],
        out: Outgoing,
        on_done: Callable[[int], None],
    ) -> None:
        self._services = services
        self._enter = enter
        self._out = out
        # Called with the size of a request that is answered.
        self._on_done = on_done
        self._user: str | None = None
        self._greeting: asyncio.Task[None] | None = None
        self._is_greeted = False
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, Events] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    @property
    def greeted(self) -> bool:
        """Whether a greeting came that names somebody who may come in."""
        return self._greeting is not None

    def end(self) -> None:
        """Nobody is there to answer any more: what is in flight is cancelled."""
        for request_id in self._requests:
            self._cancel(request_id)

    def take(self, body: bytearray) -> bool:
        """Do what the body of a frame asks for; whether it is in flight now. Raises FrameError."""
        message = protocol.decode_body(body, protocol.MAX_REQUEST_CONTAINERS)
        request_id = 0
        try:
            request_id = request_id_of(message)
            return self._dispatch(request_id, *envelope(message), len(body))
        except RequestRefused as refused:
            self._refuse(request_id, refused)
        return False

    def _dispatch(self, request_id: int, op: str, args: Message, size: int) -> bool:
        if op == "credit":
            self._credit(request_id, read_credit(args))
        elif op == "cancel":
            read_nothing(args)
            self._cancel(request_id)
        elif op == "signal":
            self._signal(request_id, read_signal(args))
        else:
            self._admit(request_id, op)
            self._begin(request_id, op, args, size)
            return True
        return False

    def _admit(self, request_id: int, op: str) -> None:
        """Raises RequestRefused."""
        if op != "hello" and not self.greeted:
            raise RequestRefused("hello-required", detail="the first request must be hello")
        if op == "hello" and self.greeted:
            raise RequestRefused("bad-request", field="op", given=op, allowed="one hello")
        if request_id in self._requests:
            given, allowed = str(request_id), "an id that is not in flight"
            raise RequestRefused("bad-request", field="id", given=given, allowed=allowed)
        if len(self._requests) >= protocol.MAX_IN_FLIGHT:
            most = f"{protocol.MAX_IN_FLIGHT} in flight"
            raise RequestRefused("too-many-requests", allowed=most)

    def _begin(self, request_id: int, op: str, args: Message, size: int) -> None:
        if op == "hello":
            hello = read_hello(args)
            session = self._enter(hello.user)
            self._user = hello.user
            work = self._greet(hello, session)
        elif op in VERBS and VERBS[op].is_stream:
            self._streams[request_id] = events = Events(first_credit(args))
            work = self._stream(request_id, op, args, events)
        else:
            work = self._request(op, args)
        task = asyncio.get_running_loop().create_task(self._answer(request_id, work, size))
        self._requests[request_id] = task
        if op == "hello":
            self._greeting = task

    async def _greet(self, hello: Hello, session: Session) -> Message:
        if hello.version < protocol.PROTOCOL_VERSION:
            most = str(protocol.PROTOCOL_VERSION)
            raise RequestRefused("unsupported-protocol", given=str(hello.version), allowed=most)
        greeting = await self._services.greeting(session.who)
        self._is_greeted = True
        return {
            **greeting,
            "features": features(greeting.get("features", [])),
            "gateway": {"server": f"runner-gateway {__version__}", **session.identity()},
        }

    async def _request(self, op: str, args: Message) -> Message:
        if op in VERBS and VERBS[op].is_long:
            return await self._asked(op, args)
        async with self._turns:
            # Not before the client has read what was answered so far.
            await self._out.writable.wait()
            return await self._asked(op, args)

    async def _asked(self, op: str, args: Message) -> Message:
        session = self._enter(self._user)
        # How long it may take is the client's to say: it cancels, or goes away.
        return await session.request(op, args, timeout=None)

    async def _stream(self, request_id: int, op: str, args: Message, events: Events) -> Message:
        session, seq = self._enter(self._user), 0
        asked = {key: value for key, value in args.items() if key != "credit"}
        allowed = events.granted
        async with (
            session.stream(op, asked, allowed=allowed) as stream,
            _alongside(events.pass_signals(stream)),
        ):
            events.come_from(stream, allowed)
            async for event in stream:
                await self._out.writable.wait()
                seq += 1
                self._out.send({"id": request_id, "seq": seq, "event": event})
        return stream.answer

    async def _answer(
        self, request_id: int, work: Coroutine[object, object, Message], size: int
    ) -> None:
        try:
            await self._hello_answered()
            answer = await work
            await self._out.writable.wait()
            self._out.send({"id": request_id, "ok": answer})
        except asyncio.CancelledError:
            self._refuse(request_id, RequestRefused("cancelled"))
        except Exception as error:  # noqa: BLE001  the client must be answered
            self._fail(request_id, error)
        finally:
            # Never begun, when it was cancelled before hello was answered.
            work.close()
            if self._greeting is asyncio.current_task() and not self._is_greeted:
                self._out.hang_up()
            del self._requests[request_id]
            self._streams.pop(request_id, None)
            self._on_done(size)

    async def _hello_answered(self) -> None:
        """What is asked without waiting for that comes after it. Raises RequestRefused."""
        if self._is_greeted or self._greeting is None or self._greeting is asyncio.current_task():
            return
        await asyncio.wait([self._greeting])
        if not self._is_greeted:
            raise RequestRefused("hello-required", detail="hello was refused")

    def _fail(self, request_id: int, error: Exception) -> None:
        if isinstance(error, ConnectionLost):
            # Whether it was accepted nobody can say; so the client finds it as it would have
            # found runnerd's own end, and knows what may be asked again.
            self._out.hang_up()
        elif isinstance(error, RequestRefused):
            # As it is: that runnerd has cancelled it says that it ends.
            self._refuse(request_id, error)
        else:
            if not isinstance(error, ClientError | protocol.FrameError):
                _LOG.error("a defect while answering", exc_info=error)
            self._refuse(request_id, as_refusal(error))

    def _refuse(self, request_id: int, refused: RequestRefused) -> None:
        self._out.send({"id": request_id, "error": error_of(refused)})

    def _credit(self, request_id: int, events: int) -> None:
        if (stream := self._streams.get(request_id)) is not None:
            stream.grant(events)

    def _signal(self, request_id: int, number: int) -> None:
        if (stream := self._streams.get(request_id)) is not None:
            stream.signal(number)

    def _cancel(self, request_id: int) -> None:
        if (task := self._requests.get(request_id)) is not None:
            # After its first step, which may still be due: a task that is cancelled before
            # it never runs, and nobody would be answered.
            asyncio.get_running_loop().call_soon(task.cancel)


@asynccontextmanager
async def _alongside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Something that goes on while a block runs, and ends with it."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
