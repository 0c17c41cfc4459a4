"""`retry_group`: run once more what failed of an array or a flow, and what came after that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.policy import may_control
from runner.server.handlers.submit import check_log_bytes
from runner.submission import check_room

if TYPE_CHECKING:
    from runner.message_groups import RetryGroup
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def retry_group(
    service: Service, peer: Peer, request: RetryGroup, _stream: Stream
) -> dict[str, Any]:
    """Queue the failed jobs of a group of the peer, as far as `retry` would each: all or none."""
    group = service.find_group(peer, request.group, may_control)
    await check_log_bytes(service, group.submitted_by_uid)
    jobs, _ = service.supervisor.store.members(group.id, -1, 1)
    check_room(service.config.state_dir, sum(len(job.spec) for job in jobs))
    again = await service.supervisor.groups.retry(group, peer)
    return {"group": group.id, "jobs": again}
