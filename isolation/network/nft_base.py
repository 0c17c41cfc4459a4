"""The rules of private networks that all jobs share, as text for nftables.

Pure: who reaches whom is decided here. Rules of single jobs are `isolation.network.nft_rules`'s.
Everything in a script is a number, an address, a name of ours or a hash, never a word of a
user.

Two tables. `bridge` sees each frame that a job sends, before the bridge learns anything
from it, and drops all but IPv4 from the job's own port, hardware address and address. `ip`
translates addresses and decides who reaches whom. A packet has to pass the tables of others
(a firewall of the host) as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network

    from isolation.network.addresses import Names


class Layout(NamedTuple):
    """What the rules that all jobs share depend on."""

    names: Names
    subnet: IPv4Network
    gateway: IPv4Address
    # Nameservers that jobs ask, which may be addresses of this host.
    resolvers: tuple[IPv4Address, ...]
    # The resolver on loopback that the gateway's port 53 leads to.
    forward_to: IPv4Address | None
    # Interfaces that forward only because we asked for it: they are to lead nowhere else.
    opened: tuple[str, ...]


def base(layout: Layout, *, anew: bool) -> str:
    """Both tables without any job. `anew`: whatever they had is dropped, jobs included.

    Otherwise the chains that were made for jobs stay, and all else is written again: the
    elements of every job must follow in the same script (`everything`).
    """
    return _frames(layout, anew=anew) + _packets(layout, anew=anew)


def remove(names: Names, families: Iterable[str]) -> str:
    """Delete the tables of these families."""
    return "\n".join(f"delete table {family} {names.table}" for family in families)


def _frames(layout: Layout, *, anew: bool) -> str:
    table, names = f"bridge {layout.names.table}", layout.names
    return f"""
{_begin(table, anew=anew)}
add set {table} leases {{ type ifname . ether_addr . ipv4_addr; }}
flush set {table} leases
add chain {table} from_port
flush chain {table} from_port
add chain {table} prerouting {{ type filter hook prerouting priority -300; policy accept; }}
flush chain {table} prerouting
add rule {table} from_port iifname . ether saddr . ip saddr @leases accept
add rule {table} from_port counter drop
add rule {table} prerouting iifname "{names.stem}v*" jump from_port
"""


def _begin(table: str, *, anew: bool) -> str:
    """A table that exists, empty when it is made anew."""
    add = f"add table {table}"
    return f"{add}\ndelete table {table}\n{add}" if anew else add


_HOOKS: Final = {
    "raw": "type filter hook prerouting priority -300; policy accept;",
    "prerouting": "type nat hook prerouting priority -100; policy accept;",
    "output": "type nat hook output priority -100; policy accept;",
    "input_source": "type nat hook input priority 100; policy accept;",
    "postrouting": "type nat hook postrouting priority 100; policy accept;",
    "forward": "type filter hook forward priority 0; policy accept;",
    "input": "type filter hook input priority 0; policy accept;",
    "to_jobs": "type filter hook output priority 0; policy accept;",
}
_PLAIN_CHAINS: Final = ("publish", "from_job", "to_job", "to_host", "not_a_router", "refuse")
_MAPS: Final = {
    "networks": "type ipv4_addr : verdict;",
    "restricted": "type ipv4_addr : verdict;",
    "published": "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;",
    "published_everywhere": "type inet_proto . inet_service : ipv4_addr . inet_service;",
}
REFUSE: Final = "goto refuse"
_ANY_PORT: Final = "meta l4proto { tcp, udp } th dport"


def _packets(layout: Layout, *, anew: bool) -> str:
    table = f"ip {layout.names.table}"
    lines = [_begin(table, anew=anew)]
    lines += [f"add set {table} resolvers {{ type ipv4_addr; }}"]
    lines += [f"add set {table} opened {{ type ifname; }}"]
    lines += [f"add map {table} {name} {{ {kind} }}" for name, kind in _MAPS.items()]
    lines += [f"add chain {table} {name}" for name in _PLAIN_CHAINS]
    lines += [f"add chain {table} {name} {{ {hook} }}" for name, hook in _HOOKS.items()]
    lines += [f"flush chain {table} {name}" for name in (*_PLAIN_CHAINS, *_HOOKS)]
    lines += [f"flush set {table} {name}" for name in ("resolvers", "opened")]
    lines += [f"flush map {table} {name}" for name in _MAPS]
    lines += [f"add rule {table} {rule}" for rule in _rules(layout)]
    lines += _elements(table, "resolvers", map(str, layout.resolvers))
    lines += _elements(table, "opened", (f'"{name}"' for name in layout.opened))
    return "\n".join([*lines, ""])


def _elements(table: str, name: str, elements: Iterable[str]) -> list[str]:
    joined = ", ".join(elements)
    return [f"add element {table} {name} {{ {joined} }}"] if joined else []


def _rules(layout: Layout) -> list[str]:
    """Every rule that all jobs share, as "CHAIN RULE"."""
    bridge, subnet = f'"{layout.names.bridge}"', layout.subnet
    return [
        # The host's loopback is reached by what the nat chains lead there, and not otherwise.
        f"raw iifname {bridge} ip daddr 127.0.0.0/8 drop",
        f'raw iifname != {{ {bridge}, "lo" }} ip saddr {subnet} drop',
        *_nat_rules(layout),
        f"forward iifname {bridge} goto from_job",
        f"forward oifname {bridge} goto to_job",
        "forward iifname @opened ct state new goto not_a_router",
        # What is led somewhere by others, such as a container engine, they have decided.
        "not_a_router ct status dnat accept",
        "not_a_router drop",
        # So that programs fail at once. The kernel sends few ICMP errors in a second, and
        # fewer yet to whom it would have shown a shorter way, so TCP gets its own answer.
        "refuse meta l4proto tcp reject with tcp reset",
        "refuse reject with icmp type admin-prohibited",
        *_from_job_rules(bridge),
        "to_job ct status dnat accept",
        "to_job ct direction reply accept",
        f"to_job {REFUSE}",
        f"input iifname {bridge} goto to_host",
        *_to_host_rules(layout),
        # Jobs have one neighbour, the host, which must not tell them of a shorter way.
        f"to_jobs oifname {bridge} icmp type redirect drop",
    ]


def _nat_rules(layout: Layout) -> list[str]:
    bridge, subnet = f'"{layout.names.bridge}"', layout.subnet
    local = "fib daddr type local goto publish"
    # Not for jobs: one that is published is not let in by its neighbours for it.
    outside = f"iifname != {bridge} {local}"
    publish = "publish meta l4proto { tcp, udp } dnat ip to"
    rules = [f"prerouting {rule}" for rule in (*_forwarded_names(layout), outside)]
    rules += [
        f"output {local}",
        f"{publish} ip daddr . meta l4proto . th dport map @published",
        f"{publish} meta l4proto . th dport map @published_everywhere",
        # A program of the host that connects to a published port of 127.0.0.1.
        f"postrouting oifname {bridge} ip saddr 127.0.0.0/8 masquerade",
        f"postrouting oifname != {bridge} ip saddr {subnet} masquerade",
    ]
    if layout.forward_to is not None:
        # A resolver on loopback often answers loopback alone.
        rules.append(
            f"input_source iifname {bridge} ct original ip daddr {layout.gateway} "
            f"{_ANY_PORT} 53 snat to 127.0.0.1"
        )
    return rules


def _forwarded_names(layout: Layout) -> list[str]:
    if layout.forward_to is None:
        return []
    asked = f'iifname "{layout.names.bridge}" ip daddr {layout.gateway} {_ANY_PORT} 53'
    return [f"{asked} dnat to {layout.forward_to}:53"]


def _from_job_rules(bridge: str) -> list[str]:
    """From a job to elsewhere, other jobs included. The order is what matters."""
    return [
        "from_job ct state invalid drop",
        # Answers to whom these rules let in. What a job begins is looked at packet by packet,
        # so that nothing is inherited from the last owner of its address.
        "from_job ct direction reply accept",
        f"from_job oifname {bridge} ip saddr vmap @networks",
        "from_job ip saddr vmap @restricted",
        f"from_job oifname {bridge} {REFUSE}",
        # Where clouds hand out credentials of the machine.
        f"from_job ip daddr 169.254.0.0/16 {REFUSE}",
        "from_job accept",
    ]


def _to_host_rules(layout: Layout) -> list[str]:
    """From a job to the host itself: answers, echo requests and names."""
    rules = [
        "ct direction reply accept",
        "ip saddr vmap @restricted",
        f"ip daddr {layout.gateway} icmp type echo-request accept",
        f"ip daddr @resolvers {_ANY_PORT} 53 accept",
    ]
    if layout.forward_to is not None:
        rules.append(f"ct status dnat ct original ip daddr {layout.gateway} {_ANY_PORT} 53 accept")
    return [f"to_host {rule}" for rule in (*rules, REFUSE)]
