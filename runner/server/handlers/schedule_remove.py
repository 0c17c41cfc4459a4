"""`schedule_remove`: forget a schedule. Its jobs stay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from runner.server.scheduled import find

if TYPE_CHECKING:
    from runner.message_schedules import ScheduleRemove
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

_logger: Final = logging.getLogger(__name__)


async def schedule_remove(
    service: Service, peer: Peer, request: ScheduleRemove, _stream: Stream
) -> dict[str, Any]:
    """Remove a schedule of the peer."""
    found = find(service, peer, request.schedule)
    service.supervisor.store.remove_schedule(found.id)
    service.schedules.drop(found.id)
    _logger.info("schedule %s removed by uid %d", found.id, peer.uid)
    return {"schedule": found.id}
