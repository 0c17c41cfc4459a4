"""The route of events: what has happened to jobs, and what happens."""

from __future__ import annotations

from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from msgspec import UnsetType

from client.errors import ClientError, RequestRefused
from gateway.following import follow_events
from gateway.rest import answers_output, negotiating, queries
from gateway.rest.calls import Answer, Call, Reply, Route
from gateway.rest.logs import media_type
from gateway.rest.problems import problem
from gateway.rest.streams import Beating, BodyStream, event, line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from client.protocol import Message

_LARGEST: Final = 2**63 - 1


async def events(call: Call) -> Reply | web.StreamResponse:
    """A page of events, or all that come."""
    query = call.query(queries.EventsQuery)
    media = media_type(call, query.format, follow=query.follow, bytes_too=False)
    since = _since(query, call.request.headers.get("Last-Event-ID") or None)
    job = None if isinstance(query.job, UnsetType) else query.job
    if call.request.method == "HEAD":
        await _page(call, since, job, 1)
        return Reply(b"", media=media)
    if not query.follow and media == negotiating.JSON:
        return Reply(await _page(call, since, job, query.limit))
    return await _streamed(call, since, job, media)


def _since(query: queries.EventsQuery, last_id: str | None) -> int | None:
    """The number to go on from; that of the header counts more. Raises RequestRefused."""
    if last_id is None:
        return None if isinstance(query.since, UnsetType) else query.since
    is_number = last_id.isascii() and last_id.isdecimal() and len(last_id) <= len(str(_LARGEST))
    if not is_number or int(last_id) > _LARGEST:
        raise RequestRefused(
            "invalid-argument",
            field="Last-Event-ID",
            given=last_id,
            allowed="the id of an event that came",
        )
    return int(last_id)


async def _page(call: Call, since: int | None, job: str | None, most: int) -> Message:
    """Some events, and the number to go on from."""
    found: list[Message] = []
    gap, numbers = None, count(1)
    args: Message = {"since": since, "follow": False, "job": job}
    async with call.session.stream("events", args) as source:
        async for one in source:
            if one.get("gap") is True:
                gap = one
                continue
            found.append(one)
            if next(numbers) >= most:
                return {"events": found, "gap": gap, "next": one["seq"]}
        return {"events": found, "gap": gap, "next": source.answer["next"]}


async def _streamed(
    call: Call, since: int | None, job: str | None, media: str
) -> web.StreamResponse:
    """What was, and what comes."""
    bounds = call.services.bounds
    follow = call.query(queries.EventsQuery).follow
    if since is None:
        # A number to go on from, and a refusal while it still has a status.
        since = (await _page(call, None, job, 1))["next"]
    source = follow_events(
        call.session, since, job=job, follow=follow, borne_seconds=bounds.borne_seconds
    )
    streams = call.services.streams
    async with aclosing(source), aclosing(Beating(source, streams)) as beating:
        await beating.first()
        body = BodyStream(call.request, media, bounds, {"X-Since": str(since)})
        await body.open()
        try:
            async with aclosing(beating.items(body, bounds.heartbeat_seconds)) as items:
                await _write_all(body, items)
        except ClientError as error:
            found, _ = problem(error)
            value = {"code": found.code, "detail": found.detail, "cursor": None}
            await body.send(_said(body, "interrupted", value, None))
        await body.close()
        return body.response


async def _write_all(body: BodyStream, source: AsyncIterator[Message]) -> None:
    async for one in source:
        if one.get("gap") is True:
            await body.send(_said(body, "gap", one, str(one["oldest"] - 1)))
        else:
            await body.send(_said(body, "job", one, str(one["seq"])))


def _said(body: BodyStream, kind: str, value: dict[str, Any], place: str | None) -> bytes:
    if body.is_events:
        return event(kind, value, place)
    return line(value if kind == "job" else {**value, "kind": kind})


ROUTES: Final = (
    Route(
        method="GET", path="/events", name="getEvents", op="events", tag="output",
        about="What has happened to jobs since, and what happens",
        more="A page, or with `follow` a stream. The id of an event is its `seq`: Last-Event-ID "
        "resumes, and nothing is missed or sent twice.",
        handler=events, query=queries.EventsQuery,
        problems=("no-such-job", "ambiguous-job", "not-acceptable"),
        headers={"Last-Event-ID": "The id of the last event that came: go on behind it."},
        answers={
            200: Answer(
                "The events.", answers_output.EventPage,
                {
                    negotiating.JSON_LINES: "An `Event` in each line, or an `EventGap`.",
                    negotiating.EVENT_STREAM: "Events `job` (`Event`), `gap` (`EventGap`), "
                    "`interrupted` (`Interrupted`).",
                },
            ),
        },
    ),
)  # fmt: skip
