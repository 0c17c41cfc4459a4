"""`wait`: answered when a job has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service


async def wait(
    service: Service, peer: Peer, request: messages.Wait, _stream: Stream
) -> dict[str, Any]:
    """Wait for the end of a job of the peer, or for the time it gave."""
    job = service.find_job(peer, request.job)
    try:
        async with asyncio.timeout(request.timeout_seconds):
            ended = await service.supervisor.wait_ended(job.id)
    except TimeoutError:
        ended = service.supervisor.store.get(job.id)
    if ended is None:
        raise Refusal("no-such-job", field="job", given=job.id, detail="it was removed")
    return service.show(ended)
