"""`queues`: every queue with what waits and runs in it, and what there is to share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


def queues(
    service: Service, peer: Peer, _request: message_queue.Queues, _stream: Stream
) -> dict[str, Any]:
    """The queues, the capacity, and the peer's own share and quota."""
    return service.supervisor.queue.show(peer)
