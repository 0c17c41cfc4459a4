"""`list`: one page of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import views
from runner.lifecycle import State
from runner.server.whose import selected

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job
    from runner.scheduling.kinds import Cause
    from runner.server.connection import Stream
    from runner.server.service import Service
    from runner.supervisor import Supervisor


async def list_jobs(
    service: Service, peer: Peer, request: messages.List, _stream: Stream
) -> dict[str, Any]:
    """Show the jobs that the peer may see and means, newest first."""
    select = await selected(service, peer, request.select, "see")
    store = service.supervisor.store
    jobs, following = store.list_jobs(
        submitted_by_uid=service.visible_to(peer),
        include_ended=request.ended,
        limit=request.limit,
        before=request.before,
        select=select,
    )
    labels = store.labels([job.id for job in jobs])
    shown = [
        views.summary(job, labels=labels[job.id], waits_for=_waits_for(service.supervisor, job))
        for job in jobs
    ]
    return {"jobs": shown, "next": following}


def _waits_for(supervisor: Supervisor, job: Job) -> Cause | None:
    return supervisor.cause_of(job.id) if job.state is State.QUEUED else None
