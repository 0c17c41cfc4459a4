"""Bodies that go on: server-sent events, JSON lines and raw bytes, to readers of any speed.

A write waits until the reader has taken what was sent before; one that stalls for too long is cut
off. Nothing is held but one batch and what the socket's buffer has. Source of the form of events:
the HTML standard, "Server-sent events".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from client.errors import RequestRefused
from gateway.rest import negotiating
from gateway.rest.conditions import encoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from gateway.rest.services import Bounds, Stoppable

# Small records are sent together, large ones by themselves.
_FLUSH_BYTES: Final = 65536
# How soon a browser tries again, in milliseconds.
_RETRY: Final = b"retry: 2000\n\n"
_FIRST_SECONDS: Final = 0.25
_BEAT: Final = b": still here\n\n"


# Of a request whose answer has begun.
STARTED: Final = web.RequestKey("started", bool)


class SlowReader(Exception):  # noqa: N818  says what it is
    """It did not take what was sent; its connection is cut."""


class BodyStream:
    """A body that is written piece by piece. `is_events`: with a beat while nothing happens."""

    def __init__(
        self,
        request: web.Request,
        media: str,
        bounds: Bounds,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.is_events = media == negotiating.EVENT_STREAM
        charset = "; charset=utf-8" if media.startswith("text/") else ""
        self.response = web.StreamResponse(
            headers={
                "Content-Type": media + charset,
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                **(headers or {}),
            }
        )
        self._request = request
        self._bounds = bounds
        self._buffer = bytearray()

    async def open(self) -> None:
        """Send the head."""
        self._request[STARTED] = True
        await self.response.prepare(self._request)
        if self.is_events:
            await self.send(_RETRY)

    async def add(self, data: bytes) -> None:
        """Write, together with what comes soon."""
        self._buffer += data
        if len(self._buffer) >= _FLUSH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what was added."""
        if self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            await self.send(data)
            # Writing does not wait while there is room: others get their turn all the same.
            await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        """Write now. Raises SlowReader."""
        try:
            async with asyncio.timeout(self._bounds.slow_seconds):
                # Waits for room when the reader is 64 KiB behind.
                await self.response.write(data)
        except TimeoutError:
            self.cut()
            raise SlowReader from None

    def cut(self) -> None:
        """End the connection without a last word: the reader must not take it for the end."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def close(self) -> None:
        """The end as it should be."""
        await self.flush()
        async with asyncio.timeout(self._bounds.slow_seconds):
            await self.response.write_eof()


def event(kind: str, value: Any, place: str | None = None) -> bytes:  # noqa: ANN401  any JSON value
    """One server-sent event; `place` is where to go on behind it."""
    head = f"event: {kind}\n" if place is None else f"event: {kind}\nid: {place}\n"
    return head.encode() + b"data: " + encoded(value) + b"\n\n"


def line(value: Any) -> bytes:  # noqa: ANN401
    """One line of JSON lines."""
    return encoded(value) + b"\n"


class Beating:
    """What comes from a source; while nothing comes a stream of events has a sign of life.

    It is one of `streams` while it is open: whoever ends the gateway tells each to `stop`.
    """

    def __init__(self, source: AsyncIterator[Any], streams: set[Stoppable]) -> None:
        self._source = source
        self._streams = streams
        self._pending: asyncio.Future[Any] | None = None
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        streams.add(self)

    def stop(self) -> None:
        """The gateway ends: `items` raises RequestRefused (`shutting-down`)."""
        if not self._stopped.done():
            self._stopped.set_result(None)

    async def first(self) -> None:
        """Give a refusal a moment to come before the head is sent. Raises what the source raises.

        Of a quiet job nothing comes for long: that is no reason to keep the reader waiting.
        """
        self._pending = asyncio.ensure_future(anext(self._source))
        done, _ = await asyncio.wait({self._pending}, timeout=_FIRST_SECONDS)
        error = self._pending.exception() if done else None
        if error is not None and not isinstance(error, StopAsyncIteration):
            raise error

    async def items(self, body: BodyStream, seconds: float) -> AsyncGenerator[Any, None]:
        """All that comes."""
        beat = seconds if body.is_events else None
        while True:
            pending = self._pending = self._pending or asyncio.ensure_future(anext(self._source))
            await asyncio.wait(
                {pending, self._stopped}, timeout=beat, return_when=asyncio.FIRST_COMPLETED
            )
            if self._stopped.done():
                raise RequestRefused("shutting-down", detail="the gateway is stopping; come again")
            if not pending.done():
                await body.send(_BEAT)
                continue
            self._pending = None
            try:
                item = pending.result()
            except StopAsyncIteration:
                return
            yield item

    async def aclose(self) -> None:
        """Nobody waits any more."""
        self._streams.discard(self)
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
