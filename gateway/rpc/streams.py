"""The calls of runnerd.v1 with more than one answer: a job's output, events, commands in a job.

What is read where, through restarts of runnerd, is `gateway.following`'s; what is read before it
was taken is nothing (`gateway.rpc.sending`).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from client import cursors
from client.cursors import Cursor
from client.errors import RequestRefused
from client.log_position import LogChunk, LogGap, Selection
from client.protocol import STDERR, STDOUT
from gateway.following import follow_events, follow_logs
from gateway.proto.runnerd.v1 import events_pb2, jobs_pb2, records_pb2
from gateway.rpc import convert
from gateway.rpc.guard import SESSION
from gateway.rpc.sending import BATCH_BYTES, Sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from client.protocol import Message
    from gateway.following import Batch
    from gateway.rpc.sending import Context
    from gateway.session import Session, SessionStream

_STREAMS: Final = {
    STDOUT: records_pb2.OUTPUT_STREAM_STDOUT,
    STDERR: records_pb2.OUTPUT_STREAM_STDERR,
}
# What is asked for first, of the session.
OPERATIONS: Final = {
    "JobService.StreamLogs": "logs",
    "JobService.Exec": "exec",
    "EventService.StreamEvents": "events",
}
# What a chunk takes beside its bytes, of which there may be one.
_CHUNK_COST: Final = 32


class Streams:
    """The handlers. `slow_seconds`: how long a reader may take for a message."""

    def __init__(self, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds

    async def logs(self, request: jobs_pb2.StreamLogsRequest, context: Context) -> None:
        """JobService.StreamLogs."""
        session, sender = SESSION.get(), Sender(context, self._slow_seconds)
        selection, begins = await _selected(session, request)
        async with aclosing(follow_logs(session, selection)) as batches:
            async for batch in batches:
                for message in _messages(batch, begins):
                    await sender.send(message)

    async def events(self, request: events_pb2.StreamEventsRequest, context: Context) -> None:
        """EventService.StreamEvents."""
        session, sender = SESSION.get(), Sender(context, self._slow_seconds)
        since = request.since if request.HasField("since") else None
        job = request.job or None
        if since is None:
            since = await _newest(session, job)
            await sender.send(events_pb2.StreamEventsResponse(next=since, ready=True))
        found = follow_events(session, since, job=job, follow=request.follow)
        async with aclosing(found) as events:
            async for event in events:
                await sender.send(_event(event))

    async def exec(self, requests: AsyncIterator[jobs_pb2.ExecRequest], context: Context) -> None:
        """JobService.Exec."""
        session, sender = SESSION.get(), Sender(context, self._slow_seconds)
        start = await _start(requests)
        async with session.stream("exec", convert.to_args(start)) as events:
            signals = asyncio.create_task(_pass_signals(requests, events))
            try:
                async for event in events:
                    message = jobs_pb2.ExecResponse()
                    convert.fill(message.output, event)
                    await sender.send(message)
            finally:
                await _ended(signals)
            last = jobs_pb2.ExecResponse()
            last.result.SetInParent()
            convert.fill(last.result, events.answer)
            await sender.send(last)


# Output


async def _selected(
    session: Session, request: jobs_pb2.StreamLogsRequest
) -> tuple[Selection, dict[int, int]]:
    """What to read, and from which offset on each stream belongs to it."""
    asked: dict[str, Any] = {
        "job": request.job,
        "follow": request.follow,
        "until_ns": request.until_ns if request.HasField("until_ns") else None,
        "attempt": request.attempt if request.HasField("attempt") else None,
    }
    if request.HasField("tail_lines") or request.HasField("since_ns"):
        return await _located(session, request, asked)
    if request.cursor:
        cursor = _cursor(request)
        goes_on = request.follow and asked["attempt"] is None
        asked |= {"cursor": cursor.offset, "attempt": cursor.attempt, "goes_on": goes_on}
    return Selection(**asked), {}


async def _located(
    session: Session, request: jobs_pb2.StreamLogsRequest, asked: dict[str, Any]
) -> tuple[Selection, dict[int, int]]:
    if request.cursor:
        raise RequestRefused(
            "invalid-argument", field="cursor", allowed="nothing, with tail_lines or since_ns"
        )
    found = {
        "lines": request.tail_lines if request.HasField("tail_lines") else None,
        "since_ns": request.since_ns if request.HasField("since_ns") else None,
    }
    args = {key: asked[key] for key in ("job", "until_ns", "attempt")} | found
    given = {key: value for key, value in args.items() if value is not None}
    place = await session.request("locate", given, timeout=None)
    goes_on = request.follow and asked["attempt"] is None
    asked |= {"cursor": place["cursor"], "attempt": place.get("attempt", 1), "goes_on": goes_on}
    return Selection(**asked), {STDOUT: place["stdout"], STDERR: place["stderr"]}


def _cursor(request: jobs_pb2.StreamLogsRequest) -> Cursor:
    try:
        cursor = cursors.parse(request.cursor)
    except ValueError as error:
        raise RequestRefused(
            "invalid-argument", field="cursor", given=request.cursor[:64], detail=str(error)
        ) from None
    if request.HasField("attempt") and request.attempt != cursor.attempt:
        raise RequestRefused(
            "invalid-argument", field="attempt", given=request.attempt, allowed="the cursor's"
        )
    return cursor


def _messages(batch: Batch, begins: dict[int, int]) -> Iterator[jobs_pb2.StreamLogsResponse]:
    """A batch in messages of a bounded size, each with the cursor behind it."""
    message = jobs_pb2.StreamLogsResponse(attempt=batch.attempt)
    size, place = 0, batch.cursor
    for item in pieces(batch.items):
        if size >= BATCH_BYTES:
            message.cursor = str(Cursor(batch.attempt, item.offset))
            yield message
            message, size = jobs_pb2.StreamLogsResponse(attempt=batch.attempt), 0
        size += _add(message, item, begins)
    message.cursor = str(Cursor(batch.attempt, place))
    if batch.status is not None:
        convert.fill(message, {"end": batch.status})
    yield message


def pieces(items: list[LogChunk | LogGap]) -> Iterator[LogChunk | LogGap]:
    """The same, none of them larger than a message is to be."""
    for item in items:
        if isinstance(item, LogGap) or len(item.data) <= BATCH_BYTES:
            yield item
            continue
        for at in range(0, len(item.data), BATCH_BYTES):
            data = item.data[at : at + BATCH_BYTES]
            yield item._replace(offset=item.offset + at, data=data)


def _add(
    message: jobs_pb2.StreamLogsResponse, item: LogChunk | LogGap, begins: dict[int, int]
) -> int:
    """How much larger the message is by it."""
    if isinstance(item, LogGap):
        convert.fill(message, {"gap": item._asdict()})
        return _CHUNK_COST
    skipped = max(0, begins.get(item.stream, 0) - item.offset)
    if skipped >= len(item.data):
        return 0
    message.chunks.add(
        offset=item.offset + skipped,
        stream=_STREAMS[item.stream],
        data=item.data[skipped:],
        time_ns=item.time_ns,
    )
    return len(item.data) + _CHUNK_COST


# Events


async def _newest(session: Session, job: str | None) -> int:
    async with session.stream("events", {"since": None, "follow": False, "job": job}) as events:
        async for _ in events:
            pass
        return int(events.answer["next"])


def _event(event: Message) -> events_pb2.StreamEventsResponse:
    if event.get("gap") is True:
        gap = {"since": event["since"], "oldest": event["oldest"]}
        return _filled({"next": event["oldest"] - 1, "gap": gap})
    return _filled({"next": event["seq"], "event": event})


def _filled(given: Message) -> events_pb2.StreamEventsResponse:
    message = events_pb2.StreamEventsResponse()
    convert.fill(message, given)
    return message


# Commands in a job


async def _start(requests: AsyncIterator[jobs_pb2.ExecRequest]) -> jobs_pb2.ExecStart:
    first = await anext(requests)
    if not first.HasField("start"):
        raise RequestRefused("invalid-argument", field="start", allowed="first of all")
    return first.start


async def _pass_signals(
    requests: AsyncIterator[jobs_pb2.ExecRequest], events: SessionStream
) -> None:
    """Until the caller says that there will be no more."""
    async for request in requests:
        await events.signal(request.signal)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


def handlers(slow_seconds: float) -> dict[str, Callable[..., Any]]:
    """By service and method."""
    streams = Streams(slow_seconds)
    return {
        "JobService.StreamLogs": streams.logs,
        "JobService.Exec": streams.exec,
        "EventService.StreamEvents": streams.events,
    }
