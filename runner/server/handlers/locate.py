"""`locate`: where in a job's output its last lines begin, and what was written when."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from runner.logs.locating import Found, Wanted, search
from runner.logs.reader import LogReader
from runner.server.handlers.logs import only_attempt, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service

# Pieces of a search for one turn in a thread: some milliseconds.
_PIECES: Final = 16


async def locate(
    service: Service,
    peer: Peer,
    request: messages.Locate,
    stream: Stream,  # noqa: ARG001 - every handler has one
) -> dict[str, Any]:
    """Where what is asked for lies. Takes no longer than reading the job's log once."""
    job = service.find_job(peer, request.job)
    only_attempt(request.attempt)
    wanted = Wanted(request.lines, request.since_ns, request.until_ns, request.streams)
    try:
        reader = LogReader(service.supervisor.directories.log_path(job.id))
    except FileNotFoundError:
        # It never came to a launch.
        return Found(0, 0, 0, 0)._asdict()
    try:
        found = await _in_turns(reader, wanted)
    except OSError as error:
        raise unreadable(error) from error
    if reader.damage is not None:
        service.problems.add(reader.damage, job.id)
    return found._asdict()


async def _in_turns(reader: LogReader, wanted: Wanted) -> Found:
    """Beside the event loop, and not for long at once: others wait for the threads too."""
    steps = search(reader, wanted)
    turn = None
    try:
        while True:
            turn = asyncio.ensure_future(asyncio.to_thread(_turn, steps))
            if (found := await asyncio.shield(turn)) is not None:
                return found
    finally:
        if turn is None or turn.done():
            reader.close()
        else:
            # Who asked has gone, and the thread still reads.
            turn.add_done_callback(lambda turn: _close_after(turn, reader))


def _turn(steps: Iterator[Found | None]) -> Found | None:
    return next(filter(None, islice(steps, _PIECES)), None)


def _close_after(turn: asyncio.Future[Found | None], reader: LogReader) -> None:
    reader.close()
    if not turn.cancelled():
        # Nobody is left to be told; asyncio would complain that nobody was.
        turn.exception()
