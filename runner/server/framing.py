"""Cuts a byte stream into frames, holding no more than one frame that is not complete.

Pure: bytes in, messages out. The announced length is checked before anything is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.protocol import (
    HEADER,
    MAX_FRAME_BYTES,
    MAX_GREETING_BYTES,
    MAX_REQUEST_CONTAINERS,
    Message,
    decode_body,
    frame_length,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class FrameBuffer:
    """What one connection has sent and what of it makes whole frames.

    Until `greeted` is called a frame may hold a greeting and little more.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._most = MAX_GREETING_BYTES

    def greeted(self) -> None:
        """The peer is known to speak this protocol: frames of full length from here on."""
        self._most = MAX_FRAME_BYTES

    @property
    def held_bytes(self) -> int:
        """How much of a frame waits for its rest; 0 between two frames."""
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add bytes and yield every message that is whole now. Raises FrameError."""
        self._data += data
        start = 0
        try:
            while len(self._data) - start >= HEADER.size:
                header = bytes(self._data[start : start + HEADER.size])
                end = start + HEADER.size + frame_length(header, self._most)
                if len(self._data) < end:
                    return
                body = bytes(self._data[start + HEADER.size : end])
                start = end
                yield decode_body(body, MAX_REQUEST_CONTAINERS)
        finally:
            del self._data[:start]
