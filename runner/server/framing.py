"""Makes frames of answers and events. Pure: messages in, bytes out.

What comes is cut into frames by `client.frames`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgpack

from client.protocol import HEADER, MAX_FRAME_BYTES, FrameError

if TYPE_CHECKING:
    from client.protocol import Message

# A packer keeps the room of the longest frame that it has made.
_KEPT_BYTES: Final = 256 * 1024

# Of numbers.
_pack: Final = msgpack.Packer().pack


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
