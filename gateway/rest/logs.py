"""The routes of a job's output: a page of it, or the stream, from a cursor on.

Which form is asked for, and how each says where to go on: docs/REST.md. What is read is
`gateway.following`'s, which bears a restart of runnerd; a longer absence ends the stream with a
word, and the reader comes again with its cursor.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from msgspec import UnsetType

from client.cursors import Cursor
from client.errors import ClientError
from gateway.following import Batch, follow_logs
from gateway.rest import answers_output, negotiating, output, queries, reading
from gateway.rest.calls import Answer, Call, Reply, Route
from gateway.rest.problems import HttpRefusal, problem
from gateway.rest.streams import Beating, BodyStream, event, line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from client.log_position import Selection

_BY_NAME: Final = {
    "json": negotiating.JSON,
    "jsonl": negotiating.JSON_LINES,
    "sse": negotiating.EVENT_STREAM,
    "raw": negotiating.RAW,
}
# The first is what who does not care is given.
_PAGES: Final = (
    negotiating.JSON, negotiating.JSON_LINES, negotiating.EVENT_STREAM, negotiating.RAW,
    negotiating.PLAIN,
)  # fmt: skip
_STREAMS: Final = tuple(media for media in (_PAGES[1], _PAGES[2], _PAGES[3], _PAGES[4]))
_BYTES: Final = (negotiating.RAW, negotiating.PLAIN)
# Behind the id of the last event: a browser that comes again with it is told to stay away (204).
_OVER: Final = ";end"


def media_type(call: Call, name: str | UnsetType, *, follow: bool, bytes_too: bool = True) -> str:
    """The form that is asked for by `format` or Accept. Raises HttpRefusal."""
    offered = [each for each in (_STREAMS if follow else _PAGES) if bytes_too or each not in _BYTES]
    if isinstance(name, UnsetType):
        found = negotiating.chosen(call.request.headers.get("Accept"), offered)
    else:
        found = _BY_NAME[name] if _BY_NAME[name] in offered else None
    if found is None:
        detail = f"there is {', '.join(offered)}" + (" of what is followed" if follow else "")
        raise HttpRefusal("not-acceptable", detail, allowed=offered)
    return found


async def logs(call: Call) -> Reply | web.StreamResponse:
    """A page of the output, or all that comes."""
    query = call.query(queries.LogsQuery)
    media = media_type(call, query.format, follow=query.follow)
    last_id = call.request.headers.get("Last-Event-ID") or None
    if last_id is not None and last_id.endswith(_OVER):
        return Reply(status=204)
    if media != negotiating.EVENT_STREAM:
        last_id = None
    selected = reading.selection(call.path("job"), query, last_id)
    stream = reading.stream_number(query.stream)
    if call.request.method == "HEAD":
        await call.ask("status", {"job": selected.job})
        return Reply(b"", media=media)
    if not query.follow and media in (negotiating.JSON, *_BYTES):
        return await _page(call, selected, stream, media)
    return await _streamed(call, selected, stream, media)


async def _page(call: Call, selected: Selection, stream: int | None, media: str) -> Reply:
    most = call.query(queries.LogsQuery).limit
    page = await reading.read_page(call.session, selected, most)
    if media == negotiating.JSON:
        return Reply(reading.page_answer(selected.job, page, stream))
    data = b"".join(output.raw(batch, stream) for batch in page.batches)
    at_end = "true" if page.status is not None else "false"
    headers = {"X-Next-Cursor": str(page.cursor), "X-At-End": at_end}
    return Reply(data, headers=headers, media=media)


async def _streamed(
    call: Call, selected: Selection, stream: int | None, media: str
) -> web.StreamResponse:
    """What is there, and what comes while the job runs."""
    bounds = call.services.bounds
    source = follow_logs(call.session, selected, borne_seconds=bounds.borne_seconds)
    streams = call.services.streams
    async with aclosing(source), aclosing(Beating(source, streams)) as beating:
        await beating.first()
        body = BodyStream(call.request, media, bounds)
        await body.open()
        writer = _Writer(body, media, stream, selected)
        try:
            async with aclosing(beating.items(body, bounds.heartbeat_seconds)) as batches:
                await writer.write_all(batches)
        except ClientError as error:
            await writer.interrupted(error)
        await body.close()
        return body.response


class _Writer:
    """Writes batches in one of the forms, and knows where it is."""

    def __init__(
        self, body: BodyStream, media: str, stream: int | None, selected: Selection
    ) -> None:
        self._body = body
        self._media = media
        self._stream = stream
        self._cursor = Cursor(selected.attempt or 1, selected.cursor)

    async def write_all(self, batches: AsyncIterator[Batch]) -> None:
        async for batch in batches:
            self._cursor = Cursor(batch.attempt, batch.cursor)
            if self._media in _BYTES:
                await self._body.send(output.raw(batch, self._stream))
            elif batch.status is not None:
                await self._ended(dict(batch.status))
            else:
                await self._records(batch)
        await self._body.flush()

    async def _records(self, batch: Batch) -> None:
        for record in output.records(batch, self._stream):
            await self._body.add(self._said(record["kind"], record, record["cursor"]))
        await self._body.flush()

    async def _ended(self, job: dict[str, Any]) -> None:
        job.pop("usage", None)
        end = {"cursor": str(self._cursor), "job": job}
        await self._body.add(self._said("end", end, f"{self._cursor}{_OVER}"))

    async def interrupted(self, error: ClientError) -> None:
        """The stream cannot go on. Bytes cannot say so: there the connection is cut."""
        if self._media in _BYTES:
            self._body.cut()
            raise error
        found, _ = problem(error)
        value = {"code": found.code, "detail": found.detail, "cursor": str(self._cursor)}
        await self._body.add(self._said("interrupted", value, None))

    def _said(self, kind: str, value: dict[str, Any], place: str | None) -> bytes:
        if self._media == negotiating.EVENT_STREAM:
            return event(kind, value, place)
        return line({"kind": kind, **value})


_MORE: Final = """\
A page has at most `limit` bytes; go on from its cursor. With `follow` it is a stream that ends with
the job. Forms: JSON (a page), JSON lines and server-sent events (a record each, at last one of the
kind `end` with the job, or `interrupted`), and the bytes themselves (`application/octet-stream` or
`text/plain`). Of a page of bytes the header X-Next-Cursor says where to go on. The id of an event
is the cursor behind it: Last-Event-ID resumes."""

ROUTES: Final = (
    Route(
        method="GET", path="/jobs/{job}/logs", name="getJobLogs", op="logs", tag="output",
        about="The output of a job, a page of it or as a stream", more=_MORE,
        handler=logs, query=queries.LogsQuery,
        problems=("no-such-job", "ambiguous-job", "is-group", "not-acceptable"),
        headers={"Last-Event-ID": "The id of the last event that came: go on behind it."},
        answers={
            200: Answer(
                "The output.", answers_output.LogPage,
                {
                    negotiating.JSON_LINES: "A `Record` in each line, at last a `LogEnd` or "
                    "an `Interrupted`, with its `kind`.",
                    negotiating.EVENT_STREAM: "Events `output`, `gap` and `attempt` (`Record`), "
                    "`end` (`LogEnd`), `interrupted` (`Interrupted`).",
                    negotiating.RAW: "The bytes of both streams, or of `stream`.",
                    negotiating.PLAIN: "The same.",
                },
            ),
            204: Answer("The id was that of the end: nothing more comes."),
        },
    ),
)  # fmt: skip
