"""`list`: one page of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import views

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service


async def list_jobs(
    service: Service, peer: Peer, request: messages.List, _stream: Stream
) -> dict[str, Any]:
    """Show the jobs that the peer may see, newest first."""
    jobs, following = service.supervisor.store.list_jobs(
        submitted_by_uid=service.visible_to(peer),
        include_ended=request.ended,
        limit=request.limit,
        before=request.before,
    )
    return {"jobs": [views.summary(job) for job in jobs], "next": following}
