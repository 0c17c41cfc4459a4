"""Parts of files on their way to a client, straight from the page cache (sendfile(2)).

For one connection, beside its transport: only while that has nothing to write, and until a part
that was begun is through nobody else writes. Where the kernel cannot, the bytes take the ordinary
way. What a part belongs to is `runner.server.connection`'s; here nothing is waited for.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_logger: Final = logging.getLogger(__name__)

# Doubled by the kernel (socket(7)): room for an event or two, of which a log's pages are only
# referred to.
_SEND_BUFFER_BYTES: Final = 1024 * 1024
# Of so many connections at most: what nobody reads is the kernel's memory, charged to nobody.
MOST_WIDE: Final = 64
# asm-generic/socket.h: SO_SNDBUF beyond net.core.wmem_max, for who has CAP_NET_ADMIN.
_SO_SNDBUFFORCE: Final = 32


class FilePart(NamedTuple):
    """`length` bytes at `position` of an open file, which will stay as they are."""

    fd: int
    position: int
    length: int

    def read(self) -> bytes:
        """All of them. Raises OSError of pread(2), EIO when there are less."""
        data = os.pread(self.fd, self.length, self.position)
        if len(data) < self.length:
            raise OSError(errno.EIO, "the file has become shorter")
        return data


def _widen(connected: socket.socket) -> None:
    try:
        connected.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
    except PermissionError:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


class Outlet:
    """Sends parts of files over the socket of `transport`. `on_through` is called later."""

    _wide: ClassVar[int] = 0

    def __init__(self, transport: asyncio.Transport, on_through: Callable[[], None]) -> None:
        self._transport = transport
        self._on_through = on_through
        self._loop = asyncio.get_running_loop()
        connected = transport.get_extra_info("socket")
        # A number of its own: the transport's is the loop's.
        self._socket = socket.socket(fileno=os.dup(connected.fileno()))
        self._socket.settimeout(0)
        self._is_wide = Outlet._wide < MOST_WIDE
        if self._is_wide:
            Outlet._wide += 1
            _widen(self._socket)
        # Of what was begun: the rest of what comes first, and that of the file, which is ours.
        self._head = b""
        self._left: FilePart | None = None

    def send(self, head: bytes, part: FilePart) -> bool:
        """Both, in this order. False: the rest goes when the client reads, then `on_through`.

        Only when the part before is through and the transport has nothing to write.
        """
        self._head = head
        left = self._advance(part)
        if left is None:
            return True
        # Its owner may close the file meanwhile.
        self._left = left._replace(fd=os.dup(left.fd))
        self._loop.add_writer(self._socket.fileno(), self._go_on)
        return False

    def finish(self) -> None:
        """Give what is left to the transport, which is about to be closed."""
        left, self._left = self._left, None
        if left is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._write(left)
            os.close(left.fd)

    def close(self) -> None:
        """Let go of everything. Again is harmless."""
        if self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            Outlet._wide -= self._is_wide
        if self._left is not None:
            os.close(self._left.fd)
            self._left = None

    def _go_on(self) -> None:
        if self._left is None:
            return
        left = self._advance(self._left)
        if left is None:
            os.close(self._left.fd)
            self._loop.remove_writer(self._socket.fileno())
            self._left = None
            self._on_through()
        else:
            self._left = left

    def _advance(self, part: FilePart) -> FilePart | None:
        """Send as much as the socket takes. What is left of the part."""
        number = self._socket.fileno()
        fd, position, length = part
        try:
            while self._head:
                self._head = self._head[self._socket.send(self._head) :]
            while length:
                sent = os.sendfile(number, fd, position, length)
                if not sent:
                    break
                position += sent
                length -= sent
        except BlockingIOError:
            return FilePart(fd, position, length)
        except OSError:
            # The kernel cannot, or the reader has gone, which is the transport's to find out.
            pass
        if length:
            self._write(FilePart(fd, position, length))
        return None

    def _write(self, part: FilePart) -> None:
        """The ordinary way. Its length was announced: less than that ends the connection."""
        head, self._head = self._head, b""
        try:
            self._transport.write(head + part.read())
        except OSError as error:
            _logger.error("a log cannot be read: %s; its reader was cut off", error)  # noqa: TRY400
            self._transport.abort()
