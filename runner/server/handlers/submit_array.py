"""`submit_array`: many jobs that differ in their index alone, committed together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.group_submission import read_array
from runner.server.submitting import accept

if TYPE_CHECKING:
    from runner.message_groups import SubmitArray
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def submit_array(
    service: Service, peer: Peer, request: SubmitArray, _stream: Stream
) -> dict[str, Any]:
    """Accept an array, as the peer or as whom the peer may ask for."""
    return await accept(service, peer, read_array(request, service.config.jobs.max_array))
