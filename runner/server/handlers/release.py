"""`release`: let a held job start when its turn comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def release(
    service: Service, peer: Peer, request: message_queue.Release, _stream: Stream
) -> dict[str, Any]:
    """Release a job of the peer; what an admin holds only an admin."""
    job = service.find_job(peer, request.job, may_control)
    is_admin = service.is_admin(peer)
    free = service.supervisor.queue.release(job, peer.uid, is_admin=is_admin)
    return {"state": free.state.value, "job": free.id}
