"""The rules of single jobs in private networks, as text for nftables.

Pure. What all jobs share is `isolation.network.nft_base`'s; a job adds elements to the maps there,
and chains with what it may connect to and who its network's members are. Everything in a
script is a number, an address, a name of ours or a hash, never a word of a user.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.network.addresses import hardware_address
from isolation.network.nft_base import REFUSE, base

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network

    from isolation.network.addresses import Names
    from isolation.network.egress import Permission, Ports
    from isolation.network.nft_base import Layout
    from isolation.network.published import Publish

_NETWORK_DIGITS: Final = 16
_EGRESS: Final = "egress_"
_NETWORK: Final = "network_"
_MEMBERS: Final = "members_"


class Port(NamedTuple):
    """A job's place: all that its rules are keyed by."""

    offset: int
    address: IPv4Address
    network: str | None
    published: tuple[Publish, ...]
    # None: everything; else what may be connected to, and nothing else.
    permissions: tuple[Permission, ...] | None
    # The kernel has the permissions in a chain already, and they are not known here.
    has_chain: bool = False


def network_id(name: str) -> str:
    """What a named network is called in rules: a hash, because the name is a user's."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_NETWORK_DIGITS]


def egress_chain(offset: int) -> str:
    """The chain with what a restricted job may connect to."""
    return f"{_EGRESS}{offset:x}"


def is_made_for_jobs(chain: str) -> bool:
    """Whether a chain of our table is a job's permissions, or a network's."""
    return chain.startswith((_EGRESS, _NETWORK))


def everything(layout: Layout, ports: Sequence[Port], chains: Iterable[str], *, anew: bool) -> str:
    """The tables with exactly these jobs. `chains` are those of `is_made_for_jobs` now."""
    there = [] if anew else sorted(chains)
    table, names = f"ip {layout.names.table}", layout.names
    in_use = {egress_chain(port.offset) for port in ports if port.permissions is not None}
    in_use |= {f"{_NETWORK}{port.network}" for port in ports if port.network is not None}
    lines = [f"flush set {table} {_members(chain)}" for chain in there if _is_network(chain)]
    parts = [base(layout, anew=anew), *lines, *(plug(names, port) for port in ports)]
    for chain in there:
        if chain not in in_use:
            parts += _drop_chain(table, chain)
    return "\n".join([*parts, ""])


def _is_network(chain: str) -> bool:
    return chain.startswith(_NETWORK)


def _members(chain: str) -> str:
    return _MEMBERS + chain.removeprefix(_NETWORK)


def plug(names: Names, port: Port) -> str:
    """Let a job in."""
    lines = [f"add element bridge {names.table} leases {{ {_lease(names, port)} }}"]
    table = f"ip {names.table}"
    if port.network is not None:
        lines += _join(table, port, port.network)
    if port.permissions is not None:
        lines += [] if port.has_chain else _permit(table, port)
        chain = egress_chain(port.offset)
        lines.append(f"add element {table} restricted {{ {port.address} : jump {chain} }}")
    for entry in port.published:
        key, name = _published(entry)
        lines.append(f"add element {table} {name} {{ {key} : {port.address} . {entry.port} }}")
    return "\n".join([*lines, ""])


def unplug(names: Names, port: Port, *, last_of_network: bool) -> str:
    """Take away what `plug` gave."""
    lines = [f"delete element bridge {names.table} leases {{ {_lease(names, port)} }}"]
    table = f"ip {names.table}"
    for entry in port.published:
        key, name = _published(entry)
        lines.append(f"delete element {table} {name} {{ {key} }}")
    if port.network is not None:
        lines += _leave(table, port, port.network, last=last_of_network)
    if port.permissions is not None:
        lines.append(f"delete element {table} restricted {{ {port.address} }}")
        lines += _drop_chain(table, egress_chain(port.offset))
    return "\n".join([*lines, ""])


def _drop_chain(table: str, chain: str) -> list[str]:
    """Delete a chain that nothing leads to, and what only it needs."""
    lines = [f"flush chain {table} {chain}", f"delete chain {table} {chain}"]
    return [*lines, f"delete set {table} {_members(chain)}"] if _is_network(chain) else lines


def _lease(names: Names, port: Port) -> str:
    return f'"{names.port(port.offset)}" . {hardware_address(port.address)} . {port.address}'


def _join(table: str, port: Port, network: str) -> list[str]:
    chain, members = f"{_NETWORK}{network}", f"{_MEMBERS}{network}"
    return [
        f"add set {table} {members} {{ type ipv4_addr; }}",
        f"add chain {table} {chain}",
        f"flush chain {table} {chain}",
        f"add rule {table} {chain} ip daddr @{members} accept",
        f"add element {table} {members} {{ {port.address} }}",
        f"add element {table} networks {{ {port.address} : jump {chain} }}",
    ]


def _leave(table: str, port: Port, network: str, *, last: bool) -> list[str]:
    lines = [
        f"delete element {table} networks {{ {port.address} }}",
        f"delete element {table} {_MEMBERS}{network} {{ {port.address} }}",
    ]
    return [*lines, *_drop_chain(table, f"{_NETWORK}{network}")] if last else lines


def _permit(table: str, port: Port) -> list[str]:
    chain = egress_chain(port.offset)
    rules = [
        # Not "accept": a permission narrows what a private network may reach, and opens nothing.
        f"{_at_ports(each.ports)}{_to(each.networks)} return"
        for each in port.permissions or ()
    ]
    return [
        f"add chain {table} {chain}",
        f"flush chain {table} {chain}",
        *(f"add rule {table} {chain} {rule}" for rule in (*rules, REFUSE)),
    ]


def _to(networks: Sequence[IPv4Network]) -> str:
    return f"ip daddr {{ {', '.join(map(str, networks))} }}"


def _at_ports(ports: Ports | None) -> str:
    if ports is None:
        return ""
    protocols = "{ tcp, udp }" if ports.protocol is None else ports.protocol
    return f"meta l4proto {protocols} th dport {ports.first}-{ports.last} "


def _published(entry: Publish) -> tuple[str, str]:
    """The key of a published port, and the map that it is in."""
    key = f"{entry.protocol} . {entry.host_port}"
    if entry.at is None:
        return key, "published_everywhere"
    return f"{entry.at} . {key}", "published"
