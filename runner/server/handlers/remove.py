"""`remove`: forget an ended job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def remove(
    service: Service, peer: Peer, request: messages.Remove, _stream: Stream
) -> dict[str, Any]:
    """Remove an ended job of the peer with its output."""
    job = service.find_job(peer, request.job, may_control)
    await service.supervisor.remove(job, peer.uid)
    return {"job": job.id}
