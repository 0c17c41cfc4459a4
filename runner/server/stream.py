"""The events of one request, on their way to a client that said how many it takes.

What is sent, and where it comes from, is a handler's business; how it becomes frames,
`runner.server.answering`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from client import protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.protocol import Message
    from runner.server.outlet import FilePart

# Of those that come before anybody listens: Ctrl-C, and Ctrl-C again.
MAX_EARLY_SIGNALS: Final = 16


class Outgoing(Protocol):
    """Where events go: `runner.server.answering.Answering`."""

    @property
    def is_writable(self) -> bool:
        """Whether the client takes what is sent."""

    async def writable(self) -> None:
        """Wait until it does."""

    def send_event(self, request_id: int, seq: int, event: Message) -> None:
        """One event of a stream; to be called while the client reads."""

    def send_packed(self, request_id: int, seq: int, event: bytes) -> None:
        """The same, of an event that is packed."""

    def send_part(self, request_id: int, seq: int, head: bytes, part: FilePart) -> None:
        """The same, of one that is packed and ends with that. Raises OSError of pread(2)."""


class Stream:
    """The events of one request, sent as far as the client granted credit.

    Each request has one, and few use it: it costs next to nothing until then.
    """

    __slots__ = (
        "_credit", "_granted", "_on_signal", "_out", "_request_id", "_seq", "_signals",
    )  # fmt: skip

    def __init__(self, out: Outgoing, request_id: int) -> None:
        self._out = out
        self._request_id = request_id
        self._seq = 0
        self._credit = 0
        # There once somebody waits for credit.
        self._granted: asyncio.Event | None = None
        self._signals: tuple[int, ...] = ()
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
        elif len(self._signals) < MAX_EARLY_SIGNALS:
            self._signals = (*self._signals, number)

    def grant(self, events: int) -> None:
        """Let so many more events go."""
        self._credit = min(self._credit + events, protocol.MAX_REQUEST_ID)
        if self._granted is not None:
            self._granted.set()

    @property
    def is_ready(self) -> bool:
        """Whether an event may be sent now: there is credit, and the client reads."""
        return self._credit > 0 and self._out.is_writable

    async def ready(self) -> None:
        """Wait until one more event may be sent: nothing need be read before."""
        while not self.is_ready:
            if self._credit == 0:
                self._granted = self._granted or asyncio.Event()
                self._granted.clear()
                await self._granted.wait()
            await self._out.writable()

    async def send(self, event: Message) -> None:
        """Send one event; waits for credit and for the client to read."""
        await self.ready()
        self.send_now(event)

    def send_part_now(self, head: bytes, part: FilePart) -> None:
        """Send one event, which `is_ready` allows: packed, with a part of a file as its end."""
        self._credit -= 1
        self._seq += 1
        self._out.send_part(self._request_id, self._seq, head, part)

    def send_packed_now(self, event: bytes) -> None:
        """Send one event, which `is_ready` allows: packed."""
        self._credit -= 1
        self._seq += 1
        self._out.send_packed(self._request_id, self._seq, event)

    def send_now(self, event: Message) -> None:
        """Send one event, which `is_ready` allows."""
        self._credit -= 1
        self._seq += 1
        self._out.send_event(self._request_id, self._seq, event)
