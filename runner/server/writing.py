"""Answers of one connection on their way out: those of one turn in one piece.

None leaves before what it may tell of is on disk, whoever caused that (`runner.settling`). Whether
the client reads is `runner.server.connection`'s to know; here nothing is waited for.
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
    from runner.settling import Settling

# Of what is gathered: written then, so that it is known whether the client reads. What waits for
# the disk waits no longer.
GATHERED_BYTES: Final = 64 * 1024

# For all connections: they are of one thread.
_packer: Final = FramePacker()


class Writer:
    """Frames for one transport. What is sent while `gathers` is written by `flush`.

    What is sent while all is not settled is written when it is, in its order. What jobs write need
    not wait, unless something before it does: it is there for anybody, and says nothing of what
    was committed.

    While a part of a file is on its way events are to wait: `hold` is called then, and the
    protocol's `resume_writing` after it. What else is sent meanwhile pauses its writing.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        hold: Callable[[], None],
        settling: Settling,
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._hold = hold
        self._settling = settling
        self._is_waiting = False
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

    def send_frame(self, frame: bytes, *, is_output: bool = False) -> None:
        """The same, of one that is packed. `is_output`: what a job wrote, and nothing else."""
        if self._transport.is_closing():
            return
        may_go = is_output or self._settling.is_settled
        if may_go and not (self.gathers or self._is_held or self._frames):
            self._transport.write(frame)
            return
        if self._is_held:
            # Who does not read is not answered without end.
            self._protocol.pause_writing()
        self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._size += len(frame)
        if self._size >= GATHERED_BYTES:
            self._settling.now()
            self.flush()
        elif not self.gathers:
            self.flush()

    def send_part(self, head: bytes, part: FilePart) -> None:
        """One frame that ends with a part of a file. Raises OSError of pread(2)."""
        if self._transport.is_closing():
            return
        if self._is_held or self._frames:
            self._keep(head + part.read())
            self.flush()
            return
        if self._transport.get_write_buffer_size():
            self._transport.write(head + part.read())
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
        if self._frames:
            self._settling.now()
        if self._outlet is not None:
            self._outlet.finish()
            self._is_held = False
        self.flush()

    def close(self) -> None:
        """The connection is lost."""
        self._frames, self._size = [], 0
        if self._outlet is not None:
            self._outlet.close()

    def flush(self) -> None:
        """Write what was gathered, or have it written when all is settled."""
        if not self._frames or self._is_held:
            return
        if self._settling.is_settled:
            frames, self._frames, self._size = self._frames, [], 0
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        elif not self._is_waiting:
            self._is_waiting = True
            self._settling.then(self._settled)

    def _settled(self) -> None:
        self._is_waiting = False
        self.flush()
