"""Why it cannot be listened at an address, and what to do about it: a sentence. Listens nowhere."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.config import Address

_LAST_PRIVILEGED_PORT: Final = 1023


def cannot_listen(key: str, address: Address, error: OSError) -> str:
    """What is said when `address`, which `key` of the configuration gives, cannot be bound."""
    return f"cannot listen at {address}: {_why(key, address, error)}"


def _why(key: str, address: Address, error: OSError) -> str:
    other = f"give another address or port (`{key}`)"
    if isinstance(error, socket.gaierror):
        return f"no such host is known ({error.strerror}); {other}"
    if error.errno == errno.EADDRINUSE:
        return (
            "another program does, perhaps another gateway; "
            f"`ss -ltnp 'sport = :{address.port}'` shows it; end it, or {other}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"it is no address of this machine (`ip address` has those that are); {other}"
    if error.errno in (errno.EACCES, errno.EPERM) and 0 < address.port <= _LAST_PRIVILEGED_PORT:
        return (
            "permission denied: ports below 1024 are for root; give a higher port "
            f"(`{key}`), or let everybody have it: `sysctl "
            f"net.ipv4.ip_unprivileged_port_start={address.port}`"
        )
    # asyncio puts a sentence of its own in the place of the kernel's word.
    return f"{os.strerror(error.errno) if error.errno else error}; {other}"
