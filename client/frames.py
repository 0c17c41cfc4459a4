"""Cuts a byte stream into frames, holding no more than one frame that is not complete. Pure.

The announced length is checked before anything is kept; what a body holds is
`client.protocol.decode_body`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.protocol import HEADER, MAX_FRAME_BYTES, MAX_GREETING_BYTES, bad_length

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
        """How much was not taken yet; when nothing more can be, that of a frame without its end."""
        return len(self._data)

    def feed(self, data: bytes | memoryview) -> Iterator[bytearray]:
        """Add bytes and yield the body of each frame that is whole now. Raises FrameError.

        They are added when the first one is asked for.
        """
        self.add(data)
        while (body := self.take()) is not None:
            yield body

    def add(self, data: bytes | memoryview) -> None:
        """Take what has come."""
        self._data += data

    def take(self) -> bytearray | None:
        """The body of the next frame, if it is whole. Raises FrameError."""
        if len(self._data) < HEADER.size:
            return None
        (length,) = HEADER.unpack_from(self._data)
        if not 0 < length <= self._most:
            raise bad_length(length, self._most)
        end = HEADER.size + length
        if len(self._data) < end:
            return None
        body = self._data[HEADER.size : end]
        # Cheap: a bytearray only remembers where it begins.
        del self._data[:end]
        return body
