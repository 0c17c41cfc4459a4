"""What the host's own network says and lets be changed: routes, forwarding, /proc/sys/net.

Reads and writes files of /proc only, for the network namespace of the calling thread. What
of it is changed, and when it is put back, is decided in `isolation.network.private_host`.
"""

from __future__ import annotations

import sys
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYSCTL: Final = "/proc/sys/net"
# The calling thread's namespace; /proc/net would be the main thread's.
_ROUTES: Final = "/proc/thread-self/net/route"
_DEFAULT_MTU: Final = 1500
_LEAST_MTU: Final = 576


class Route(NamedTuple):
    """A line of the host's main IPv4 routing table."""

    interface: str
    network: IPv4Network


def parse_routes(text: str) -> list[Route]:
    """The table in the format of /proc/net/route: addresses in hex, in the host's order."""
    lines = (line.split() for line in text.splitlines()[1:])
    return [Route(f[0], _network(f[1], f[7])) for f in lines if len(f) > 7]  # noqa: PLR2004


def _network(address: str, mask: str) -> IPv4Network:
    length = int(mask, 16).bit_count()
    return IPv4Network((int.from_bytes(bytes.fromhex(address), _OTHER_ORDER), length))


# A big-endian number was read as one of this machine's order and printed.
_OTHER_ORDER: Final = "little" if sys.byteorder == "little" else "big"


def routes() -> list[Route]:
    """The main IPv4 routing table. Raises OSError."""
    with open(_ROUTES, encoding="ascii") as file:
        return parse_routes(file.read())


def colliding(table: Iterable[Route], subnet: IPv4Network, own: str) -> Route | None:
    """A route, other than a default one or those of interface `own`, that overlaps `subnet`."""
    for route in table:
        if route.interface != own and route.network.prefixlen and route.network.overlaps(subnet):
            return route
    return None


def uplinks(table: Iterable[Route], own: str) -> list[str]:
    """The interfaces that lead elsewhere, each once."""
    found = dict.fromkeys(route.interface for route in table)
    return [name for name in found if name not in {own, "lo"}]


def mtu(table: Iterable[Route]) -> int:
    """That of the interface with the default route, when it is smaller than Ethernet's."""
    for route in table:
        if not route.network.prefixlen:
            try:
                with open(f"/sys/class/net/{route.interface}/mtu", encoding="ascii") as file:
                    return max(_LEAST_MTU, min(_DEFAULT_MTU, int(file.read())))
            except (OSError, ValueError):
                break
    return _DEFAULT_MTU


def write(name: str, value: str) -> None:
    """Set one, such as "ipv4/conf/lo/forwarding". Raises OSError, which has the path."""
    with open(f"{_SYSCTL}/{name}", "w", encoding="ascii") as file:
        file.write(value)


def write_if_there(name: str, value: str) -> None:
    """As `write`; nothing happens on a kernel without it (one without IPv6, for instance)."""
    try:
        write(name, value)
    except FileNotFoundError:
        return


def read(name: str) -> str:
    """The value of one. Raises OSError."""
    with open(f"{_SYSCTL}/{name}", encoding="ascii") as file:
        return file.read().strip()


def forwards(interface: str) -> bool:
    """Whether packets that come in by the interface may be sent on. False when it is gone."""
    try:
        return read(f"ipv4/conf/{interface}/forwarding") == "1"
    except OSError:
        return False


def forwards_everything() -> bool:
    """Whether the whole host is a router (net.ipv4.ip_forward)."""
    return read("ipv4/ip_forward") == "1"


def without_ipv6(interface: str) -> None:
    """Give an interface no IPv6 address, ever. Raises OSError."""
    write_if_there(f"ipv6/conf/{interface}/disable_ipv6", "1")
