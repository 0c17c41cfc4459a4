"""`hold_group`: keep the queued jobs of an array or a flow from starting, or no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner.message_groups import HoldGroup
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def hold_group(
    service: Service, peer: Peer, request: HoldGroup, _stream: Stream
) -> dict[str, Any]:
    """Hold or release the jobs of a group of the peer; what an admin holds only an admin."""
    group = service.find_group(peer, request.group, may_control)
    groups = service.supervisor.groups
    if request.held:
        jobs = await groups.hold(group, peer.uid)
    else:
        jobs = await groups.release(group, peer.uid, is_admin=service.is_admin(peer))
    return {"group": group.id, "jobs": jobs, "held": request.held}
