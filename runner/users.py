"""Whom a job runs as: the peer itself, or the account that an admin asked for."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple

from runner.policy import Peer, may_run_as
from runner.refusal import Refusal, shown


class Account(NamedTuple):
    """Credentials for a job, and the name that people see."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


def account_of(peer: Peer) -> Account:
    """The peer as it is: its own groups, not those that the user database would give it."""
    return Account(peer.uid, peer.gid, tuple(sorted(peer.groups)), user_name(peer.uid))


def account_for(peer: Peer, user: str | int | None, admin_gid: int | None) -> Account:
    """The account a request asks for. Raises Refusal: unknown, or not permitted."""
    if user is None:
        return account_of(peer)
    entry = _look_up(user)
    decision = may_run_as(peer, entry.pw_uid, admin_gid)
    if not decision:
        raise Refusal("not-permitted", field="user", given=shown(user), detail=decision.why)
    if entry.pw_uid == peer.uid:
        return account_of(peer)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_uid, entry.pw_gid, tuple(sorted(set(groups))), entry.pw_name)


def _look_up(user: str | int) -> pwd.struct_passwd:
    try:
        if isinstance(user, str) and not (user.isascii() and user.isdigit()):
            return pwd.getpwnam(user)
        return pwd.getpwuid(int(user))
    # ValueError: a NUL or text that no encoding has; OverflowError: beyond a uid.
    except (KeyError, ValueError, OverflowError):
        raise Refusal(
            "invalid-argument", field="user", given=shown(user), allowed="a user of this host"
        ) from None


def user_name(uid: int) -> str:
    """The name of a user, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
