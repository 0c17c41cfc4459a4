"""A stream of a session: raw events, for as long as its caller may go on.

Each event is asked about, and so is silence; what is let in and counted out is `gateway.requests`',
where events come from `gateway.upstream`'s.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from gateway.requests import Run

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    from client.protocol import Message
    from gateway.parts import Events
    from gateway.session import Session

# How long a stream on which nothing happens outlives a revocation.
RECHECK_SECONDS: Final = 2.0


class SessionStream:
    """One stream: `async with` opens it, `async for` gives its raw events, then `answer` is there.

    Leaving it early cancels it. Raises what `Session.request` raises.
    """

    def __init__(self, session: Session, op: str, args: Message, allowed: float = math.inf) -> None:
        self._session = session
        self._allowed = allowed
        self._run = Run(session, op, args, is_stream=True)
        self._opening: AbstractAsyncContextManager[Events] | None = None
        self._events: Events | None = None

    @property
    def answer(self) -> Message:
        """The last word of runnerd; empty before."""
        return {} if self._events is None else self._events.answer

    async def __aenter__(self) -> Self:
        session, run = self._session, self._run
        run.__enter__()
        try:
            args = await run.prepared()
            self._opening = session.gate.upstream.stream(
                session.who, run.op, args, allowed=self._allowed
            )
            self._events = await self._opening.__aenter__()
        except BaseException as error:
            run.__exit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._opening is not None:
                await self._opening.__aexit__(kind, error, trace)
        finally:
            if error is None:
                self._run.ended()
            self._run.__exit__(kind, error, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._events is None:
            raise StopAsyncIteration
        while True:
            event = await self._next(self._events)
            if await self._run.may_see(event):
                return event
            # It was none of those that were allowed.
            self._events.allow(1)

    async def _next(self, events: Events) -> Message:
        """The next event, however long it takes, for as long as the caller may go on."""
        while True:
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    return await anext(events)
            except TimeoutError:
                self._run.still()

    def allow(self, events: int) -> None:
        """Let so many more come than were allowed so far."""
        if self._events is not None:
            self._events.allow(events)

    async def signal(self, number: int) -> None:
        """Send a signal (1 to 64) to the command of an `exec`. Raises RequestRefused."""
        self._run.still()
        if self._events is not None:
            self._events.signal(number)
