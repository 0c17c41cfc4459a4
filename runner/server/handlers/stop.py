"""`stop`: end a job, politely first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def stop(
    service: Service, peer: Peer, request: messages.Stop, _stream: Stream
) -> dict[str, Any]:
    """SIGTERM, and SIGKILL after the grace, to a job of the peer."""
    job = service.find_job(peer, request.job, may_control)
    grace = service.grace(request.grace_seconds, kill=request.kill)
    state = await service.supervisor.stop(job, peer.uid, grace)
    return {"state": state.value}
