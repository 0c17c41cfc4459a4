"""A command in a job and who asked for it: output as far as it is wanted, signals, and the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from isolation import payload
from isolation.first_process import FirstProcess
from runner import records
from runner.exec_command import ExecCommand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 20.0


class Collecting:
    """A stream that takes so many events and then waits for more credit."""

    def __init__(self, credit: int = 10**6) -> None:
        self.events: list[tuple[int, bytes]] = []
        self.more = asyncio.Semaphore(credit)
        self.on_signal: Any = None

    def listen(self, on_signal: Any) -> None:
        self.on_signal = on_signal

    async def ready(self) -> None:
        await self.more.acquire()
        self.more.release()

    async def send(self, event: dict[str, Any]) -> None:
        await self.more.acquire()
        self.events.append((event["stream"], event["data"]))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """One under way, with the other ends of all that it has."""
    with ExitStack() as opened, ExitStack() as given:
        made = ExecCommand(FirstProcess(1, -1), os.open(tmp_path, os.O_RDONLY))
        opened.callback(os.close, made.payload_cgroup)
        ids = (os.getuid(), os.getgid())
        ends: dict[str, Any] = {
            "out": os.dup(made.open_output(1, ids, opened, given)),
            "err": os.dup(made.open_output(2, ids, opened, given)),
            "channel": socket.socket(fileno=os.dup(made.open_channel(opened, given))),
        }
        given.close()
        yield made, ends
        ends["channel"].close()
        for name in ("out", "err"):
            os.close(ends[name])


ANSWER = {"wait_status": 0, "report": payload.EXECUTING}


async def see_through(made: Any, stream: Any) -> Any:
    async with asyncio.timeout(SECONDS):
        return await made.see_through(stream)


def test_what_was_written_before_the_end_arrives_and_a_background_holds_nobody_up(
    running: tuple[Any, dict[str, Any]],
) -> None:
    made, ends = running

    async def scenario() -> None:
        stream = Collecting()
        os.write(ends["out"], b"o" * 65536)
        os.write(ends["err"], b"error")
        ends["channel"].send(records.pack(ANSWER))
        # Both write ends stay open.
        answer = await see_through(made, stream)
        assert {key: answer[key] for key in ANSWER} == ANSWER
        assert b"".join(data for number, data in stream.events if number == 1) == b"o" * 65536
        assert (2, b"error") in stream.events

    asyncio.run(scenario())


def test_nothing_is_read_that_may_not_be_sent(running: tuple[Any, dict[str, Any]]) -> None:
    made, ends = running

    async def scenario() -> None:
        stream = Collecting(credit=0)
        os.write(ends["out"], b"x" * 65536)
        task = asyncio.ensure_future(see_through(made, stream))
        for _ in range(20):
            await asyncio.sleep(0)
        os.set_blocking(ends["out"], False)
        with pytest.raises(BlockingIOError):
            os.write(ends["out"], b"y")
        for _ in range(10):
            stream.more.release()
        ends["channel"].send(records.pack(ANSWER))
        await task
        assert len(b"".join(data for _, data in stream.events)) == 65536

    asyncio.run(scenario())


def test_a_middle_process_that_died_has_told_nothing(running: tuple[Any, dict[str, Any]]) -> None:
    made, ends = running
    ends["channel"].close()
    assert asyncio.run(see_through(made, Collecting())) is None


def test_signals_go_over_the_channel_and_to_nobody_after_the_end(
    running: tuple[Any, dict[str, Any]],
) -> None:
    made, ends = running

    async def scenario() -> None:
        stream = Collecting()
        task = asyncio.ensure_future(see_through(made, stream))
        while stream.on_signal is None:
            await asyncio.sleep(0)
        stream.on_signal(signal.SIGTERM)
        assert ends["channel"].recv(10) == bytes((signal.SIGTERM,))
        ends["channel"].send(records.pack(ANSWER))
        await task
        ends["channel"].close()
        stream.on_signal(signal.SIGTERM)

    asyncio.run(scenario())
