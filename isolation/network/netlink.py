"""A routing socket: messages in one batch, each acknowledged; dumps. rtnetlink(7).

Knows the frame of a message and nothing of what is in it: that is `isolation.network.links`
(pyroute2's encoders) and `isolation.network.shaping`. pyroute2's own sockets take ten times as long
for a message, and bind themselves to threads.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

# linux/netlink.h
REQUEST: Final = 0x1
ACK: Final = 0x4
REPLACE: Final = 0x100
EXCL: Final = 0x200
CREATE: Final = 0x400
DUMP: Final = 0x300
_ERROR: Final = 2
_DONE: Final = 3
_ACK_TLVS: Final = 0x200
_SOL_NETLINK: Final = 270
_CAP_ACK: Final = 10
_EXT_ACK: Final = 11
_EXT_MESSAGE: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF
_BUFFER: Final = 1 << 16
_SECONDS: Final = 10.0


class Message(NamedTuple):
    """`what` says in words what it does; `data` is a whole message with its header."""

    what: str
    data: bytes


class NetlinkRefusedError(OSError):
    """The kernel refused a message. `what` is the message's; `strerror` has its own words."""

    def __init__(self, number: int, what: str, said: str) -> None:
        text = os.strerror(number)
        super().__init__(number, f"{text}: {said}" if said else text)
        self.what = what


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A message of this type, with its header; an acknowledgement is asked for."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST | ACK, 0, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in a run of bytes by number; of several the last. Broken ones end it."""
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            break
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


class Netlink:
    """A socket of the network namespace that the making thread is in, for good.

    Any thread may use it, one at a time. Raises OSError when it cannot be made.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.settimeout(_SECONDS)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. Harmless to repeat."""
        self._socket.close()

    def send(self, *messages: Message) -> None:
        """Carry all of them out, in order; a refused one does not hold up the next.

        Raises NetlinkRefusedError for the first that was refused.
        """
        first = self._sequence + 1
        self._sequence += len(messages)
        numbered = (_numbered(each.data, first + n) for n, each in enumerate(messages))
        self._socket.send(b"".join(numbered))
        waiting = dict(enumerate(messages, first))
        refused: NetlinkRefusedError | None = None
        while waiting:
            for sequence, number, said in _acknowledgements(self._socket.recv(_BUFFER)):
                answered = waiting.pop(sequence, None)
                if answered is not None and number and refused is None:
                    refused = NetlinkRefusedError(number, answered.what, said)
        if refused is not None:
            raise refused

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """All objects of a type, each as a message with its header. Raises OSError."""
        self._sequence += 1
        request = _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | DUMP, self._sequence, 0)
        self._socket.send(request + body)
        while True:
            for frame_kind, sequence, frame in _frames(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue
                if frame_kind in {_DONE, _ERROR}:
                    _raise_for(frame, f"dump of {kind}")
                    return
                yield frame


def _numbered(data: bytes, sequence: int) -> bytes:
    length, kind, flags, _, port = _HEADER.unpack_from(data)
    return _HEADER.pack(length, kind, flags, sequence, port) + data[_HEADER.size : length]


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, message) of each message in a datagram."""
    while len(data) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, sequence, data[:length]
        data = data[length + -length % 4 :]


def _acknowledgements(data: bytes) -> Iterator[tuple[int, int, str]]:
    """(sequence, errno or 0, the kernel's words) of each acknowledgement in a datagram."""
    for kind, sequence, frame in _frames(data):
        if kind == _ERROR:
            yield sequence, _number(frame), _words(frame)


def _number(frame: bytes) -> int:
    (number,) = struct.unpack_from("=i", frame, _HEADER.size)
    return -int(number)


def _words(frame: bytes) -> str:
    _, _, flags, _, _ = _HEADER.unpack_from(frame)
    if not flags & _ACK_TLVS:
        return ""
    # With NETLINK_CAP_ACK only the header of the refused message comes back.
    said = attributes(frame[2 * _HEADER.size + 4 :]).get(_EXT_MESSAGE, b"")
    return said.rstrip(b"\0").decode(errors="replace")


def _raise_for(frame: bytes, what: str) -> None:
    number = _number(frame) if len(frame) >= _HEADER.size + 4 else 0
    if number > 0:
        raise NetlinkRefusedError(number, what, _words(frame))
