"""`prune`: forget many ended jobs at once."""

from __future__ import annotations

import asyncio
import logging
import pwd
from typing import TYPE_CHECKING, Any, Final

from runner.policy import MAX_UID
from runner.refusal import Refusal, shown
from runner.retention import Selection
from runner.users import user_name

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service

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
        _require(service.is_admin(peer), "everybody")
        return None
    user = request.user
    if user is None or str(user) == str(peer.uid):
        return [peer.uid]
    # Names may come from far away (nsswitch.conf(5)): not in the loop, and of others only for
    # who may remove their jobs.
    if not service.is_admin(peer):
        _require(user == await asyncio.to_thread(user_name, peer.uid), "user")
        return [peer.uid]
    return [await asyncio.to_thread(_uid, user)]


def _require(permitted: bool, field: str) -> None:  # noqa: FBT001 - what it is about
    if not permitted:
        detail = "only root and the admin group remove jobs of others"
        raise Refusal("not-permitted", field=field, detail=detail)


def _uid(user: str | int) -> int:
    """A user's number; one that has no account any more may still have jobs."""
    try:
        if isinstance(user, str) and not (user.isascii() and user.isdigit()):
            return pwd.getpwnam(user).pw_uid
        number = int(user)
    # ValueError: a NUL, text that no encoding has, thousands of digits.
    except (KeyError, ValueError):
        number = -1
    if not 0 <= number <= MAX_UID:
        raise Refusal(
            "invalid-argument", field="user", given=shown(user),
            allowed=f"a user of this host, or a number from 0 to {MAX_UID}",
        )  # fmt: skip
    return number
