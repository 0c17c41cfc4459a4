"""Whether this host can do private networks, found out by making one where nobody sees it.

In a network namespace of its own, which is gone when the thread that is in it has ended.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from isolation.network.egress import parse, permissions
from isolation.network.job_namespace import in_own_thread, leave_network
from isolation.network.job_network import JobNetwork
from isolation.network.private_host import PrivateHost
from isolation.network.resolver import Plan

if TYPE_CHECKING:
    from ipaddress import IPv4Network

_JOB: Final = "trial"
_BITS: Final = 10_000_000


def private_network(identity: str, subnet: IPv4Network) -> None:
    """Make a network with everything that one can have. Raises OSError, with what failed."""
    in_own_thread(lambda: _try(identity, subnet))


def _try(identity: str, subnet: IPv4Network) -> None:
    os.close(leave_network())
    allowed = tuple(permissions([parse("192.0.2.0/24:443")], {}))
    wanted = JobNetwork("0", (), lambda: allowed, _BITS, _BITS)
    host = PrivateHost(identity, subnet)
    try:
        resolver = IPv4Address("127.0.0.1")
        os.close(host.attach(_JOB, wanted, Plan((), resolver, ())).fd)
        left = host.detach(_JOB)
        if left is not None and left.failure is not None:
            raise left.failure
    finally:
        host.close()
