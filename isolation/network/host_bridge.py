"""The bridge that private networks hang on, and what of the host is changed for it.

The bridge exists while jobs need it. A job has one neighbour on it, the host: what jobs send
to each other is routed, so that the rules see it. Packets are forwarded from the bridge and
from the interfaces that lead elsewhere; those that did not forward before are remembered and
put back, and rules keep the host from becoming a router between them.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final

from isolation.network import host_network
from isolation.network import links as network_links
from isolation.network.addresses import hardware_address
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.netlink import NetlinkRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address

    from isolation.network.addresses import Names
    from isolation.network.links import Link
    from isolation.network.netlink import Message, Netlink

_ALIAS: Final = "runnerd "


def index_of(name: str) -> int | None:
    """The number of an interface of the calling thread's namespace; None when it is not there."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def send(netlink: Netlink, *messages: Message) -> None:
    """`Netlink.send`, with errors for people. Raises PrivateNetworkError."""
    try:
        netlink.send(*messages)
    except NetlinkRefusedError as error:
        raise from_os_error(error, error.what, remedy_for(error.errno)) from error
    except OSError as error:
        raise from_os_error(error, "talk to the kernel's network") from error


def send_anyway(netlink: Netlink, message: Message) -> None:
    """`send`, for what removes something that may be gone already."""
    try:
        send(netlink, message)
    except PrivateNetworkError as error:
        if error.errno not in {errno.ENODEV, errno.ENOENT, errno.EINVAL}:
            raise


def remove_link(netlink: Netlink, name: str) -> None:
    """Delete an interface. Harmless when it is not there. Raises PrivateNetworkError."""
    index = index_of(name)
    if index is not None:
        send_anyway(netlink, network_links.remove_link(index, name))


def remedy_for(number: int | None) -> str:
    """What to do about a failure with this errno, or nothing."""
    if number in {errno.EPERM, errno.EACCES}:
        return "run runnerd as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    if number in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}:
        return "load the kernel's modules for veth, bridge, ifb, tc and nf_tables"
    return ""


class HostBridge:
    """One bridge of one runnerd. For the namespace that the socket is of, and one thread."""

    def __init__(self, names: Names, netlink: Netlink) -> None:
        self._name = names.bridge
        self._netlink = netlink
        self.opened: tuple[str, ...] = ()
        self._seen: set[str] = set()
        self.mtu = 0

    @property
    def index(self) -> int | None:
        """The bridge's number, or None when it is not there."""
        return index_of(self._name)

    def make(self, subnet: IPv4Network, gateway: IPv4Address) -> int:
        """Make it, with the gateway's address; its number. Raises PrivateNetworkError."""
        table = self._routes()
        found = host_network.colliding(table, subnet, self._name)
        if found is not None:
            why = f"the host has a route to {found.network} on {found.interface}"
            remedy = "set network.subnet in the configuration to a free one"
            raise PrivateNetworkError(errno.EADDRINUSE, f"use subnet {subnet}", why, remedy)
        self.mtu = host_network.mtu(table)
        send(
            self._netlink,
            network_links.add_bridge(self._name, hardware_address(gateway), self.mtu),
        )
        try:
            return self._configure(subnet, gateway)
        except OSError:
            self.remove()
            raise

    def adopt(self) -> None:
        """Go on with a bridge that is there."""
        self.mtu = host_network.mtu(self._routes())

    def remove(self) -> None:
        """Remove it. Harmless when it is not there. Raises PrivateNetworkError."""
        index = self.index
        if index is not None:
            send(self._netlink, network_links.remove_link(index, self._name))

    def open_uplinks(self, others: Callable[[], set[str]]) -> bool:
        """Let answers in by every interface that leads elsewhere; whether one was opened.

        `others` tells which were opened by other runnerds: whoever needs one and leaves
        last puts it back. Raises PrivateNetworkError.
        """
        links = host_network.uplinks(self._routes(), self._name)
        opened = [name for name in links if not host_network.forwards(name)]
        for name in opened:
            self._set(f"ipv4/conf/{name}/forwarding", "1")
        fresh = set(links) - self._seen
        self._seen |= fresh
        if fresh - set(opened) and not host_network.forwards_everything():
            opened += sorted(fresh & others())
        new = [name for name in opened if name not in self.opened]
        self.opened = (*self.opened, *new)
        return bool(new)

    def close_uplinks(self, others: Callable[[], set[str]]) -> None:
        """Put back what `open_uplinks` changed, unless the host became a router meanwhile."""
        opened, self.opened = self.opened, ()
        self._seen.clear()
        if opened and not host_network.forwards_everything():
            for name in set(opened) - others():
                host_network.write_if_there(f"ipv4/conf/{name}/forwarding", "0")

    def _configure(self, subnet: IPv4Network, gateway: IPv4Address) -> int:
        index = self.index
        if index is None:
            raise PrivateNetworkError(errno.ENODEV, f"use bridge {self._name}")
        conf = f"ipv4/conf/{self._name}"
        try:
            host_network.without_ipv6(self._name)
        except OSError as error:
            raise unchangeable(error) from error
        self._set(f"{conf}/rp_filter", "1")
        self._set(f"{conf}/send_redirects", "0")
        self._set(f"{conf}/accept_redirects", "0")
        # For published ports of 127.0.0.1 and a resolver there; rules drop all else.
        self._set(f"{conf}/route_localnet", "1")
        self._set(f"{conf}/forwarding", "1")
        send(
            self._netlink,
            network_links.add_address(index, gateway, subnet.prefixlen),
            network_links.write_alias(index, alias(subnet)),
            network_links.bring_up(index, self._name),
        )
        return index

    def _set(self, name: str, value: str) -> None:
        try:
            host_network.write(name, value)
        except OSError as error:
            raise unchangeable(error) from error

    def _routes(self) -> list[host_network.Route]:
        try:
            return host_network.routes()
        except OSError as error:
            raise from_os_error(error, "read the host's routes") from error


def unchangeable(error: OSError) -> PrivateNetworkError:
    """The error for a file of /proc/sys/net that refused a value."""
    remedy = "give runnerd a writable /proc/sys/net"
    return from_os_error(error, f"change {error.filename}", remedy)


def alias(subnet: IPv4Network) -> str:
    """What is written on the bridge."""
    return f"{_ALIAS}{subnet}"


def subnet_of(links: Iterable[Link], name: str) -> IPv4Network | None:
    """The subnet of a bridge that is there, by what is written on it."""
    for link in links:
        if link.name == name and link.alias is not None and link.alias.startswith(_ALIAS):
            try:
                return IPv4Network(link.alias.removeprefix(_ALIAS))
            except ValueError:
                return None
    return None
