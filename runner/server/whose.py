"""Whose jobs a request means, and which of them: users by name, members their own alone.

Handlers that act on many jobs at once ask here; of one job, `Service.find_job`.
"""

from __future__ import annotations

import asyncio
import pwd
from typing import TYPE_CHECKING

from runner.lifecycle import State
from runner.policy import MAX_UID
from runner.refusal import Refusal, shown
from runner.rows import Selection
from runner.users import user_name

if TYPE_CHECKING:
    from runner.message_queue import Select
    from runner.policy import Peer
    from runner.server.service import Service


async def selected(service: Service, peer: Peer, select: Select, act: str) -> Selection:
    """A request's `select` with its user and its group looked up. Raises Refusal.

    It bounds what an admin means; a member's own uid has to bound the rest as everywhere.
    `act` is what is to be done with jobs: "see", "stop".
    """
    user = select.user
    uid = None if user is None else await uid_of(service, peer, user, "select.user", act)
    return selection(service, peer, select, uid)


def selection(service: Service, peer: Peer, select: Select, uid: int | None) -> Selection:
    """The same, its user's number known, None where it names none. Raises Refusal."""
    text = select.group
    group = None if text is None else service.find_group(peer, text, field="select.group")
    return Selection(
        queue=select.queue,
        uid=uid,
        name=select.name,
        labels=tuple(select.labels.items()),
        states=None if select.states is None else tuple(State(name) for name in select.states),
        group_id=None if group is None else group.id,
    )


async def uid_of(service: Service, peer: Peer, user: str | int, field: str, act: str) -> int:
    """The number of a user whose jobs the peer may act on. Raises Refusal."""
    if str(user) == str(peer.uid):
        return peer.uid
    # Names may come from far away (nsswitch.conf(5)): not in the loop, and of others only for
    # who may act on their jobs.
    if service.is_admin(peer):
        return await asyncio.to_thread(_look_up, user, field)
    require(user == await asyncio.to_thread(user_name, peer.uid), field, act)
    return peer.uid


def require(permitted: bool, field: str, act: str) -> None:  # noqa: FBT001 - what it is about
    """Raises Refusal (`not-permitted`) unless so."""
    if not permitted:
        detail = f"only root and the admin group {act} jobs of others"
        raise Refusal("not-permitted", field=field, detail=detail)


def _look_up(user: str | int, field: str) -> int:
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
            "invalid-argument", field=field, given=shown(user),
            allowed=f"a user of this host, or a number from 0 to {MAX_UID}",
        )  # fmt: skip
    return number
