"""`status`: one job, with what it uses right now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


def status(
    service: Service, peer: Peer, request: messages.Status, _stream: Stream
) -> dict[str, Any]:
    """Show one job of the peer."""
    job = service.find_job(peer, request.job)
    return service.show(job)
