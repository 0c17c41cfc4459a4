"""`schedule_status`: everything of one schedule but the environment of its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner import schedule_views
from runner.policy import may_see
from runner.server.scheduled import find

if TYPE_CHECKING:
    from runner.message_schedules import ScheduleStatus
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

_NEXT_TIMES: Final = 5


async def schedule_status(
    service: Service, peer: Peer, request: ScheduleStatus, _stream: Stream
) -> dict[str, Any]:
    """Show a schedule that the peer may see."""
    found = find(service, peer, request.schedule, may_see)
    times = service.schedules.next_times(found, _NEXT_TIMES)
    template = service.supervisor.store.schedule_template(found.id)
    return schedule_views.status(found, times, template)
