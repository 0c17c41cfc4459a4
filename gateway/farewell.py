"""An SSL context that says why a handshake fails, which asyncio's TLS forgets to send.

OpenSSL has the alert (`certificate revoked`, `certificate required`…) ready when it refuses;
asyncio drops it and the client sees nothing but the end. So it is written here before the error
goes on to asyncio, to the connection that `speaking_to` has named for the task.
"""

from __future__ import annotations

import contextlib
import ssl
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

_RAW: Final[ContextVar[asyncio.WriteTransport | None]] = ContextVar("raw", default=None)


@contextlib.contextmanager
def speaking_to(raw: asyncio.WriteTransport) -> Iterator[None]:
    """A handshake that begins inside (with callbacks of its own) is with that one."""
    token = _RAW.set(raw)
    try:
        yield
    finally:
        _RAW.reset(token)


class _Speaking(ssl.SSLObject):
    """Made by the context below, which says what is ready to be sent, and to whom."""

    ready: ssl.MemoryBIO | None = None
    raw: asyncio.WriteTransport | None = None

    def do_handshake(self) -> None:
        """As its base; an error has been told to the peer when it is raised."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.raw is not None and self.ready is not None:
                self.raw.write(self.ready.read())
            raise


class SpeakingContext(ssl.SSLContext):
    """As its base, for asyncio's servers."""

    sslobject_class = _Speaking

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  as its base has it
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """One TLS connection over memory."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, _Speaking):
            made.ready, made.raw = outgoing, _RAW.get()
        return made
