"""`stop_many`: end every job that is meant."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from runner.lifecycle import State
from runner.refusal import Refusal
from runner.server.whose import selected

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.rows import Selection
    from runner.server.service import Service
    from runner.server.stream import Stream

# Of those that were stopped; the rest is counted.
MOST_NAMED: Final = 1000


async def stop_many(
    service: Service, peer: Peer, request: message_queue.StopMany, _stream: Stream
) -> dict[str, Any]:
    """Stop jobs of the peer, an admin's: of everybody; or count them."""
    select = await selected(service, peer, request.select, "stop")
    listed = partial(_listed, service, peer, select, request.expect)
    grace = service.grace(request.grace_seconds, kill=request.kill)
    stop = service.supervisor.stop_many
    found = listed() if request.dry_run else await stop(listed, peer.uid, grace)
    queued = sum(state is State.QUEUED for _, state in found)
    return {
        "jobs": len(found),
        "queued": queued,
        "running": len(found) - queued,
        "ids": [job_id for job_id, _ in found[:MOST_NAMED]],
    }


def _listed(
    service: Service, peer: Peer, select: Selection, expect: int | None
) -> list[tuple[str, State]]:
    """The jobs that are meant now. Raises Refusal where they are not as many as expected."""
    found = service.supervisor.store.matching(select, service.visible_to(peer))
    if expect not in {None, len(found)}:
        raise Refusal(
            "invalid-argument", field="expect", given=str(expect),
            allowed=f"{len(found)}, for so many match now",
        )  # fmt: skip
    return found
