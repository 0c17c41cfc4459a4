"""What a job asks of its network, and what that means.

Checks a user's words and says them as `isolation.network.private_host` takes them, for a job that
begins and for one that runs already. Makes nothing; whose turn it is, and where a name is
resolved, is `isolation.network.private`'s.
"""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

from isolation.network import egress, resolver
from isolation.network.errors import PrivateNetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isolation.network.egress import Destination, Permission
    from isolation.network.job_network import JobNetwork
    from isolation.network.published import Publish


class WantedNetwork(NamedTuple):
    """What a job asks of its network.

    `name`: jobs with the same one reach each other; whoever calls makes it one user's.
    `allow_egress`: None for everything, else the texts of `isolation.network.egress`. Bits are a
    second, None without limit. `hostname` is put into the job's /etc/hosts. `owner` is the
    user whose names they are: one user's do not keep another's waiting.
    """

    name: str | None = None
    publish: tuple[Publish, ...] = ()
    allow_egress: tuple[str, ...] | None = None
    egress_bits: int | None = None
    ingress_bits: int | None = None
    hostname: str | None = None
    owner: int = 0


def parsed(wanted: WantedNetwork) -> list[Destination] | None:
    """Where it may connect to, None for everything. Raises PrivateNetworkError."""
    try:
        for entry in wanted.publish:
            IPv4Address(entry.at or "0.0.0.0")  # noqa: S104  nothing is bound here
        if wanted.allow_egress is None:
            return None
        return [egress.parse(text) for text in wanted.allow_egress]
    except ValueError as error:
        raise PrivateNetworkError(errno.EINVAL, "make a private network", str(error)) from error


def job_network(wanted: WantedNetwork, permissions: tuple[Permission, ...] | None) -> JobNetwork:
    """The words of `isolation.network.private_host` for it."""
    from isolation.network.job_network import JobNetwork
    from isolation.network.nft_rules import network_id

    return JobNetwork(
        None if wanted.name is None else network_id(wanted.name),
        wanted.publish,
        None if permissions is None else lambda: permissions,
        wanted.egress_bits,
        wanted.ingress_bits,
    )


def again(running: Mapping[str, WantedNetwork]) -> dict[str, JobNetwork]:
    """Of jobs that run already; names are resolved only if the kernel forgot what they mean."""
    return {
        job_id: job_network(wanted, None)._replace(permissions=_later(wanted))
        for job_id, wanted in running.items()
    }


def _later(wanted: WantedNetwork) -> Callable[[], tuple[Permission, ...]] | None:
    if wanted.allow_egress is None:
        return None

    def permissions() -> tuple[Permission, ...]:
        destinations = parsed(wanted) or []
        resolved = resolver.resolve(egress.host_names(destinations))
        return tuple(egress.permissions(destinations, resolved))

    return permissions
