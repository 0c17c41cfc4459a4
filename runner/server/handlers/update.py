"""`update`: change limits of a job, all that are named or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import views
from runner.policy import may_control
from runner.submission import check_output
from runner.surroundings import check_rlimits

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service


async def update(
    service: Service, peer: Peer, request: messages.Update, _stream: Stream
) -> dict[str, Any]:
    """Change limits of a job of the peer; the limits that apply then."""
    job = service.find_job(peer, request.job, may_control)
    asked = request.limits.output_max_bytes
    check_output(asked if isinstance(asked, int) else None, service.config)
    rlimits = request.limits.rlimits
    check_rlimits(rlimits if isinstance(rlimits, dict) else {}, peer, service.admin_gid)
    changed = await service.supervisor.update(job, peer.uid, request.limits)
    return {"job": job.id, "state": changed.state.value, "limits": views.limits(changed)}
