"""Reading parts of a job's output: where it begins, and a page of it that is bounded.

Streams that go on are `gateway.rest.streams`'.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UnsetType

from client.cursors import Cursor, parse
from client.errors import RequestRefused
from client.log_position import LogChunk, LogGap, Selection
from client.protocol import STDERR, STDOUT
from gateway.following import Batch, follow_logs
from gateway.rest import output
from gateway.rest.sending import text_of

if TYPE_CHECKING:
    from client.protocol import Message
    from gateway.rest.queries import LogsQuery
    from gateway.session import Session


class Page(NamedTuple):
    """A part of the output: the batches; where the next begins; the job, where its end was met."""

    batches: list[Batch]
    cursor: Cursor
    status: Message | None


def stream_number(name: str | UnsetType) -> int | None:
    """The stream of that name; None: both."""
    return None if isinstance(name, UnsetType) else STDOUT if name == "stdout" else STDERR


def selection(job: str, query: LogsQuery, last_id: str | None = None) -> Selection:
    """What is asked of `logs`. `last_id` (Last-Event-ID) counts more than `cursor`.

    Raises RequestRefused: what is no cursor, or one of another attempt than is asked for.
    """
    text = query.cursor if last_id is None else last_id
    attempt = None if isinstance(query.attempt, UnsetType) else query.attempt
    until = None if isinstance(query.until_ns, UnsetType) else query.until_ns
    if isinstance(text, UnsetType):
        return Selection(job, follow=query.follow, until_ns=until, attempt=attempt)
    cursor = _cursor(text)
    if attempt is not None and cursor.attempt != attempt:
        raise RequestRefused(
            "invalid-argument",
            field="cursor",
            given=text,
            detail=f"the cursor is one of attempt {cursor.attempt}, and attempt {attempt} is meant",
        )
    return Selection(
        job,
        cursor=cursor.offset,
        follow=query.follow,
        until_ns=until,
        attempt=cursor.attempt,
        # One attempt alone where only that was asked for.
        goes_on=query.follow and attempt is None,
    )


def _cursor(text: str) -> Cursor:
    try:
        return parse(text)
    except ValueError:
        raise RequestRefused(
            "invalid-argument",
            field="cursor",
            given=text,
            allowed="OFFSET or ATTEMPT:OFFSET, as an answer gave it",
        ) from None


async def read_page(session: Session, selected: Selection, most: int) -> Page:
    """At most `most` bytes of output from there on, in a bounded number of pieces."""
    batches: list[Batch] = []
    left = output.MOST_ITEMS
    cursor = Cursor(selected.attempt or 1, selected.cursor)
    async with aclosing(follow_logs(session, selected)) as stream:
        async for batch in stream:
            part, size = output.cut(batch, most, left)
            cursor = Cursor(part.attempt, part.cursor)
            if batch.status is not None:
                return Page(batches, cursor, dict(batch.status))
            batches.append(part)
            most -= size
            left -= max(len(part.items), 1)
            if most <= 0 or left <= 0:
                break
    return Page(batches, cursor, None)


async def beginning(session: Session, job: Message, most: int) -> dict[str, Any]:
    """What an ended job wrote, at most `most` bytes of it, as `Output`."""
    attempt = int(job["attempt"])
    page = await read_page(session, Selection(job["job"], attempt=attempt), max(most, 1))
    items = [item for batch in page.batches for item in batch.items] if most else []
    cursor = page.cursor if most else Cursor(attempt, 0)
    is_all = bool(most) and page.status is not None
    return {
        "stdout": _joined(items, STDOUT),
        "stderr": _joined(items, STDERR),
        "attempt": attempt,
        "cursor": str(cursor),
        "gap_bytes": sum(item.gap_bytes for item in items if isinstance(item, LogGap)),
        "more": None if is_all else f"/v1/jobs/{job['job']}/logs?cursor={cursor}",
    }


def _joined(items: list[LogChunk | LogGap], stream: int) -> str | dict[str, str]:
    data = (item.data for item in items if isinstance(item, LogChunk) and item.stream == stream)
    return text_of(b"".join(data))


def page_answer(job: str, page: Page, stream: int | None) -> dict[str, Any]:
    """A page as `LogPage`."""
    status = page.status or {}
    return {
        "job": status.get("job", job),
        "state": status.get("state"),
        "cursor": str(page.cursor),
        "at_end": page.status is not None,
        "records": [one for batch in page.batches for one in output.records(batch, stream)],
    }
