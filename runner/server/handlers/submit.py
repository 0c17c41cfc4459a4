"""`submit`: a job is checked, committed, and only then answered for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service


async def submit(
    service: Service, peer: Peer, request: messages.Submit, _stream: Stream
) -> dict[str, Any]:
    """Accept a job, as the peer or as whom the peer may ask for."""
    new = await service.submissions.prepare(request, peer)
    job = service.supervisor.submit(new)
    return {"job": job.id, "state": job.state.value}
