"""`prune`: forget many ended jobs at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from runner.refusal import Refusal, shown
from runner.retention import Selection
from runner.server.whose import require, uid_of

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

_logger: Final = logging.getLogger(__name__)


async def prune(
    service: Service, peer: Peer, request: messages.Prune, _stream: Stream
) -> dict[str, Any]:
    """Remove ended jobs of the peer; for an admin of another user, or of everybody."""
    uids = await _whose(service, peer, request)
    selection = Selection(request.older_than_seconds, request.keep)
    found = await service.pruning.prune(uids, selection, peer.uid, dry_run=request.dry_run)
    if not request.dry_run:
        _logger.info(
            "%d ended jobs (%d bytes) of %s removed, asked by uid %d",
            found.jobs, found.bytes, "everybody" if uids is None else f"uid {uids[0]}", peer.uid,
        )  # fmt: skip
    return {"jobs": found.jobs, "bytes": found.bytes, "removed": found.removed}


async def _whose(service: Service, peer: Peer, request: messages.Prune) -> list[int] | None:
    """The users whose jobs are meant, None for everybody's. Raises Refusal."""
    if request.everybody and request.user is not None:
        raise Refusal(
            "invalid-argument", field="user", given=shown(request.user),
            allowed="one of user and everybody",
        )  # fmt: skip
    if request.everybody:
        require(service.is_admin(peer), "everybody", "remove")
        return None
    if request.user is None:
        return [peer.uid]
    return [await uid_of(service, peer, request.user, "user", "remove")]
