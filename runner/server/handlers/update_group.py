"""`update_group`: how many jobs of an array or a flow run at once, and their priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control

if TYPE_CHECKING:
    from runner.message_groups import UpdateGroup
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def update_group(
    service: Service, peer: Peer, request: UpdateGroup, _stream: Stream
) -> dict[str, Any]:
    """Change a group of the peer; what it is then, and how many jobs have another priority."""
    group = service.find_group(peer, request.group, may_control)
    changed, jobs = await service.supervisor.groups.update(group, peer, request)
    return {"group": group.id, "max_running": changed.max_running, "jobs": jobs}
