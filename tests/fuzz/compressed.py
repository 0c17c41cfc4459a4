"""What a compressed file of a log may show, by a decoder that is not the one under test.

ARCHITECTURE.md, "Log format": zstd frames that are independent of each other, then the seek
table of the zstd seekable format in a skippable frame. Bytes of a frame that is not whole are
nobody's to show. Used by the fuzz target of the log reader alone.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_HEADER: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<II")
_FOOTER: Final = struct.Struct("<IBI")
_SKIPPABLE: Final = 0x184D2A5E
_SEEKABLE: Final = 0x8F92EAB1
# What stands where nothing may be shown: a reader that shows it does so by chance.
_HOLE: Final = b"\xa5"
_MOST_PLAIN: Final = 256 * 1024


def file_of(*blocks: bytes) -> bytes:
    """A whole file: a frame for each block, and the table."""
    frames = [zstd.compress(block) for block in blocks]
    entries = b"".join(
        _ENTRY.pack(len(frame), len(block)) for frame, block in zip(frames, blocks, strict=True)
    )
    footer = _FOOTER.pack(len(frames), 0, _SEEKABLE)
    header = _HEADER.pack(_SKIPPABLE, len(entries) + len(footer))
    return b"".join([*frames, header, entries, footer])


def content(data: bytes) -> bytes:
    """What the file holds by its table, with holes; empty without a table that can be right."""
    if len(data) < _FOOTER.size:
        return b""
    count, _, magic = _FOOTER.unpack(data[-_FOOTER.size :])
    start = len(data) - _FOOTER.size - count * _ENTRY.size
    if magic != _SEEKABLE or start < _HEADER.size:
        return b""
    entries = _ENTRY.iter_unpack(data[start : len(data) - _FOOTER.size])
    parts, at = [], 0
    for packed, plain in entries:
        parts.append(_frame(data[at : at + packed], min(plain, _MOST_PLAIN)))
        at += packed
    return b"".join(parts)


def _frame(data: bytes, size: int) -> bytes:
    decoder = zstd.ZstdDecompressor()
    with contextlib.suppress(zstd.ZstdError):
        plain = decoder.decompress(data, max_length=size + 1)
        if decoder.eof and len(plain) == size:
            return plain
    return _HOLE * size
