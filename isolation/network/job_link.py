"""A job's link in the making: a new namespace, one end of it there and the other in the bridge.

Which address a job has, and that its rules are made and go, is `isolation.network.private_host`'s;
what is done inside of the namespace `isolation.network.job_namespace`'s.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from isolation.network import host_network, job_namespace
from isolation.network import links as network_links
from isolation.network.addresses import hardware_address
from isolation.network.errors import PrivateNetworkError
from isolation.network.host_bridge import index_of, remove_link, send, unchangeable

if TYPE_CHECKING:
    from contextlib import ExitStack
    from ipaddress import IPv4Address

    from isolation.network.addresses import Names
    from isolation.network.host_bridge import HostBridge
    from isolation.network.netlink import Netlink
    from isolation.network.nft_rules import Port


class JobLinks:
    """Makes links into one bridge. For one thread, and the namespace that it is in."""

    def __init__(self, names: Names, netlink: Netlink, bridge: HostBridge) -> None:
        self._names = names
        self._netlink = netlink
        self._bridge = bridge

    def make(self, job_id: str, port: Port, gateway: IPv4Address, undo: ExitStack) -> int:
        """The descriptor of the job's namespace; how to remove all of it goes to `undo`.

        Raises PrivateNetworkError: EEXIST for a link that is there, which stays.
        """
        bridge_index = self._bridge.index
        if bridge_index is None:
            raise PrivateNetworkError(errno.ENODEV, f"use bridge {self._names.bridge}")
        name = self._names.port(port.offset)
        if index_of(name) is not None:
            raise PrivateNetworkError(errno.EEXIST, f"make link {name}")
        peer = (job_namespace.INTERFACE, hardware_address(port.address))
        undo.callback(remove_link, self._netlink, name)
        fd = job_namespace.make(
            self._netlink,
            lambda namespace: network_links.add_pair(
                name, bridge_index, self._bridge.mtu, peer, namespace
            ),
            port.address,
            gateway,
        )
        undo.callback(os.close, fd)
        self._isolate(job_id, name, bridge_index, port.address)
        return fd

    def _isolate(self, job_id: str, name: str, bridge_index: int, address: IPv4Address) -> None:
        index = index_of(name)
        if index is None:
            raise PrivateNetworkError(errno.ENODEV, f"use link {name}")
        try:
            host_network.without_ipv6(name)
        except OSError as error:
            raise unchangeable(error) from error
        hardware = hardware_address(address)
        send(
            self._netlink,
            network_links.isolate_and_raise(index, job_id),
            network_links.forwarding_entry(index, hardware),
            network_links.neighbour(bridge_index, address, hardware),
        )
