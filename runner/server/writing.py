"""Answers of one connection on their way out: those of one turn in one piece.

Whether the client reads is `runner.server.connection`'s to know; here nothing is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner.server.framing import FramePacker
from runner.server.outlet import Outlet

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from client.protocol import Message
    from runner.server.outlet import FilePart

# Of what is gathered: written then, so that it is known whether the client reads.
GATHERED_BYTES: Final = 64 * 1024

# For all connections: they are of one thread.
_packer: Final = FramePacker()


class Writer:
    """Frames for one transport. What is sent while `gathers` is written by `flush`.

    While a part of a file is on its way events are to wait: `hold` is called then, and the
    protocol's `resume_writing` after it. What else is sent meanwhile pauses its writing.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        hold: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._hold = hold
        self._frames: list[bytes] = []
        self._size = 0
        self.gathers = False
        # There once a part of a file was sent; what is sent while it is held comes after that.
        self._outlet: Outlet | None = None
        self._is_held = False

    def send(self, message: Message) -> None:
        """One message; nothing once the connection is closing.

        Raises FrameError for one that is too long, and what packing raises.
        """
        if not self._transport.is_closing():
            self.send_frame(_packer.frame(message))

    def send_frame(self, frame: bytes) -> None:
        """The same, of one that is packed."""
        if self._transport.is_closing():
            return
        if not self.gathers and not self._is_held:
            self._transport.write(frame)
            return
        if self._is_held:
            # Who does not read is not answered without end.
            self._protocol.pause_writing()
        self._frames.append(frame)
        self._size += len(frame)
        if self._size >= GATHERED_BYTES:
            self.flush()

    def send_part(self, head: bytes, part: FilePart) -> None:
        """One frame that ends with a part of a file. Raises OSError of pread(2)."""
        if self._transport.is_closing():
            return
        if self._is_held or self._frames or self._transport.get_write_buffer_size():
            self._frames.append(head + part.read())
            self.flush()
            return
        if self._outlet is None:
            self._outlet = Outlet(self._transport, self._let_go)
        if not self._outlet.send(head, part):
            self._is_held = True
            self._hold()

    def _let_go(self) -> None:
        self._is_held = False
        self._protocol.resume_writing()
        self.flush()

    def finish(self) -> None:
        """Write what was sent, as the transport is about to be closed."""
        if self._outlet is not None:
            self._outlet.finish()
            self._is_held = False
        self.flush()

    def close(self) -> None:
        """The connection is lost."""
        if self._outlet is not None:
            self._outlet.close()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._frames and not self._is_held:
            frames, self._frames, self._size = self._frames, [], 0
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
