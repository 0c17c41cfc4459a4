"""What of the daemon needs neither root nor a kernel: an end that comes before it is ready."""

from __future__ import annotations

import asyncio

import pytest

from runner.daemon import StartError, _unless


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
