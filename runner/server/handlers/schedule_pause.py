"""`schedule_pause`: a schedule is run no more until it is resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.server.scheduled import set_paused

if TYPE_CHECKING:
    from runner.message_schedules import SchedulePause
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def schedule_pause(
    service: Service, peer: Peer, request: SchedulePause, _stream: Stream
) -> dict[str, Any]:
    """Pause a schedule of the peer. Its jobs are left alone."""
    return set_paused(service, peer, request.schedule, paused=True)
