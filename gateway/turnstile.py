"""How many may come in at once, and how fast: connections by address, by subject, in all.

Pure: the clock comes in, a word comes out. `door` counts with it; requests a second are `rates`'.
Before the handshake nobody is known but by address, so there the bounds are small and short-lived:
who sends a million connections is refused before TLS has cost anything, and nobody else is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

# What is remembered of addresses that come and go. Beyond it the least recent is forgotten.
_REMEMBERED: Final = 8192
_V6_PREFIX: Final = 64


class DoorBounds(NamedTuple):
    """How much a door takes. Seconds and counts."""

    connections: int = 1024  # in all, handshakes among them
    handshakes: int = 256  # at once
    handshakes_by_address: int = 16  # at once
    rate_by_address: float = 50.0  # a second, after `burst_by_address`
    burst_by_address: int = 200
    by_subject: int = 64  # connections of one identity
    handshake_seconds: float = 10.0
    stall_seconds: float = 60.0  # for which a peer may take nothing of what waits for it


class Turnstile:
    """Counts of one door."""

    def __init__(self, bounds: DoorBounds) -> None:
        self._bounds = bounds
        self.connections = 0
        self.handshakes = 0
        self._by_address: Counter[str] = Counter()
        self._by_subject: Counter[str] = Counter()
        # Token buckets: tokens left, and when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def arrive(self, address: str, now: float) -> str | None:
        """Somebody wants a handshake: None lets it begin, a word says which bound is against it."""
        bounds, where = self._bounds, neighbourhood(address)
        if not self._take(where, now):
            return "address-rate"
        if self._by_address[where] >= bounds.handshakes_by_address:
            return "address-busy"
        if self.handshakes >= bounds.handshakes or self.connections >= bounds.connections:
            return "busy"
        self.connections += 1
        self.handshakes += 1
        self._by_address[where] += 1
        return None

    def settle(self, address: str) -> None:
        """A handshake is over, well or not. Its connection still counts."""
        self.handshakes -= 1
        _less(self._by_address, neighbourhood(address))

    def enter(self, subject: str) -> str | None:
        """A connection turns out to be of that identity: None, or a word that is against it."""
        if self._by_subject[subject] >= self._bounds.by_subject:
            return "subject-busy"
        self._by_subject[subject] += 1
        return None

    def leave(self, subject: str | None) -> None:
        """A connection is gone; of `subject` if it had entered."""
        self.connections -= 1
        if subject is not None:
            _less(self._by_subject, subject)

    def _take(self, where: str, now: float) -> bool:
        bounds = self._bounds
        burst = float(bounds.burst_by_address)
        left, since = self._buckets.pop(where, (burst, now))
        left = min(burst, left + max(0.0, now - since) * bounds.rate_by_address)
        taken = left >= 1.0
        self._buckets[where] = (left - 1.0 if taken else left, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return taken


def neighbourhood(address: str) -> str:
    """Who counts as one before it is known: an IPv4 address, or a network /64 of IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> _V6_PREFIX << _V6_PREFIX)}/{_V6_PREFIX}"


def _less(counter: Counter[str], name: str) -> None:
    """One less; a name that is at nothing is forgotten, so that memory stays bounded."""
    if counter[name] <= 1:
        del counter[name]
    else:
        counter[name] -= 1
