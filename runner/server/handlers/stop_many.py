"""`stop_many`: end every job that is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner.lifecycle import State
from runner.refusal import Refusal
from runner.server.whose import selected

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service

# Of those that were stopped; the rest is counted.
MOST_NAMED: Final = 1000


async def stop_many(
    service: Service, peer: Peer, request: message_queue.StopMany, _stream: Stream
) -> dict[str, Any]:
    """Stop jobs of the peer, an admin's: of everybody; or count them."""
    select = await selected(service, peer, request.select, "stop")
    supervisor = service.supervisor
    found = supervisor.store.matching(select, service.visible_to(peer))
    if request.expect not in {None, len(found)}:
        raise Refusal(
            "invalid-argument", field="expect", given=str(request.expect),
            allowed=f"{len(found)}, for so many match now",
        )  # fmt: skip
    queued = sum(state is State.QUEUED for _, state in found)
    if not request.dry_run:
        grace = service.grace(request.grace_seconds, kill=request.kill)
        await supervisor.stop_many(found, peer.uid, grace)
    return {
        "jobs": len(found),
        "queued": queued,
        "running": len(found) - queued,
        "ids": [job_id for job_id, _ in found[:MOST_NAMED]],
    }
