"""What the handlers of schedules share: which one a peer means, and what is answered of it.

Whose schedules a peer sees and changes is decided as for jobs; what it may not is answered as if
there were none.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from runner.policy import may_control
from runner.refusal import Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.policy import Decision, Peer
    from runner.schedule_rows import Schedule
    from runner.server.service import Service

_logger: Final = logging.getLogger(__name__)


def find(
    service: Service,
    peer: Peer,
    text: str,
    may: Callable[[Peer, int, int | None], Decision] = may_control,
) -> Schedule:
    """The one schedule that a peer means. Raises Refusal: none that it may, or several."""
    store = service.supervisor.store
    found = store.find_schedules(text, service.visible_to(peer))
    if found and not found[0].id.startswith(text):
        # A name: one's own, so that nobody can put another under root's hands.
        found = store.find_schedules(text, peer.uid) or found
    if len(found) > 1:
        candidates = [schedule.id for schedule in found]
        raise Refusal(
            "ambiguous-schedule", field="schedule", given=shown(text), candidates=candidates
        )
    if not found or not may(peer, found[0].submitted_by_uid, service.admin_gid):
        raise Refusal("no-such-schedule", field="schedule", given=shown(text))
    return found[0]


def set_paused(service: Service, peer: Peer, text: str, *, paused: bool) -> dict[str, Any]:
    """Pause a schedule or let it go on; the answer. Raises Refusal, StoreError."""
    schedule = find(service, peer, text)
    if schedule.paused != paused:
        # What was due while it was paused was not missed.
        handled_ns = schedule.handled_ns if paused else time.time_ns()
        store = service.supervisor.store
        schedule = store.set_schedule_paused(schedule.id, handled_ns, paused=paused)
        service.schedules.put(schedule)
        done = "paused" if paused else "resumed"
        _logger.info("schedule %s %s by uid %d", schedule.id, done, peer.uid)
    return answer(service, schedule)


def answer(service: Service, schedule: Schedule) -> dict[str, Any]:
    """That it is there, and when it is due."""
    times = service.schedules.next_times(schedule, 1)
    return {
        "schedule": schedule.id,
        "paused": schedule.paused,
        "next_ns": times[0] if times else None,
    }
