"""`schedule`: a job is to be submitted again and again.

What its runs would be refused for now is refused at once, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from runner import schedule_template
from runner.policy import may_control
from runner.refusal import Refusal, shown
from runner.schedule_rows import NewSchedule
from runner.schedules import calendar_of
from runner.server.scheduled import answer

if TYPE_CHECKING:
    from runner.message_schedules import MakeSchedule
    from runner.messages import Submit
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

_logger: Final = logging.getLogger(__name__)

# Of one user.
MOST_SCHEDULES: Final = 100


async def schedule(
    service: Service, peer: Peer, request: MakeSchedule, _stream: Stream
) -> dict[str, Any]:
    """Keep a schedule of the peer."""
    service.supervisor.refuse_if_ending()
    now_ns = time.time_ns()
    calendar_of(request.every, request.zone, now_ns)
    submission = schedule_template.read(request.submit)
    _check_room(service, peer, request.name)
    await _check_submission(service, peer, submission)
    # From here on nothing is waited for.
    _check_room(service, peer, request.name)
    made = service.supervisor.store.insert_schedule(
        NewSchedule(
            id=str(uuid.uuid4()),
            submitted_by_uid=peer.uid,
            name=request.name,
            every=request.every,
            zone=request.zone,
            missed=request.missed,
            overlap=request.overlap,
            paused=request.paused,
            created_ns=now_ns,
            template=schedule_template.pack(submission, peer),
        )
    )
    service.schedules.put(made)
    _logger.info("schedule %s made by uid %d", made.id, peer.uid)
    return answer(service, made)


def _check_room(service: Service, peer: Peer, name: str | None) -> None:
    """Whether the peer may have another schedule, by that name. Raises Refusal."""
    store = service.supervisor.store
    if store.count_schedules(peer.uid) >= MOST_SCHEDULES:
        raise Refusal(
            "quota-exceeded", given=f"{MOST_SCHEDULES} schedules and one more",
            allowed=f"at most {MOST_SCHEDULES} of one user",
            detail="nobody may have more schedules; remove some (`runctl schedule rm`)",
        )  # fmt: skip
    if name is not None and store.schedule_named(peer.uid, name) is not None:
        allowed = "a name that no other schedule of yours has"
        raise Refusal("invalid-argument", field="name", given=shown(name), allowed=allowed)


async def _check_submission(service: Service, peer: Peer, submission: Submit) -> None:
    """What a run would be refused for now is refused at once. Raises Refusal."""
    runs_as = await asyncio.to_thread(
        schedule_template.peer_now, peer.uid, peer.gid, frozenset(peer.groups)
    )
    find_job = partial(service.find_job, runs_as, may=may_control)
    try:
        await service.submissions.prepare(submission, runs_as, find_job)
    except Refusal as refusal:
        raise schedule_template.of_submission(refusal) from None
