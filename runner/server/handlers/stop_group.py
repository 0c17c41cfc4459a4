"""`stop_group`: end every job of an array or a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.lifecycle import State
from runner.policy import may_control

if TYPE_CHECKING:
    from runner.message_groups import StopGroup
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def stop_group(
    service: Service, peer: Peer, request: StopGroup, _stream: Stream
) -> dict[str, Any]:
    """End the queued jobs of a group of the peer at once, the others with SIGTERM."""
    group = service.find_group(peer, request.group, may_control)
    grace = service.grace(request.grace_seconds, kill=request.kill)
    found = await service.supervisor.stop_group(group, peer.uid, grace)
    queued = sum(state is State.QUEUED for _, state in found)
    return {
        "group": group.id,
        "jobs": len(found),
        "queued": queued,
        "running": len(found) - queued,
    }
