"""What a job's network is asked to be, and what comes of it: the words of two modules.

`isolation.network.private` says what a request means with them, `isolation.network.private_host`
does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

    from isolation.network.egress import Permission
    from isolation.network.errors import PrivateNetworkError
    from isolation.network.published import Publish


class JobNetwork(NamedTuple):
    """What a job's network is to be, checked.

    `permissions` None: it may connect anywhere. Else what it may connect to; called when
    needed, because after a restart it resolves names: may block, PrivateNetworkError.
    """

    network: str | None = None
    published: tuple[Publish, ...] = ()
    permissions: Callable[[], tuple[Permission, ...]] | None = None
    egress_bits: int | None = None
    ingress_bits: int | None = None


class Attached(NamedTuple):
    """A network that a job can enter by the descriptor, which whoever asked for it closes."""

    fd: int
    address: IPv4Address
    gateway: IPv4Address


class Leaving(NamedTuple):
    """A network without rules, whose link goes with the last process that is in it.

    `failure`: its rules could not be removed; they are before another network is made.
    """

    name: str
    address: IPv4Address
    failure: PrivateNetworkError | None = None
