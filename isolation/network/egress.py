"""Where a job may connect to: the words of `--allow-egress`, parsed and made into rules.

Pure. A destination is an address, a network or a host name, with an optional port or range
of ports and then an optional protocol: `10.0.0.0/8`, `10.0.0.0/8:443`, `example.org:443`,
`192.0.2.7:8000-8080/tcp`. Names become addresses in `isolation.network.resolver`.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MOST_PORT: Final = 65535
_MOST_NAME: Final = 253
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
# A name whose last label is a number is read as an address by everything else.
_LOOKS_NUMERIC: Final = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\.?")
_PORTS: Final = re.compile(r"(?P<first>[0-9]{1,5})(-(?P<last>[0-9]{1,5}))?(/(?P<protocol>.*))?")


class Ports(NamedTuple):
    """Ports from `first` to `last`, both included; `protocol` None means tcp and udp."""

    first: int
    last: int
    protocol: str | None = None


class Destination(NamedTuple):
    """One of `network` and `host` is set. `ports` None: everything, of any protocol."""

    network: IPv4Network | None
    host: str | None
    ports: Ports | None


def parse(text: str) -> Destination:
    """One destination. Raises ValueError with a clause that says what is wrong with it."""
    if text.startswith("[") or text.count(":") > 1:
        raise ValueError(f"{text!r} is IPv6, and private networks have IPv4 only")
    where, colon, ports = text.partition(":")
    found = _ports(text, ports) if colon else None
    if "/" in where or _LOOKS_NUMERIC.fullmatch(where):
        return Destination(_network(text, where), None, found)
    return Destination(None, _name(text, where), found)


def _network(text: str, where: str) -> IPv4Network:
    try:
        network = ipaddress.IPv4Network(where, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} has no valid IPv4 address or network in it") from None
    address, slash, length = where.partition("/")
    if slash and not length.isdecimal():
        raise ValueError(f"{text!r} needs a prefix length such as /24, not a mask")
    if str(network.network_address) != address:
        raise ValueError(f"{text!r} is no network: its first address would be {network}")
    return network


def _name(text: str, where: str) -> str:
    if "*" in where:
        raise ValueError(f"{text!r} has a wildcard, and only whole host names can be allowed")
    if not where or len(where) > _MOST_NAME or not _NAME.fullmatch(where):
        raise ValueError(f"{text!r} has no valid host name in it")
    name = where.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        raise ValueError(f"{text!r} is the job itself, which needs no permission")
    return name


def _ports(text: str, ports: str) -> Ports:
    match = _PORTS.fullmatch(ports)
    if match is None:
        allowed = "such as :443, :8000-8080 or :53/udp"
        raise ValueError(f"{text!r} has no valid port after the colon, {allowed}")
    first = int(match["first"])
    last = first if match["last"] is None else int(match["last"])
    if not 1 <= first <= last <= _MOST_PORT:
        raise ValueError(f"{text!r} has ports that are not between 1 and 65535, low to high")
    if match["protocol"] not in {None, "tcp", "udp"}:
        raise ValueError(f"{text!r} has a protocol that is neither tcp nor udp")
    return Ports(first, last, match["protocol"])


def host_names(destinations: Iterable[Destination]) -> list[str]:
    """The names that must be resolved, each once, in order."""
    return list(dict.fromkeys(where.host for where in destinations if where.host is not None))


class Permission(NamedTuple):
    """Everything in `networks`, at `ports` or at all. No two of the networks overlap."""

    networks: tuple[IPv4Network, ...]
    ports: Ports | None


def permissions(
    destinations: Iterable[Destination], resolved: Mapping[str, Sequence[str]]
) -> list[Permission]:
    """What the destinations come to, one for each set of ports.

    `resolved` has the IPv4 addresses of each host name; KeyError when one is missing.
    """
    grouped: dict[Ports | None, list[IPv4Network]] = {}
    for destination in destinations:
        networks = grouped.setdefault(destination.ports, [])
        if destination.network is not None:
            networks.append(destination.network)
        elif destination.host is not None:
            networks.extend(IPv4Network(address) for address in resolved[destination.host])
    return [
        Permission(tuple(ipaddress.collapse_addresses(networks)), ports)
        for ports, networks in grouped.items()
        if networks
    ]
