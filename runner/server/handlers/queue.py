"""`queue`: pause a queue, let it go on, or cap it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def queue(
    service: Service, peer: Peer, request: message_queue.SetQueue, _stream: Stream
) -> dict[str, Any]:
    """What an admin sets of a queue."""
    if not service.is_admin(peer):
        raise Refusal("not-permitted", detail="only root and admins may change a queue")
    return service.supervisor.queue.set_queue(request, peer.uid)
