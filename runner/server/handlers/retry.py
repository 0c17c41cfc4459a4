"""`retry`: run a job that has ended once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.group_rows import FAILED, FLOW
from runner.hook_calls import MOST_AT_ONCE
from runner.policy import may_control
from runner.queues import HOOKS
from runner.refusal import Refusal
from runner.server.handlers.submit import check_log_bytes
from runner.submission import check_room
from runner.submission_queue import check_priority, queue_for

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.service import Service
    from runner.server.stream import Stream


async def retry(
    service: Service, peer: Peer, request: message_queue.Retry, _stream: Stream
) -> dict[str, Any]:
    """Queue an ended job of the peer for another attempt.

    What would be refused as a submission is refused here: the configuration and its user's share
    of the disk may be others than they were, and an admin may have given it its place. With a step
    of a flow goes what was skipped for its failure.
    """
    job = service.find_job(peer, request.job, may_control)
    rules = service.submissions.rules
    if job.queue == HOOKS:
        _check_hooks(service, job.submitted_by_uid)
    else:
        check_priority(rules, peer, queue_for(rules, peer, job.queue), job.priority)
    await check_log_bytes(service, job.submitted_by_uid)
    check_room(service.config.state_dir, len(job.spec))
    again = await _again(service, peer, job)
    return {"job": again.id, "state": again.state.value, "attempt": again.attempt}


def _check_hooks(service: Service, uid: int) -> None:
    """Nobody puts a job into their queue, but what is in it may be tried again. Raises Refusal.

    Jobs there are no queued ones of their user, so they have a bound of their own.
    """
    waiting = service.supervisor.store.queued_of(uid) - service.supervisor.queued_of(uid)
    if waiting >= MOST_AT_ONCE:
        raise Refusal(
            "quota-exceeded", given=f"{waiting} queued jobs of hooks and one more",
            allowed=f"at most {MOST_AT_ONCE}", detail="wait until some of them have started",
        )  # fmt: skip


async def _again(service: Service, peer: Peer, job: Job) -> Job:
    """The job as it is then."""
    supervisor = service.supervisor
    group = None if job.group_id is None else supervisor.store.group(job.group_id)
    if group is None or group.kind != FLOW or job.fate != FAILED:
        return await supervisor.retry(job, peer.uid)
    await supervisor.groups.retry_step(group, job, peer)
    return supervisor.store.get(job.id) or job
