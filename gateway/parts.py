"""What a gate is made of, as its sessions use it: the shapes, so that tests can put in others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from client.protocol import Message
    from gateway.identity import Certificate
    from gateway.policy import Policy
    from gateway.upstream import Who


class PolicySource(Protocol):
    """Has the policy that is in force now (`gateway.policy_file.PolicyFile`)."""

    @property
    def policy(self) -> Policy:
        """It may be another one at each look."""


class TrustSource(Protocol):
    """Knows which certificates count now (`gateway.trust.Trust`)."""

    def refusal(self, certificate: Certificate) -> str | None:
        """Why it does not count; None: it does."""


class Log(Protocol):
    """The audit log (`gateway.audit.Audit`)."""

    def write(self, entry: Mapping[str, Any]) -> None:
        """One line. Raises AuditError."""


class Events(Protocol):
    """A stream of runnerd's (`client.aio.AsyncStream`)."""

    answer: Message

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> Message:
        """The next event. Whoever stops waiting for it loses none."""

    def signal(self, number: int) -> None:
        """Send a signal to the command of an exec."""

    def allow(self, events: int) -> None:
        """Let so many more come than were allowed so far."""


class Asker(Protocol):
    """Asks runnerd on behalf of users (`gateway.upstream.Upstream`)."""

    async def request(
        self,
        who: Who,
        op: str,
        args: Message,
        *,
        timeout: float | None = ...,  # noqa: ASYNC109
    ) -> Message:
        """The answer to one request."""

    def stream(
        self, who: Who, op: str, args: Message, *, allowed: float = ...
    ) -> AbstractAsyncContextManager[Events]:
        """The events of one request, so many until more are allowed."""


class Meter(Protocol):
    """Counts for whoever watches (`gateway.metrics.Metrics`)."""

    def request(self, api: str, verb: str, code: str, seconds: float) -> None:
        """One request has been answered."""

    def stream_opened(self, api: str) -> None:
        """A stream is open."""

    def stream_closed(self, api: str) -> None:
        """And closed again."""

    def log_bytes(self, count: int) -> None:
        """So much output was handed out."""

    def refused(self, reason: str) -> None:
        """The gateway itself refused something."""
