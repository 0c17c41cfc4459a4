"""`schedules`: one page of schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner import schedule_views

if TYPE_CHECKING:
    from runner.message_schedules import Schedules
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

# Of a page, which is one frame: what they run is a part of it.
PAGE_BYTES: Final = 3 * 1024 * 1024


async def schedules(
    service: Service, peer: Peer, request: Schedules, _stream: Stream
) -> dict[str, Any]:
    """Show the schedules that the peer may see, the oldest first."""
    store = service.supervisor.store
    found = store.schedules_after(request.after, request.limit + 1, service.visible_to(peer))
    page: list[dict[str, Any]] = []
    size = last = 0
    for schedule in found:
        template = store.schedule_template(schedule.id)
        size += len(template or b"")
        if page and (len(page) == request.limit or size > PAGE_BYTES):
            return {"schedules": page, "next": last}
        times = service.schedules.next_times(schedule, 1)
        page.append(schedule_views.summary(schedule, times[0] if times else None, template))
        last = schedule.seq
    return {"schedules": page, "next": None}
