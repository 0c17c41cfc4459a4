"""`wait`: answered when a job has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runner.lifecycle import State
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.service import Answer, Service, Work
    from runner.server.stream import Stream


def wait(service: Service, peer: Peer, request: messages.Wait, _stream: Stream) -> Answer | Work:
    """Wait for the end of a job of the peer, or for the time it gave."""
    job = service.find_job(peer, request.job)
    if job.state is State.ENDED:
        return service.show(job)
    return _wait(service, job, request.timeout_seconds)


async def _wait(service: Service, job: Job, seconds: float | None) -> Answer:
    try:
        async with asyncio.timeout(seconds):
            ended = await service.supervisor.wait_ended(job.id)
    except TimeoutError:
        ended = service.supervisor.store.get(job.id)
    if ended is None:
        raise Refusal("no-such-job", field="job", given=job.id, detail="it was removed")
    return service.show(ended)
