"""`resume`: let a paused job go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def resume(
    service: Service, peer: Peer, request: messages.Resume, _stream: Stream
) -> dict[str, Any]:
    """Let a paused job of the peer go on; a running one is left alone."""
    job = service.find_job(peer, request.job, may_control)
    state = await service.supervisor.resume(job, peer.uid)
    return {"job": job.id, "state": state.value}
