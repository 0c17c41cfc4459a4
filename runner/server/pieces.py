"""Events of `logs`: pieces of a log as docs/PROTOCOL.md has them, as values or packed already.

Pure. Where the pieces come from is `runner.logs.reader`'s, when they are sent
`runner.server.handlers.logs`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from client.protocol import HEADER
from runner.logs.reader import Chunk, Extent, Gap

if TYPE_CHECKING:
    from runner.logs.chunks import Run
    from runner.server.outlet import FilePart

# For one thread; of pieces that are small, or without their bytes.
_pack: Final = msgpack.Packer(use_bin_type=True).pack


class Packed(NamedTuple):
    """A chunk as it is sent: what comes before its data, and where that lies."""

    offset: int
    head: bytes
    part: FilePart


def end_of(piece: Chunk | Packed | Gap) -> int:
    """The cursor after it."""
    if isinstance(piece, Gap):
        return piece.offset
    return piece.offset + (piece.part.length if isinstance(piece, Packed) else len(piece.data))


def packed_event(offset: int, runs: list[Run], data: bytes) -> bytes:
    """The event of a Chunk as `event_of`, packed."""
    packed: bytes = _pack({"offset": offset, "runs": runs, "data": data})
    return packed


def packed_head(piece: Extent) -> bytes:
    """The event as `event_of` packed, but for the bytes of `data`, of which there are many."""
    runs, offset = _pack(piece.runs), _pack(piece.offset)
    return b"\x83\xa6offset%b\xa4runs%b\xa4data\xc6%b" % (offset, runs, HEADER.pack(piece.length))


def event_of(piece: Chunk | Gap) -> dict[str, Any]:
    """As docs/PROTOCOL.md says."""
    if isinstance(piece, Gap):
        return piece._asdict()
    return {"offset": piece.offset, "runs": [list(run) for run in piece.runs], "data": piece.data}
