"""Interfaces, addresses, routes and neighbours as messages, by pyroute2's encoders.

Importing it imports a part of pyroute2 (2 MB): only what makes a private network does.
Nothing is sent here (`network.netlink`) and nothing decided (`network.private_host`).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from isolation.network.netlink import ACK, CREATE, EXCL, REPLACE, REQUEST, Message
from isolation.network.rtnl import ifaddrmsg, ifinfmsg, ndmsg, rtmsg

if TYPE_CHECKING:
    from ipaddress import IPv4Address

# linux/rtnetlink.h
_NEWLINK: Final = 16
_DELLINK: Final = 17
_NEWADDR: Final = 20
_NEWROUTE: Final = 24
_NEWNEIGH: Final = 28
_DELNEIGH: Final = 29
GET_LINKS: Final = 18
_TABLE_MAIN: Final = 254
_PROTOCOL_STATIC: Final = 4
_SCOPE_UNIVERSE: Final = 0
_UNICAST: Final = 1
_ONLINK: Final = 4
_EXCLUSIVE: Final = CREATE | EXCL
# linux/if.h, linux/neighbour.h
_UP: Final = 1
_REACHABLE: Final = 0x02
_NOARP: Final = 0x40
_PERMANENT: Final = 0x80
_OF_MASTER: Final = 0x04

# The first interface of a network namespace, always (net/core/dev.c).
LOOPBACK_INDEX: Final = 1

_ISOLATED_PORT: Final = {
    "attrs": [
        # No frame goes from one such port to another one.
        ("IFLA_BRPORT_ISOLATED", 1),
        # The bridge learns no hardware address from a job, and floods nothing to it.
        ("IFLA_BRPORT_LEARNING", 0),
        ("IFLA_BRPORT_UNICAST_FLOOD", 0),
        ("IFLA_BRPORT_MCAST_FLOOD", 0),
        ("IFLA_BRPORT_BCAST_FLOOD", 0),
    ]
}


class _Encoder(Protocol):
    """A message of pyroute2."""

    data: bytearray

    def __setitem__(self, name: str, value: object) -> None: ...

    def encode(self) -> None: ...


class Link(NamedTuple):
    """An interface of the host; `alias` is what was written on it."""

    number: int
    name: str
    alias: str | None


def links_body() -> bytes:
    """The body of a dump of `GET_LINKS`."""
    return bytes(16)


def parse_link(frame: bytes) -> Link:
    """One message of such a dump."""
    found = ifinfmsg(frame)
    found.decode()
    return Link(found["index"], found.get_attr("IFLA_IFNAME"), found.get_attr("IFLA_IFALIAS"))


def add_bridge(name: str, hardware: str, mtu: int) -> Message:
    """A bridge without spanning tree, whose own hardware address never changes."""
    info = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
    attrs = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", hardware),
        ("IFLA_MTU", mtu),
        ("IFLA_LINKINFO", info),
    ]
    return _link(f"add bridge {name}", _NEWLINK, _EXCLUSIVE, attrs)


def add_ifb(name: str) -> Message:
    """An intermediate device, up, that queues what is redirected to it."""
    info = {"attrs": [("IFLA_INFO_KIND", "ifb")]}
    attrs = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", info)]
    return _link(f"add device {name} (ifb)", _NEWLINK, _EXCLUSIVE, attrs, up=True)


def add_pair(
    name: str, bridge_index: int, mtu: int, peer: tuple[str, str], namespace: int
) -> Message:
    """A link: one end in the bridge, the other in the namespace of a descriptor.

    `peer` is the other end's name and hardware address.
    """
    peer_name, peer_hardware = peer
    other_end = {
        "index": 0,
        "attrs": [
            ("IFLA_IFNAME", peer_name),
            ("IFLA_ADDRESS", peer_hardware),
            ("IFLA_MTU", mtu),
            ("IFLA_NET_NS_FD", namespace),
        ],
    }
    data = {"attrs": [("VETH_INFO_PEER", other_end)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
    attrs = [
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_MASTER", bridge_index),
        ("IFLA_LINKINFO", info),
    ]
    return _link(f"add link {name} (veth)", _NEWLINK, _EXCLUSIVE, attrs)


def isolate_and_raise(index: int, alias: str) -> Message:
    """Make a bridge's port one that reaches no other, write on it, bring it up."""
    slave = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", _ISOLATED_PORT)]
    attrs = [("IFLA_IFALIAS", alias), ("IFLA_LINKINFO", {"attrs": slave})]
    return _link("isolate its port of the bridge", _NEWLINK, 0, attrs, index=index, up=True)


def write_alias(index: int, alias: str) -> Message:
    """Write a text on an interface that whoever lists interfaces can read."""
    return _link(f"write {alias!r} on it", _NEWLINK, 0, [("IFLA_IFALIAS", alias)], index=index)


def bring_up(index: int, name: str) -> Message:
    """Bring an interface up."""
    return _link(f"bring {name} up", _NEWLINK, 0, [], index=index, up=True)


def remove_link(index: int, name: str) -> Message:
    """Delete an interface; of a pair, both ends."""
    return _link(f"remove {name}", _DELLINK, 0, [], index=index)


def add_address(index: int, address: IPv4Address, prefix_length: int) -> Message:
    """Give an interface an address."""
    text = str(address)
    fields = {"family": socket.AF_INET, "prefixlen": prefix_length, "index": index}
    attrs = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    return _message(f"add address {text}", ifaddrmsg(), _NEWADDR, _EXCLUSIVE, fields, attrs)


def default_route(index: int, gateway: IPv4Address) -> Message:
    """Everything goes to the gateway, which is on this link whatever the addresses say."""
    fields = {
        "family": socket.AF_INET,
        "dst_len": 0,
        "table": _TABLE_MAIN,
        "proto": _PROTOCOL_STATIC,
        "scope": _SCOPE_UNIVERSE,
        "type": _UNICAST,
        "flags": _ONLINK,
    }
    attrs = [("RTA_GATEWAY", str(gateway)), ("RTA_OIF", index)]
    return _message("add the default route", rtmsg(), _NEWROUTE, _EXCLUSIVE, fields, attrs)


def neighbour(index: int, address: IPv4Address, hardware: str) -> Message:
    """Say for good which hardware address an address has: nobody is asked."""
    fields = {"family": socket.AF_INET, "ifindex": index, "state": _PERMANENT}
    attrs = [("NDA_DST", str(address)), ("NDA_LLADDR", hardware)]
    flags = CREATE | REPLACE
    return _message(f"add neighbour {address}", ndmsg(), _NEWNEIGH, flags, fields, attrs)


def forget_neighbour(index: int, address: IPv4Address) -> Message:
    """Undo `neighbour`. ENOENT where there is none."""
    fields = {"family": socket.AF_INET, "ifindex": index, "state": 0}
    attrs = [("NDA_DST", str(address))]
    return _message(f"remove neighbour {address}", ndmsg(), _DELNEIGH, 0, fields, attrs)


def forwarding_entry(index: int, hardware: str) -> Message:
    """Say for good behind which port of its bridge a hardware address is."""
    fields = {
        "family": socket.AF_BRIDGE,
        "ifindex": index,
        "state": _NOARP | _REACHABLE,
        "flags": _OF_MASTER,
    }
    attrs = [("NDA_LLADDR", hardware)]
    flags = CREATE | REPLACE
    return _message(f"add {hardware} to the bridge", ndmsg(), _NEWNEIGH, flags, fields, attrs)


def _link(
    what: str,
    kind: int,
    flags: int,
    attrs: list[tuple[str, Any]],
    *,
    index: int = 0,
    up: bool = False,
) -> Message:
    fields = {"family": 0, "index": index, "flags": _UP if up else 0, "change": _UP if up else 0}
    return _message(what, ifinfmsg(), kind, flags, fields, attrs)


def _message(
    what: str,
    made: _Encoder,
    kind: int,
    flags: int,
    fields: dict[str, int],
    attrs: list[tuple[str, Any]],
) -> Message:
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = attrs
    made["header"] = {"type": kind, "flags": flags | REQUEST | ACK, "sequence_number": 0, "pid": 0}
    made.encode()
    return Message(what, bytes(made.data))
