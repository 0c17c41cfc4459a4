"""`remove_group`: forget an array or a flow that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner.message_groups import RemoveGroup
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def remove_group(
    service: Service, peer: Peer, request: RemoveGroup, _stream: Stream
) -> dict[str, Any]:
    """Remove a group of the peer with its jobs and their output."""
    group = service.find_group(peer, request.group, may_control)
    jobs = await service.supervisor.groups.remove(group, peer.uid)
    return {"group": group.id, "jobs": jobs}
