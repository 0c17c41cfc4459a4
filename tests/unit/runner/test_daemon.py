"""What of the daemon needs neither root nor a kernel: an end that comes before it is ready."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from runner.daemon import StartError, _Signals, _unless
from runner.draining import Pulse
from runner.event_loop import Loop


def test_a_start_that_is_done_first_gives_what_it_made() -> None:
    async def start() -> str:
        return "ready"

    async def scenario() -> str | None:
        return await _unless(asyncio.Event(), start())

    assert asyncio.run(scenario()) == "ready"


def test_an_end_that_comes_first_cancels_the_start_and_waits_until_it_is_gone() -> None:
    steps: list[str] = []

    async def start() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("undone")
        return "never"

    async def scenario() -> str | None:
        ended = asyncio.Event()
        asyncio.get_running_loop().call_soon(ended.set)
        return await _unless(ended, start())

    assert asyncio.run(scenario()) is None
    assert steps == ["undone"]


def test_a_start_that_fails_says_why() -> None:
    async def start() -> None:
        raise StartError("no room")

    async def scenario() -> None:
        await _unless(asyncio.Event(), start())

    with pytest.raises(StartError, match="no room"):
        asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_also_while_threads_have_told_the_loop_too_much(
    number: signal.Signals,
) -> None:
    async def scenario() -> int:
        signals = _Signals(Pulse())
        loop = asyncio.get_running_loop()
        with pytest.raises(BlockingIOError):
            while True:
                loop._csock.send(b"\0")  # type: ignore[attr-defined]
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await signals.first.wait()
        return signals.count

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(scenario()) == 1


def test_a_signal_ends_the_wait_of_a_loop_that_has_nothing_to_do() -> None:
    async def scenario() -> int:
        signals = _Signals(Pulse())
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)
        await signals.first.wait()
        return signals.count

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(scenario()) == 1
