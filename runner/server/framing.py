"""Cuts a byte stream into frames, holding no more than one frame that is not complete.

Pure: bytes in, messages out. The announced length is checked before anything is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.protocol import HEADER, Message, decode_body, frame_length

if TYPE_CHECKING:
    from collections.abc import Iterator


class FrameBuffer:
    """What one connection has sent and what of it makes whole frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def partial(self) -> bool:
        """Whether the beginning of a frame waits for its rest."""
        return bool(self._data)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add bytes and yield every message that is whole now. Raises FrameError."""
        self._data += data
        start = 0
        try:
            while len(self._data) - start >= HEADER.size:
                length = frame_length(bytes(self._data[start : start + HEADER.size]))
                end = start + HEADER.size + length
                if len(self._data) < end:
                    return
                body = bytes(self._data[start + HEADER.size : end])
                start = end
                yield decode_body(body)
        finally:
            del self._data[:start]
