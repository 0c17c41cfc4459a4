"""A job's output and the events, through restarts of runnerd: by cursor, none missed or repeated.

For all interfaces alike. A session asks; this only knows where it was (`client.log_position`) and
how long an absence is borne. Nothing is held but what is in flight.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from client.errors import ClientError
from client.log_position import LogChunk, LogGap, LogPosition, Selection
from client.patience import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, is_away

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from client.protocol import Message
    from client.records import JobStatus
    from gateway.session import Session

# A restart takes a second or two; for longer absences the reader comes again with its cursor.
BORNE_SECONDS: Final = 30.0


class Batch(NamedTuple):
    """What arrived together: `items` of attempt `attempt`; after them reading goes on at `cursor`.

    No items: another attempt begins. The last one has the job's `status` at the end.
    """

    attempt: int
    cursor: int
    items: list[LogChunk | LogGap]
    status: JobStatus | None = None


class _Absence:
    """How long runnerd has been away, and when to try again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._delay = FIRST_DELAY_SECONDS

    async def bear(self, error: ClientError) -> None:
        """Wait before the next try. Raises the error when it lasted too long, or is none."""
        if not is_away(error):
            raise error
        now = time.monotonic()
        if self._since is None:
            self._since, self._delay = now, FIRST_DELAY_SECONDS
        if now - self._since >= self._seconds:
            raise error
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, LONGEST_DELAY_SECONDS)

    def is_over(self) -> None:
        """Something was received."""
        self._since = None


async def follow_logs(
    session: Session, selection: Selection, *, borne_seconds: float = BORNE_SECONDS
) -> AsyncGenerator[Batch, None]:
    """The output that is selected, in batches, the last of them with the job's status.

    Raises what the session raises: at once when runnerd is away at the first try, later when an
    absence lasts longer than `borne_seconds`. What was given is not given again. Whoever leaves it
    early closes it (contextlib.aclosing).
    """
    position, absence, was_reached = LogPosition(selection), _Absence(borne_seconds), False
    while position.status is None:
        if (later := position.later) is not None:
            yield Batch(later, position.cursor, position.begin(later))
        try:
            async with session.stream("logs", position.arguments()) as events:
                was_reached = True
                async for event in events:
                    items = position.take(event)
                    absence.is_over()
                    yield Batch(position.attempt, position.cursor, items)
                position.end(events.answer)
        except ClientError as error:
            if not was_reached:
                raise
            await absence.bear(error)
    yield Batch(position.attempt, position.cursor, [], position.status)


async def follow_events(
    session: Session,
    since: int | None,
    *,
    job: str | None = None,
    follow: bool = True,
    borne_seconds: float = BORNE_SECONDS,
) -> AsyncGenerator[Message, None]:
    """What happened to jobs after event `since` (None: from now on), as `events` gives it.

    Raises as `follow_logs` does. Without `follow` it ends with the newest one.
    """
    absence, at = _Absence(borne_seconds), since
    was_reached = False
    while True:
        try:
            if at is None:
                # First to have a number to go on from, whenever the connection breaks.
                at = await _newest(session, job)
                was_reached = True
            args: Message = {"since": at, "follow": follow, "job": job}
            async with session.stream("events", args) as events:
                was_reached = True
                async for event in events:
                    at = _after(event, at)
                    absence.is_over()
                    yield event
        except ClientError as error:
            if not was_reached:
                raise
            await absence.bear(error)
        else:
            return


async def _newest(session: Session, job: str | None) -> int:
    async with session.stream("events", {"since": None, "follow": False, "job": job}) as events:
        async for _ in events:
            pass
        return int(events.answer["next"])


def _after(event: Message, at: int) -> int:
    """The number to go on from after that event; of a gap the one before what is there again."""
    return max(at, int(event["oldest"]) - 1 if event.get("gap") is True else int(event["seq"]))
