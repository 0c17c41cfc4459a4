"""Which job gets which IPv4 address of a subnet, and what is named after it.

Pure. The order is round and round, so that an address rests as long as possible before the
next job gets it: what others still remember of its last owner has expired by then.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

# An interface's name has at most 15 characters (IFNAMSIZ of linux/if.h), of which six are
# an offset into a subnet: no subnet is larger than this.
WIDEST_PREFIX: Final = 8
NARROWEST_PREFIX: Final = 29
_STEM: Final = "rd"
# That of every runnerd's tables.
TABLE_PREFIX: Final = "runnerd_"
_IDENTITY_DIGITS: Final = 6
_GATEWAY_OFFSET: Final = 1


class PoolExhaustedError(Exception):
    """Every address of the subnet is in use."""


class AddressPool:
    """The addresses of one subnet that are not the network's, the gateway's or the broadcast.

    `start` is where handing out begins: any number. Raises ValueError for a subnet that is
    larger than a /8 or smaller than a /29.
    """

    def __init__(self, subnet: IPv4Network, start: int = 0) -> None:
        if not WIDEST_PREFIX <= subnet.prefixlen <= NARROWEST_PREFIX:
            raise ValueError(f"{subnet} is not between a /8 and a /29")
        self.subnet = subnet
        self._base = int(subnet.network_address)
        self._first = _GATEWAY_OFFSET + 1
        self._count = subnet.num_addresses - self._first - 1
        self._next = start % self._count
        self._used: set[int] = set()

    @property
    def gateway(self) -> IPv4Address:
        """The host's own address in the subnet: the first one."""
        return IPv4Address(self._base + _GATEWAY_OFFSET)

    def take(self) -> IPv4Address:
        """An address that nobody has. Raises PoolExhaustedError."""
        if len(self._used) >= self._count:
            raise PoolExhaustedError(f"all {self._count} addresses of {self.subnet} are in use")
        while self._first + self._next in self._used:
            self._next = (self._next + 1) % self._count
        offset = self._first + self._next
        self._used.add(offset)
        self._next = (self._next + 1) % self._count
        return IPv4Address(self._base + offset)

    def claim(self, offset: int) -> IPv4Address | None:
        """Take the address at this offset; None when it is not to be had."""
        if not self._first <= offset < self._first + self._count or offset in self._used:
            return None
        self._used.add(offset)
        return IPv4Address(self._base + offset)

    def give_back(self, address: IPv4Address) -> None:
        """Make the address free again. Harmless to repeat."""
        self._used.discard(self.offset(address))

    def offset(self, address: IPv4Address) -> int:
        """Where in the subnet the address is."""
        return int(address) - self._base


class Names(NamedTuple):
    """What everything of one runnerd is called on the host, so that several don't meet."""

    stem: str

    @property
    def bridge(self) -> str:
        """The bridge that all jobs are plugged into."""
        return self.stem

    @property
    def table(self) -> str:
        """The nftables table, one of family ip and one of family bridge."""
        return f"{TABLE_PREFIX}{self.stem}"

    def port(self, offset: int) -> str:
        """The host's end of a job's link."""
        return f"{self.stem}v{offset:x}"

    def shaper(self, offset: int) -> str:
        """The device that what a job sends is queued in, when its bandwidth is limited."""
        return f"{self.stem}f{offset:x}"

    def offset_of(self, interface: str) -> int | None:
        """The offset in the name of a port or shaper; None for any other interface."""
        try:
            offset = int(interface[len(self.stem) + 1 :], 16)
        except ValueError:
            return None
        return offset if interface in {self.port(offset), self.shaper(offset)} else None


def names_for(identity: str) -> Names:
    """The names of the runnerd with this identity: any text that no other one has."""
    digest = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()
    return Names(_STEM + digest[:_IDENTITY_DIGITS])


def hardware_address(address: IPv4Address) -> str:
    """A locally administered unicast MAC address, made of the IPv4 address."""
    return ":".join(f"{byte:02x}" for byte in b"\x0a\x72" + address.packed)
