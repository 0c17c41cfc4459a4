"""`submit_flow`: jobs that need each other, committed together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.group_submission import read_flow
from runner.server.submitting import accept

if TYPE_CHECKING:
    from runner.message_groups import SubmitFlow
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def submit_flow(
    service: Service, peer: Peer, request: SubmitFlow, _stream: Stream
) -> dict[str, Any]:
    """Accept a flow, each step as the peer or as whom the peer may ask for."""
    return await accept(service, peer, await read_flow(request))
