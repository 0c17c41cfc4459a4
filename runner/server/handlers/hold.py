"""`hold`: keep a queued job from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def hold(
    service: Service, peer: Peer, request: message_queue.Hold, _stream: Stream
) -> dict[str, Any]:
    """Hold a queued job of the peer; what an admin holds stays the admin's."""
    job = service.find_job(peer, request.job, may_control)
    held = service.supervisor.queue.hold(job, peer.uid)
    return {"state": held.state.value, "job": held.id}
