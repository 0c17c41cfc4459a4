"""`retry`: run a job that has ended once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service


async def retry(
    service: Service, peer: Peer, request: message_queue.Retry, _stream: Stream
) -> dict[str, Any]:
    """Queue an ended job of the peer for another attempt."""
    job = service.find_job(peer, request.job, may_control)
    again = await service.supervisor.retry(job, peer.uid)
    return {"job": again.id, "state": again.state.value, "attempt": again.attempt}
