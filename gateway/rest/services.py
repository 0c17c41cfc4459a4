"""What the routes of one gateway share: the gate, the metrics, whether runnerd is there, bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from client.protocol import Message
    from gateway.identity import Certificate
    from gateway.metrics import Page
    from gateway.session import Session


class Entrance(Protocol):
    """As much of `gateway.session.Gate` as REST needs."""

    def enter(
        self,
        certificate: Certificate,
        *,
        remote: str,
        api: str,
        user: str | None = None,
        trace: Any = None,  # noqa: ANN401  gateway.tracing's
    ) -> Session:
        """Let somebody in for one request. Raises RequestRefused."""
        ...


class Shown(Protocol):
    """As much of `gateway.metrics.Metrics` as REST needs."""

    async def page(self, accept: str = ...) -> Page:
        """What `/metrics` answers to who accepts that."""
        ...

    def refused(self, reason: str) -> None:
        """The gateway itself refused something."""
        ...


class Stoppable(Protocol):
    """A stream that can be told that the gateway ends."""

    def stop(self) -> None:
        """End it with a word to its reader."""
        ...


class Bounds(NamedTuple):
    """What one request may take: bytes of a body, seconds of a reader or sender that stalls."""

    body_bytes: int = 2 * 1024 * 1024
    slow_seconds: float = 30.0
    heartbeat_seconds: float = 15.0
    # How long runnerd may be away while a stream waits for it.
    borne_seconds: float = 30.0


class Services(NamedTuple):
    """See the module. `greeting` answers when runnerd is there, and raises when it is not.

    `document` (OpenAPI) and `streams`, those that are open, are the application's own.
    """

    gate: Entrance
    metrics: Shown
    greeting: Callable[[], Awaitable[Message]]
    bounds: Bounds = Bounds()
    document: bytes = b"{}"
    streams: set[Stoppable] = set()  # noqa: RUF012  each application has one of its own
