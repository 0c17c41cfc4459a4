"""`move`: put a queued job before others of its submitter's, or in another queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def move(
    service: Service, peer: Peer, request: message_queue.Move, _stream: Stream
) -> dict[str, Any]:
    """Move a queued job of the peer."""
    job = service.find_job(peer, request.job, may_control)
    before = None
    if request.before is not None:
        before = service.find_job(peer, request.before, may_control, field="before")
    moved = service.supervisor.queue.move(
        job, peer, top=request.top, before=before, queue=request.queue
    )
    return {"job": moved.id, "queue": moved.queue, "priority": moved.priority}
