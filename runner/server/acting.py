"""Acting for others: for whom the gateway may, looked up on this host, and what it asks for them.

Who may act for whom is decided in `runner.policy`. From the greeting on a connection is that user's
in all respects (`runner.server.answering`); here its requests are told to the log, with the words
of the gateway about who asks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from runner.policy import ROOT_UID, Gateway, Members, Peer, is_admin, may_act, may_act_for
from runner.refusal import Refusal, shown
from runner.users import acted_for, group_id, uid_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.config import Config
    from runner.message_kinds import Closed
    from runner.messages import ActFor
    from runner.policy import Decision
    from runner.server.service import Answer, Work

_logger: Final = logging.getLogger(__name__)

# How long a greeting waits for the user database.
LOOKUP_SECONDS: Final = 10.0
# Lookups of their own threads: a user database that hangs keeps nobody else waiting.
_THREADS: Final = 2
# Operations that change nothing: not worth a line each. What is not named here has one.
READS: Final = frozenset({
    "doctor", "events", "group", "list", "locate", "logs", "queues", "schedule_status", "schedules",
    "stats", "status", "wait", "wait_group", "why",
})  # fmt: skip
# Those that make something, which has no name before.
MAKES: Final = frozenset({"submit", "submit_array", "submit_flow", "schedule"})
# What a request or an answer is about; the name is that of a queue.
_OBJECTS: Final = ("job", "group", "schedule", "name")


class Acting:
    """For whom the gateway may act on this host. One for the daemon, and it never changes."""

    def __init__(self, gateway: Gateway | None, admin_gid: int | None) -> None:
        self._gateway = gateway
        self._admin_gid = admin_gid
        # There once somebody is to be looked up.
        self._threads: ThreadPoolExecutor | None = None

    @classmethod
    def of(cls, config: Config, admin_gid: int | None) -> Self:
        """As configured. Looks up users and groups, which may take a while.

        A name that there is not is warned about, and counts for nobody.
        """
        return cls(_gateway(config, admin_gid), admin_gid)

    def is_gateway(self, peer: Peer) -> bool:
        """Whether the peer is the gateway itself, acting for nobody. Asked for each request."""
        gateway = self._gateway
        return gateway is not None and peer.uid == gateway.uid and bool(may_act(peer, gateway))

    async def peer_for(self, peer: Peer, asked: ActFor) -> Peer:
        """Who the peer is from now on. Raises Refusal: unknown, or not permitted."""
        # Before anybody is looked up: who is not the gateway learns nothing of users.
        _require(may_act(peer, self._gateway), peer, asked)
        target = await self._looked_up(peer, asked)
        _require(may_act_for(peer, target, self._gateway, self._admin_gid), peer, asked)
        _logger.info("uid %d acts for %s: %s", peer.uid, shown(asked.user), who(target))
        return target

    async def _looked_up(self, peer: Peer, asked: ActFor) -> Peer:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "acting")
        look_up = partial(acted_for, asked.user, peer, asked.origin)
        found = asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await found
        except TimeoutError:
            raise Refusal(
                "not-now", field="act_for.user", given=shown(asked.user),
                detail=f"the user database of this host said nothing for {LOOKUP_SECONDS:g} s; "
                "try again",
            ) from None  # fmt: skip


def _require(decision: Decision, peer: Peer, asked: ActFor) -> None:
    if not decision:
        _logger.warning("uid %d may not act for %s, %r: %s",
                        peer.uid, shown(asked.user), asked.origin, decision.why)  # fmt: skip
        raise Refusal("not-permitted", field="act_for", given=shown(asked.user),
                      detail=decision.why)  # fmt: skip


def who(peer: Peer) -> str:
    """A peer for the log: its uid, and of one for whom the gateway acts, in whose words."""
    # Quoted: names in certificates are others' words.
    via = "" if peer.origin is None else f" through the gateway, {peer.origin!r}"
    return f"uid {peer.uid}{via}"


async def told(
    peer: Peer, op: str, request: Closed, ask: Callable[[], Answer | Work]
) -> dict[str, Any]:
    """The answer to a request that the gateway makes for somebody; a line of the log says so."""
    if op not in MAKES:
        _logger.info("%s%s asked by %s", op, _object_of(request), who(peer))
    answer = ask()
    found = answer if isinstance(answer, dict) else await answer
    if op in MAKES:
        made = next((found[name] for name in _OBJECTS if name in found), None)
        _logger.info("%s of %s asked by %s", op, made, who(peer))
    return found


def _object_of(request: Closed) -> str:
    names = (getattr(request, name, None) for name in _OBJECTS)
    named = next((name for name in names if name is not None), None)
    return "" if named is None else f" of {shown(named)}"


def _gateway(config: Config, admin_gid: int | None) -> Gateway | None:
    name = config.gateway.user
    if name is None:
        return None
    uid = uid_named(name)
    if uid is None:
        _logger.warning("gateway.user: there is no user %s; nobody acts for others", name)
        return None
    if uid == ROOT_UID:
        _logger.warning("gateway.user: %s is root by another name; nobody acts for others", name)
        return None
    if _is_admin(uid, admin_gid):
        _logger.warning(
            "gateway.user: %s is in the admin group: whoever gets hold of the gateway is root here",
            name,
        )
    return Gateway(uid=uid, members=_members(config), allow_admins=config.gateway.allow_admins)


def _members(config: Config) -> Members:
    gateway = config.gateway
    groups = gateway.groups
    if groups is None:
        groups = (config.group,) if gateway.users is None else ()
    return Members(
        uids=_numbers("gateway.users", "user", gateway.users or (), uid_named),
        gids=_numbers("gateway.groups", "group", groups, group_id),
    )


def _numbers(
    key: str, kind: str, names: Iterable[str], number_of: Callable[[str], int | None]
) -> frozenset[int]:
    found = {name: number_of(name) for name in names}
    for name, number in found.items():
        if number is None:
            _logger.warning("%s: there is no %s %s", key, kind, name)
    return frozenset(number for number in found.values() if number is not None)


def _is_admin(uid: int, admin_gid: int | None) -> bool:
    try:
        entry = pwd.getpwuid(uid)
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError):
        return False
    return is_admin(Peer(uid=uid, gid=entry.pw_gid, groups=frozenset(groups), pid=0), admin_gid)
