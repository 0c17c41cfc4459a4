"""`submit`: a job is checked, committed, and only then answered for.

The same key from the same user gives the same job, however often and from however many
clients at once it is asked for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from runner import submission_queue
from runner.policy import may_control
from runner.submission_queue import key_in_use

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.service import Service
    from runner.server.stream import Stream


async def submit(
    service: Service, peer: Peer, request: messages.Submit, _stream: Stream
) -> dict[str, Any]:
    """Accept a job, as the peer or as whom the peer may ask for."""
    job, existing = await accept(service, peer, request)
    return {"job": job.id, "state": job.state.value, "existing": existing}


async def accept(service: Service, peer: Peer, request: messages.Submit) -> tuple[Job, bool]:
    """The job that a request asks for, and whether it was there before. Raises Refusal."""
    if (found := _found(service, peer, request)) is not None:
        return found, True
    quota = service.submissions.rules.quota_of(peer.uid)
    submission_queue.check_queued(quota, service.supervisor.queued_of(peer.uid))
    await check_log_bytes(service, peer.uid)
    find = partial(service.find_target, peer, may=may_control)
    new = await service.submissions.prepare(request, peer, find)
    # From here on nothing is waited for: nobody comes between what is asked and the commit.
    if (found := _found(service, peer, request)) is not None:
        return found, True
    submission_queue.check_queued(quota, service.supervisor.queued_of(peer.uid))
    return service.supervisor.submit(new), False


def _found(service: Service, peer: Peer, request: messages.Submit) -> Job | None:
    """The job that was submitted with this key before. Raises Refusal: for something else."""
    store, key = service.supervisor.store, request.idempotency_key
    if key is None:
        return None
    if (group := store.keyed_group(peer.uid, key)) is not None:
        raise key_in_use(
            key, f"{group.kind} {group.id}, which is no job, was submitted with this key"
        )
    found = store.keyed(peer.uid, key)
    return None if found is None else submission_queue.same_job(found, request)


async def check_log_bytes(service: Service, uid: int) -> None:
    """Whether what a user's jobs take of the disk leaves room for another. Raises Refusal.

    Ended ones count as they were measured then, those under way as they are now; one that waits
    for another attempt as it was after the last.
    """
    quota = service.submissions.rules.quota_of(uid)
    if quota.max_log_bytes is None:
        return
    store = service.supervisor.store
    sizes = await service.supervisor.sizes.of(store.launched_of(uid))
    unended = {**store.tried_bytes(uid), **sizes}
    size = store.ended.total(uid).bytes + sum(unended.values())
    submission_queue.check_log_bytes(quota, size)
