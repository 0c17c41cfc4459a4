"""`list`: one page of jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from runner import views
from runner.lifecycle import State
from runner.server.pages import Page
from runner.server.whose import selected

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.connection import Stream
    from runner.server.service import Service
    from runner.supervisor import Supervisor

# After so many others have their turn.
_AT_ONCE: Final = 50


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
    page = Page()
    for number, job in enumerate(jobs):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        if not page.add(_shown(service.supervisor, job)):
            following = jobs[number - 1].seq
            break
    return {"jobs": page.entries, "next": following}


def _shown(supervisor: Supervisor, job: Job) -> dict[str, Any]:
    waits_for = supervisor.cause_of(job.id) if job.state is State.QUEUED else None
    return views.summary(job, labels=supervisor.store.labels([job.id])[job.id], waits_for=waits_for)
