"""`wait_group`: answered when every job of an array or a flow has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runner import group_views, views
from runner.refusal import Refusal
from runner.server import grouped

if TYPE_CHECKING:
    from runner.group_rows import Group
    from runner.message_groups import WaitGroup
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def wait_group(
    service: Service, peer: Peer, request: WaitGroup, _stream: Stream
) -> dict[str, Any]:
    """Wait for the end of a group of the peer, or for the time it gave."""
    group = service.find_group(peer, request.group)
    try:
        async with asyncio.timeout(request.timeout_seconds):
            ended = await service.supervisor.groups.wait_ended(group.id)
    except TimeoutError:
        ended = service.supervisor.store.group(group.id)
    if ended is None:
        raise Refusal("no-such-job", field="group", given=group.id, detail="it was removed")
    async with service.breaths.of(peer.uid):
        return {**grouped.summary(service, ended), "failed": _failed(service, ended)}


def _failed(service: Service, group: Group) -> dict[str, Any] | None:
    """The first of its jobs that failed."""
    job = service.supervisor.store.first_failed(group.id) if group.failed else None
    return None if job is None else group_views.failed(views.summary(job))
