"""One connection to runnerd for asyncio: many requests in flight, streams with credit.

The counterpart of `client.connection` for programs that serve many at once. It knows frames and
ids, not what the operations mean, and it bears no restart: whoever holds it opens another one.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from client import __version__, protocol
from client.connection import ANSWER_SECONDS, GREETING_SECONDS, unavailable
from client.errors import ConnectionLost, ProtocolError, RequestRefused
from client.framing import encode_request

if TYPE_CHECKING:
    from typing import Self

# Events of a log in flight, at most 1 MiB each: what one reader can make its program hold.
WINDOW_EVENTS: Final = 4
_HEADER_BYTES: Final = protocol.HEADER.size


class AsyncConnection(asyncio.Protocol):
    """A greeted connection to the runnerd at a socket; made by `open`. `hello` is its greeting."""

    def __init__(self) -> None:
        self.hello: protocol.Message = {}
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[Any] | AsyncStream] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost: ConnectionLost | ProtocolError | RequestRefused | None = None

    @classmethod
    async def open(
        cls, path: str, *, act_for: protocol.Message | None = None, client: str = ""
    ) -> Self:
        """Connect and greet. `act_for` is that of `hello` (docs/PROTOCOL.md), `client` our name.

        Raises DaemonUnavailable when nobody can be reached, RequestRefused when the greeting is
        refused, ConnectionLost, ProtocolError.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                _, connection = await loop.create_unix_connection(cls, path)
        except TimeoutError:
            raise unavailable(path, OSError(errno.ETIMEDOUT, "no answer")) from None
        except (OSError, ValueError) as error:
            raise unavailable(path, error) from None
        args: protocol.Message = {
            "protocol": protocol.PROTOCOL_VERSION,
            "client": client or f"runnerd-client {__version__}",
        }
        if act_for is not None:
            args["act_for"] = act_for
        try:
            connection.hello = await connection.request("hello", args, timeout=GREETING_SECONDS)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def is_open(self) -> bool:
        """Whether requests can still be sent."""
        return self._lost is None and self._transport is not None

    @property
    def in_flight(self) -> int:
        """How many requests are not answered yet, streams included; 64 is all there can be."""
        return len(self._waiting)

    def close(self) -> None:
        """Close it; repeating is harmless. What is in flight ends with ConnectionLost."""
        self._fail(ConnectionLost("the connection was closed"))

    async def request(
        self,
        op: str,
        args: protocol.Message,
        *,
        timeout: float | None = ANSWER_SECONDS,  # noqa: ASYNC109  of the answer: the id stays taken
    ) -> protocol.Message:
        """The `ok` of one request; `timeout` in seconds, None waits for ever.

        Raises RequestRefused, ConnectionLost (also when the time has passed), ProtocolError. Where
        the caller is cancelled, so is the request.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        request_id = await self._send(op, args, future)
        try:
            async with asyncio.timeout(timeout):
                answer = await future
        except TimeoutError:
            self._abandon(request_id)
            raise ConnectionLost(f"runnerd did not answer within {timeout:g} s") from None
        except asyncio.CancelledError:
            self._abandon(request_id)
            raise
        if not isinstance(answer, dict):
            raise ProtocolError(f"the answer to {op} is not a map")
        return answer

    def stream(
        self,
        op: str,
        args: protocol.Message,
        *,
        window: int = WINDOW_EVENTS,
        allowed: float = math.inf,
    ) -> AsyncStream:
        """The events of `logs`, `events` or `exec`: sent when it is entered.

        `allowed`: how many are asked for before `allow` says more; 0 still brings its end.
        """
        return AsyncStream(self, op, args, window, allowed)

    def notify(self, request_id: int, op: str, args: protocol.Message) -> None:
        """Send `credit`, `cancel` or `signal` for a request; they have no answer."""
        if self._transport is not None and self._lost is None:
            self._transport.write(encode_request(request_id, op, args))

    # For this module

    async def _send(
        self, op: str, args: protocol.Message, waiting: asyncio.Future[Any] | AsyncStream
    ) -> int:
        await self._writable.wait()
        if self._lost is not None or self._transport is None:
            raise self._lost or ConnectionLost("the connection was closed")
        if len(self._waiting) >= protocol.MAX_IN_FLIGHT:
            raise RequestRefused("too-many-requests", allowed=f"{protocol.MAX_IN_FLIGHT} in flight")
        self._last_id = self._last_id % protocol.MAX_REQUEST_ID + 1
        frame = encode_request(self._last_id, op, args)
        self._waiting[self._last_id] = waiting
        self._transport.write(frame)
        return self._last_id

    def _abandon(self, request_id: int) -> None:
        """Nobody waits for that answer; its id counts as in flight until it has come."""
        if request_id in self._waiting:
            self._waiting[request_id] = asyncio.get_running_loop().create_future()
            self.notify(request_id, "cancel", {})

    def _fail(self, error: ConnectionLost | ProtocolError | RequestRefused) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._writable.set()
        if self._transport is not None:
            self._transport.close()
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            _refuse(each, error)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        why = f"the connection broke ({exc})" if exc else "runnerd closed the connection"
        self._fail(ConnectionLost(why))

    def pause_writing(self) -> None:
        """Too much waits to be read by runnerd: no request is sent meanwhile."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take what came apart; what is no frame ends the connection."""
        self._buffer += data
        try:
            self._take_frames()
        except protocol.FrameError as error:
            self._fail(ProtocolError(f"runnerd sent something else than frames: {error}"))
        except (ProtocolError, RequestRefused) as error:
            self._fail(error)

    def _take_frames(self) -> None:
        start, buffer = 0, self._buffer
        while len(buffer) - start >= _HEADER_BYTES:
            length = protocol.frame_length(buffer[start : start + _HEADER_BYTES])
            end = start + _HEADER_BYTES + length
            if len(buffer) < end:
                break
            body = bytes(memoryview(buffer)[start + _HEADER_BYTES : end])
            start = end
            self._take(protocol.decode_body(body))
        if start:
            del buffer[:start]

    def _take(self, message: protocol.Message) -> None:
        request_id = message.get("id")
        if request_id == 0:
            # It is about the connection, which runnerd closes then.
            raise RequestRefused.from_wire(message.get("error"))
        if not isinstance(request_id, int) or request_id not in self._waiting:
            raise ProtocolError(f"runnerd answered {request_id!r}, which was not asked")
        waiting = self._waiting[request_id]
        if "event" in message:
            if isinstance(waiting, AsyncStream):
                waiting.take(message)
            return
        # One that cannot be read ends the connection, and with it everything that waits.
        refused = RequestRefused.from_wire(message["error"]) if "error" in message else None
        del self._waiting[request_id]
        if refused is not None:
            _refuse(waiting, refused)
        elif isinstance(waiting, AsyncStream):
            waiting.finish(message.get("ok"))
        elif not waiting.done():
            waiting.set_result(message.get("ok"))


class AsyncStream:
    """Iterates over the events of one request; then `answer` is its last word.

    An asynchronous context manager: entering sends the request, leaving before the end cancels it.
    Credit is given for what was iterated over, so no more than `window` events are ever held, and
    none of those that were not allowed.
    Raises what `AsyncConnection.request` raises.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        op: str,
        args: protocol.Message,
        window: int,
        allowed: float = math.inf,
    ) -> None:
        self.answer: protocol.Message = {}
        self._connection = connection
        self._op = op
        # All that were granted, iterated over, and may ever be granted.
        self._granted = int(min(window, allowed))
        self._used = 0
        self._allowed = allowed
        self._args: protocol.Message = {**args, "credit": self._granted}
        self._window = window
        self._request_id = 0
        self._seq = 0
        self._events: deque[protocol.Message] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        self._request_id = await self._connection._send(self._op, self._args, self)  # noqa: SLF001
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._ended:
            self._connection._abandon(self._request_id)  # noqa: SLF001
            self._ended = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> protocol.Message:
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        event = self._events.popleft()
        self._used += 1
        self._grant()
        return event

    def allow(self, events: int) -> None:
        """Let so many more come than were allowed so far."""
        self._allowed += events
        self._grant()

    def _grant(self) -> None:
        """Ask for as many as there is room for, in few messages."""
        left = self._allowed - self._granted
        room = int(min(self._window - (self._granted - self._used), left))
        if room >= max(min(self._window // 2, left), 1) and not self._ended:
            self._granted += room
            self._connection.notify(self._request_id, "credit", {"events": room})

    def signal(self, number: int) -> None:
        """Send a signal to the command whose output this is; nothing when it has ended."""
        if not self._ended:
            self._connection.notify(self._request_id, "signal", {"signal": number})

    # For the connection

    def take(self, message: protocol.Message) -> None:
        """One event. Raises ProtocolError: not the next one, or more than was granted."""
        self._seq += 1
        event = message["event"]
        if message.get("seq") != self._seq or not isinstance(event, dict):
            raise ProtocolError(f"event {self._seq} of {self._op} was expected next")
        if self._seq > self._granted:
            raise ProtocolError(f"runnerd sent more events of {self._op} than were asked for")
        self._events.append(event)
        self._more.set()

    def finish(self, answer: object) -> None:
        """The last word. Raises ProtocolError when it is no map."""
        if not isinstance(answer, dict):
            raise ProtocolError(f"the answer to {self._op} is not a map")
        self.answer = answer
        self._ended = True
        self._more.set()

    def fail(self, error: Exception) -> None:
        """It ends with that, after what had come before."""
        self._error, self._ended = error, True
        self._more.set()


def _refuse(waiting: asyncio.Future[Any] | AsyncStream, error: Exception) -> None:
    if isinstance(waiting, AsyncStream):
        waiting.fail(error)
    elif not waiting.done():
        waiting.set_exception(error)
        # Whoever was cancelled will not look.
        waiting.exception()
