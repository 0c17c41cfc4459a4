"""The tables of the configuration that say who asks: clients, and the gateway for others.

Keys, bounds and defaults only, as in `runner.config`, which reads them. Who the gateway's user and
the users it may act for are on this host is found out by `runner.server.acting`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from runner.config_kinds import Kind, group_name, user_name, whole_number, yes_or_no

MOST_NAMES: Final = 1000


def gateway_user() -> Kind:
    """The name of a user that is not root, or its number as text."""
    user = user_name()

    def read(value: object) -> object | None:
        name = user.read(value)
        is_root = name == "root" or (isinstance(name, str) and name.isdecimal() and not int(name))
        return None if is_root else name

    return Kind("the name or number of a user other than root", read)


def names(of: Kind, what: str) -> Kind:
    """A list of names of one kind; `what` they are and an example, for an error."""

    def read(value: object) -> object | None:
        if not isinstance(value, list) or len(value) > MOST_NAMES:
            return None
        return tuple(value) if all(of.read(name) is not None for name in value) else None

    return Kind(f"a list of at most {MOST_NAMES} {what}", read)


class ClientsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[clients]`: who may connect, and how often at once."""

    max_connections: Annotated[int, whole_number(1)] = 512
    max_connections_per_user: Annotated[int, whole_number(1)] = 128
    allow_jobs: Annotated[bool, yes_or_no()] = False


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[gateway]`: who may act for others, and for whom. Without a user: nobody.

    With neither groups nor users the members of the socket's group are meant.
    """

    user: Annotated[str | None, gateway_user()] = None
    groups: Annotated[
        tuple[str, ...] | None, names(group_name(), 'names of groups such as ["runnerd"]')
    ] = None
    users: Annotated[
        tuple[str, ...] | None, names(user_name(), 'names or numbers of users such as ["alice"]')
    ] = None
    allow_admins: Annotated[bool, yes_or_no()] = False
