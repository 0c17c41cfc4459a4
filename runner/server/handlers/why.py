"""`why`: what a job waits for, or why it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import stored

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


def why(
    service: Service, peer: Peer, request: message_queue.Why, _stream: Stream
) -> dict[str, Any]:
    """Explain a job of the peer; of others' jobs it is told no ids."""
    job = service.find_job(peer, request.job)
    uid, store = service.visible_to(peer), service.supervisor.store

    def may_know(job_id: str) -> bool:
        other = None if uid is None else store.get(job_id) or store.group(job_id)
        return uid is None or (other is not None and other.submitted_by_uid == uid)

    return {
        "job": job.id,
        "state": job.state.value,
        **service.supervisor.queue.why(job, may_know),
        "result": None if job.result is None else stored.result(job.result),
    }
