"""A job's network namespace with one link out of it, set up from the inside.

A namespace belongs to a thread, so a thread is made for it that does nothing else and ends:
no failure leaves another one in the wrong place. Nothing here forks. Entering the namespace
is the payload's step.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from isolation import syscalls
from isolation.network import host_network
from isolation.network import links as network_links
from isolation.network.addresses import hardware_address
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.host_bridge import index_of, remedy_for, send, unchangeable
from isolation.network.netlink import Netlink
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

    from isolation.network.netlink import Message

T = TypeVar("T")

INTERFACE: Final = "eth0"
_WHOLE_ADDRESS: Final = 32


def in_own_thread(call: Callable[[], T]) -> T:
    """What `call` returns or raises on a thread that ends with it."""
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # noqa: BLE001  raised again on the thread that waits
            raised.append(error)

    thread = threading.Thread(target=run, name="network namespace")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]


def leave_network() -> int:
    """Move the calling thread to a new network namespace; a descriptor of it.

    Only for a thread that ends soon. Raises PrivateNetworkError (ENOSPC at the limit in
    /proc/sys/user/max_net_namespaces).
    """
    try:
        syscalls.unshare(CloneFlags.NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        is_full = error.errno == errno.ENOSPC
        remedy = "raise user.max_net_namespaces" if is_full else remedy_for(error.errno)
        raise from_os_error(error, "make a network namespace", remedy) from error


def make(
    host: Netlink, pair: Callable[[int], Message], address: IPv4Address, gateway: IPv4Address
) -> int:
    """A descriptor of a namespace with loopback and eth0, both up; whoever calls it closes it.

    `host` is a socket of the host's; `pair` is the message that makes the link, given a
    descriptor of the namespace. Raises PrivateNetworkError.
    """
    return in_own_thread(lambda: _make(host, pair, address, gateway))


def _make(
    host: Netlink, pair: Callable[[int], Message], address: IPv4Address, gateway: IPv4Address
) -> int:
    namespace = leave_network()
    try:
        send(host, pair(namespace))
        _configure(address, gateway)
    except BaseException:
        os.close(namespace)
        raise
    return namespace


def _configure(address: IPv4Address, gateway: IPv4Address) -> None:
    index = index_of(INTERFACE)
    if index is None:
        raise PrivateNetworkError(errno.ENODEV, f"use {INTERFACE} of a new namespace")
    try:
        _set_switches()
    except OSError as error:
        raise unchangeable(error) from error
    with Netlink() as inside:
        send(
            inside,
            network_links.bring_up(network_links.LOOPBACK_INDEX, "lo"),
            network_links.add_address(index, address, _WHOLE_ADDRESS),
            network_links.bring_up(index, INTERFACE),
            network_links.neighbour(index, gateway, hardware_address(gateway)),
            network_links.default_route(index, gateway),
        )


def _set_switches() -> None:
    """What /proc/sys/net of the calling thread's namespace should say for a job."""
    host_network.without_ipv6(INTERFACE)
    # In a network of its own an ordinary user may have every port, and ping.
    host_network.write("ipv4/ip_unprivileged_port_start", "0")
    host_network.write("ipv4/ping_group_range", "0 2147483647")
