"""`schedule_resume`: a paused schedule goes on, from now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.server.scheduled import set_paused

if TYPE_CHECKING:
    from runner.message_schedules import ScheduleResume
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def schedule_resume(
    service: Service, peer: Peer, request: ScheduleResume, _stream: Stream
) -> dict[str, Any]:
    """Let a paused schedule of the peer go on."""
    return set_paused(service, peer, request.schedule, paused=False)
