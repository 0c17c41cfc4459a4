"""Clients as alice, bob or root, in threads of one process.

The daemon knows a client by the credentials of the thread that connected. Each connection is
made with a user's effective ids and groups in this thread alone: the bare system calls, because
those of the C library change every thread.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from client.api import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.connection import Connection

_libc: Final = ctypes.CDLL(None, use_errno=True)
# x86-64, which is what the guests are.
_SETGROUPS: Final = 116
_SETRESUID: Final = 117
_SETRESGID: Final = 119
_SAME: Final = -1


class Account(NamedTuple):
    """Who somebody is for the kernel."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def account(name: str) -> Account:
    """A user of this machine."""
    entry = pwd.getpwnam(name)
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Account(name, entry.pw_uid, entry.pw_gid, groups)


@contextmanager
def acting_as(who: Account) -> Iterator[None]:
    """This thread's effective ids are that user's meanwhile; it is root's otherwise."""
    if who.uid == 0:
        yield
        return
    before = tuple(os.getgroups())
    _set_groups(who.groups)
    _call(_SETRESGID, _SAME, who.gid, _SAME)
    _call(_SETRESUID, _SAME, who.uid, _SAME)
    try:
        yield
    finally:
        _call(_SETRESUID, _SAME, 0, _SAME)
        _call(_SETRESGID, _SAME, 0, _SAME)
        _set_groups(before)


def _set_groups(groups: tuple[int, ...]) -> None:
    array = (ctypes.c_uint32 * len(groups))(*groups)
    _call(_SETGROUPS, len(groups), array)


def _call(number: int, *arguments: Any) -> None:
    words = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    if _libc.syscall(ctypes.c_long(number), *words) < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}{arguments}")


class UserClient(Client):
    """A `Client` whose connections are a user's."""

    def __init__(self, socket_path: str, who: Account, reconnect_seconds: float) -> None:
        super().__init__(socket_path, reconnect_seconds=reconnect_seconds)
        take = self._pool.take

        def take_as_user() -> Connection:
            with acting_as(who):
                return take()

        cast("Any", self._pool).take = take_as_user

    def request(self, op: str, args: dict[str, Any]) -> dict[str, Any]:
        """Any request, also of an operation that the library does not know yet."""
        return self._request(op, args)
