"""Whom a job runs as: the peer itself, or the account that an admin asked for.

Asks the user database (nsswitch.conf(5)), which may be far away: not for the event loop, but for
`remembered_account`.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from typing import Final, NamedTuple

from runner.policy import MAX_UID, Peer, is_admin, may_run_as
from runner.refusal import Refusal, shown

_USERS: Final = "/etc/passwd"
# How long a name that was looked up counts, unless that file changes before.
NAME_SECONDS: Final = 10.0
_MOST_NAMES: Final = 1024


class Account(NamedTuple):
    """Credentials for a job, and the name that people see."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str


def account_of(peer: Peer) -> Account:
    """The peer as it is: its own groups, not those that the user database would give it."""
    return _account(peer, user_name(peer.uid))


def _account(peer: Peer, name: str) -> Account:
    return Account(peer.uid, peer.gid, tuple(sorted(peer.groups)), name)


def account_for(peer: Peer, user: str | int | None, admin_gid: int | None) -> Account:
    """The account a request asks for. Raises Refusal: unknown, or not permitted."""
    if user is None:
        return account_of(peer)
    entry = _look_up(user, "user")
    decision = may_run_as(peer, entry.pw_uid, admin_gid)
    if not decision:
        raise Refusal("not-permitted", field="user", given=shown(user), detail=decision.why)
    if entry.pw_uid == peer.uid:
        return account_of(peer)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_uid, entry.pw_gid, tuple(sorted(set(groups))), entry.pw_name)


def acted_for(user: str | int, gateway: Peer, origin: str) -> Peer:
    """A user as whom the gateway is to act, with all its groups. Raises Refusal: unknown.

    Whether it may is for `runner.policy` to decide.
    """
    field = "act_for.user"
    entry = _look_up(user, field)
    try:
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    except OSError as error:
        raise Refusal(
            "not-now", field=field, given=shown(user),
            detail=f"the user database of this host does not say its groups: {error.strerror}",
        ) from None  # fmt: skip
    return Peer(
        uid=entry.pw_uid, gid=entry.pw_gid, groups=frozenset(groups), pid=gateway.pid, origin=origin
    )


def uid_named(name: str) -> int | None:
    """The number of a user, as a configuration names it; None when there is no such user.

    What is a number already needs no account.
    """
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_id(name: str | None) -> int | None:
    """The number of a group; None when there is no such group."""
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def with_group(
    account: Account, group: str | int | None, peer: Peer, admin_gid: int | None
) -> Account:
    """The account with another primary group. Raises Refusal: unknown, or not one of its own."""
    if group is None:
        return account
    gid = _group(group)
    if gid not in (account.gid, *account.groups) and not is_admin(peer, admin_gid):
        why = f"{account.name} is not in this group; only root and the admin group may name others"
        raise Refusal("not-permitted", field="group", given=shown(group), detail=why)
    groups = tuple(sorted({*account.groups, account.gid}))
    return account._replace(gid=gid, groups=groups)


def _group(group: str | int) -> int:
    try:
        if isinstance(group, str) and not (group.isascii() and group.isdigit()):
            return grp.getgrnam(group).gr_gid
        number = int(group)
    except (KeyError, ValueError):
        raise Refusal(
            "invalid-argument", field="group", given=shown(group), allowed="a group of this host"
        ) from None
    if not 0 <= number <= MAX_UID:
        allowed = f"a group's name, or a number from 0 to {MAX_UID}"
        raise Refusal("invalid-argument", field="group", given=shown(group), allowed=allowed)
    return number


def _look_up(user: str | int, field: str) -> pwd.struct_passwd:
    try:
        if isinstance(user, str) and not (user.isascii() and user.isdigit()):
            return pwd.getpwnam(user)
        return pwd.getpwuid(int(user))
    # ValueError: a NUL or text that no encoding has; OverflowError: beyond a uid.
    except (KeyError, ValueError, OverflowError):
        raise Refusal(
            "invalid-argument", field=field, given=shown(user), allowed="a user of this host"
        ) from None


class _Name(NamedTuple):
    name: str
    until: float
    version: tuple[int, int] | None


_names: Final[dict[int, _Name]] = {}


def user_name(uid: int) -> str:
    """The name of a user, or the number of one that has none."""
    known = _remembered(uid)
    if known is not None:
        return known
    # Before it is asked: what changes meanwhile is asked for again.
    version = _version()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    _names[uid] = _Name(name, time.monotonic() + NAME_SECONDS, version)
    return name


def remembered_account(peer: Peer) -> Account | None:
    """`account_of`, if the name is known without asking anybody."""
    name = _remembered(peer.uid)
    return None if name is None else _account(peer, name)


def _remembered(uid: int) -> str | None:
    known = _names.get(uid)
    if known is None or known.until < time.monotonic() or known.version != _version():
        return None
    return known.name


def _version() -> tuple[int, int] | None:
    """Another one once the file of this host's own users was changed."""
    try:
        found = os.stat(_USERS)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
