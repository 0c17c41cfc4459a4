"""`exec`: run another command inside a job that runs, and stream its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def execute(
    service: Service, peer: Peer, request: messages.Exec, stream: Stream
) -> dict[str, Any]:
    """Run the command to its end in a job of the peer."""
    job = service.find_job(peer, request.job, may_control)
    if request.credit:
        stream.grant(request.credit)
    return await service.execs.run(job, peer.uid, request, stream)
