"""`schedule_run`: a schedule is run once now, as its own user, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.server.scheduled import find

if TYPE_CHECKING:
    from runner.message_schedules import ScheduleRun
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def schedule_run(
    service: Service, peer: Peer, request: ScheduleRun, _stream: Stream
) -> dict[str, Any]:
    """Submit a run that is for no time of the calendar."""
    found = find(service, peer, request.schedule)
    job = await service.schedules.run_now(found)
    return {"schedule": found.id, "job": job.id}
