"""Cuts a byte stream into frames, holding no more than one frame that is not complete.

And makes frames of answers. Pure: bytes in, messages out, and the other way round. The announced
length is checked before anything is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgpack

from client.protocol import (
    HEADER,
    MAX_FRAME_BYTES,
    MAX_GREETING_BYTES,
    FrameError,
    Message,
    bad_length,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# A packer keeps the room of the longest frame that it has made.
_KEPT_BYTES: Final = 256 * 1024

# Of numbers.
_pack: Final = msgpack.Packer().pack


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

    def feed(self, data: bytes | memoryview) -> Iterator[bytearray]:
        """Add bytes and yield the body of every frame that is whole now. Raises FrameError.

        They are added when the first message is asked for, those that were whole are let go of
        after the last one.
        """
        self._data += data
        start, size = 0, len(self._data)
        try:
            while size - start >= HEADER.size:
                (length,) = HEADER.unpack_from(self._data, start)
                if not 0 < length <= self._most:
                    raise bad_length(length, self._most)
                begin = start + HEADER.size
                end = begin + length
                if size < end:
                    return
                start = end
                yield self._data[begin:end]
        finally:
            del self._data[:start]


def only_body(received: memoryview, size: int) -> memoryview | None:
    """The body of the frame that `size` bytes are; None where they are more or less than one."""
    if size > HEADER.size and HEADER.unpack_from(received)[0] == size - HEADER.size:
        return received[HEADER.size : size]
    return None


def event_head(request_id: int, seq: int, event_bytes: int) -> bytes:
    """What comes before the packed event in a frame of a stream, length included."""
    head = b"\x83\xa2id%b\xa3seq%b\xa5event" % (_pack(request_id), _pack(seq))
    return HEADER.pack(len(head) + event_bytes) + head


class FramePacker:
    """Makes frames; the same bytes as `client.protocol.encode_frame`. For one thread."""

    def __init__(self) -> None:
        self._packer = msgpack.Packer(use_bin_type=True)

    def frame(self, message: Message) -> bytes:
        """One frame, length included. Raises FrameError, and what packing raises: TypeError, …."""
        body: bytes = self._packer.pack(message)
        length = len(body)
        if length > _KEPT_BYTES:
            self._packer = msgpack.Packer(use_bin_type=True)
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"frame of {length} bytes; at most {MAX_FRAME_BYTES}")
        return HEADER.pack(length) + body
