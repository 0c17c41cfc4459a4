"""A job's output as records, as text and as bytes. Pure; `gateway.following` brings it.

A record is a run of one stream, with its place, or a gap, or the beginning of another attempt. Text
that is cut inside a character by the end of a run keeps its bytes: these few are a record of base64
by themselves, so that the rest stays text.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from client.cursors import Cursor
from client.log_position import LogChunk, LogGap
from client.protocol import STDERR, STDOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.following import Batch

NAMES: Final = {STDOUT: "stdout", STDERR: "stderr"}
# Of a page: each costs far more than the byte that it may have.
MOST_ITEMS: Final = 10_000
_CONTINUATION: Final = range(0x80, 0xC0)
# RFC 3629: what a character of several bytes begins with.
_LEADS: Final = {2: range(0xC2, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0xF5)}
_MOST_OF_A_CHARACTER: Final = 3
# Longer runs are cut, so that no record is large.
_MOST_BYTES: Final = 65536

Record = dict[str, Any]


def records(batch: Batch, stream: int | None = None) -> Iterator[Record]:
    """What arrived together, of one stream or of both; gaps are of both."""
    if not batch.items and batch.status is None:
        yield _record("attempt", batch.attempt, batch.cursor, batch.cursor)
    for item in batch.items:
        if isinstance(item, LogGap):
            at = {"gap_bytes": item.gap_bytes, "why": item.why}
            yield _record("gap", batch.attempt, item.offset, item.offset) | at
        elif stream in (None, item.stream):
            yield from _output(batch.attempt, item)


def _output(attempt: int, chunk: LogChunk) -> Iterator[Record]:
    place = chunk.offset
    said = {"stream": NAMES.get(chunk.stream, "stdout"), "time_ns": chunk.time_ns}
    for piece in _pieces(chunk.data):
        end = place + len(piece)
        yield _record("output", attempt, place, end) | said | _content(piece)
        place = end


def _record(kind: str, attempt: int, offset: int, end: int) -> Record:
    cursor = str(Cursor(attempt, end))
    return {"kind": kind, "cursor": cursor, "attempt": attempt, "offset": offset}


def _pieces(data: bytes) -> Iterator[bytes]:
    """The data in pieces of bounded size, cut between characters, odd ends by themselves."""
    for start in range(0, len(data), _MOST_BYTES):
        part = data[start : start + _MOST_BYTES]
        head, tail = _head(part), _tail(part)
        for piece in (part[:head], part[head:tail], part[tail:]):
            if piece:
                yield piece


def _head(data: bytes) -> int:
    """How many bytes belong to a character that began before."""
    first = data[:_MOST_OF_A_CHARACTER]
    return next((at for at, byte in enumerate(first) if byte not in _CONTINUATION), len(first))


def _tail(data: bytes) -> int:
    """Where the last character begins that is not whole; the length when all are."""
    for back in range(1, min(_MOST_OF_A_CHARACTER, len(data)) + 1):
        byte = data[-back]
        if byte not in _CONTINUATION:
            return len(data) - back if back < _character_bytes(byte) else len(data)
    return len(data)


def _character_bytes(lead: int) -> int:
    """How long the character is that begins with that byte; 1 for what begins none."""
    return next((size for size, leads in _LEADS.items() if lead in leads), 1)


def _content(data: bytes) -> Record:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def raw(batch: Batch, stream: int | None = None) -> bytes:
    """The bytes that arrived together, of one stream or of both; of a gap nothing."""
    return b"".join(
        item.data
        for item in batch.items
        if isinstance(item, LogChunk) and stream in (None, item.stream)
    )


def cut(batch: Batch, most: int, most_items: int = MOST_ITEMS) -> tuple[Batch, int]:
    """The batch with at most so many bytes of output and items, and how many bytes it has."""
    items: list[LogChunk | LogGap] = []
    left, cursor = most, batch.cursor
    for item in batch.items:
        if len(items) >= most_items:
            cursor = _begin(item)
            break
        if isinstance(item, LogGap):
            items.append(item)
            continue
        part = item.data[:left]
        if part:
            items.append(item._replace(data=part))
            left -= len(part)
        if len(part) < len(item.data):
            cursor = item.offset + len(part)
            break
    return batch._replace(items=items, cursor=cursor), most - left


def _begin(item: LogChunk | LogGap) -> int:
    return item.offset - item.gap_bytes if isinstance(item, LogGap) else item.offset
