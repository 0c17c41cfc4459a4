"""What stands between TLS and the protocol inside: gateway.connection_guard."""

from __future__ import annotations

import asyncio

from gateway.connection_guard import Guard


class Pipe(asyncio.Transport):
    """A transport that only remembers that it was aborted."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Inner(asyncio.Protocol):
    """Remembers all that it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, _exc: Exception | None) -> None:
        self.told.append("lost")


def test_what_came_early_is_heard_in_order() -> None:
    guard, inner = Guard(1, lambda: None, lambda: None), Inner()
    guard.data_received(b"one")
    guard.data_received(b"two")
    guard.eof_received()
    guard.serve(Pipe(), inner)
    guard.connection_lost(None)
    assert inner.told == ["made", b"one", b"two", "eof", "lost"]


def test_who_takes_something_in_time_is_left_alone() -> None:
    async def body() -> None:
        cut: list[str] = []
        guard, inner, pipe = Guard(0.01, lambda: cut.append("off"), lambda: None), Inner(), Pipe()
        guard.serve(pipe, inner)
        guard.pause_writing()
        guard.resume_writing()
        await asyncio.sleep(0.03)
        assert (cut, pipe.aborted) == ([], False)
        guard.pause_writing()
        async with asyncio.timeout(10):
            while not pipe.aborted:
                await asyncio.sleep(0.001)
        assert cut == ["off"]
        assert inner.told == ["made", "pause", "resume", "pause"]

    asyncio.run(body())


def test_no_timer_outlives_the_connection() -> None:
    async def body() -> None:
        lost: list[str] = []
        guard = Guard(0.01, lambda: lost.append("stalled"), lambda: lost.append("gone"))
        guard.pause_writing()
        guard.connection_lost(None)
        await asyncio.sleep(0.03)
        assert lost == ["gone"]

    asyncio.run(body())
