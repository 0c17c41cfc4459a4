"""`pause`: freeze a job; its time limit stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def pause(
    service: Service, peer: Peer, request: messages.Pause, _stream: Stream
) -> dict[str, Any]:
    """Freeze a running job of the peer; a paused one stays as it is."""
    job = service.find_job(peer, request.job, may_control)
    state = await service.supervisor.pause(job, peer.uid)
    return {"job": job.id, "state": state.value}
