"""How many may come in at once, and how fast: connections and handshakes, by address and in all.

Pure: the clock comes in, a word comes out. `door` and `relay` count with it; connections of an
identity and requests a second are `rates`'. Before the handshake nobody is known but by address,
so there the bounds are small and short-lived: who sends a million connections is refused before
TLS has cost anything, and nobody else is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

# What is remembered of addresses that come and go. Beyond it the least recent is forgotten.
_REMEMBERED: Final = 8192
_V6_PREFIX: Final = 64

# The words of `arrive`, and "gave-way" of whoever made room for another.
SENTENCES: Final[Mapping[str, str]] = {
    "address-rate": "too many new connections from this address",
    "address-busy": "too many handshakes at once from this address",
    "address-connections": "too many connections at once from this address",
    "busy": "too many connections in all",
    "gave-way": "its handshake was the oldest when there were too many in all",
}


class DoorBounds(NamedTuple):
    """How much a door takes. Seconds and counts."""

    connections: int = 1024  # in all, handshakes among them
    connections_by_address: int = 128
    handshakes: int = 256  # at once
    # At once. A client opens as many connections as it has requests to send: few would refuse it.
    handshakes_by_address: int = 64
    rate_by_address: float = 50.0  # a second, after `burst_by_address`
    burst_by_address: int = 200
    handshake_seconds: float = 10.0
    stall_seconds: float = 60.0  # for which a peer may take nothing of what waits for it


class Turnstile:
    """Counts of one door, by connections, which are any objects.

    `give_way` is called with one whose handshake is to end at once, because it makes room for
    another: it is counted no more then.
    """

    def __init__(
        self, bounds: DoorBounds, give_way: Callable[[Hashable], None] = lambda _one: None
    ) -> None:
        self._bounds = bounds
        self._give_way = give_way
        # Where each comes from; of handshakes the oldest is the first.
        self._inside: dict[Hashable, str] = {}
        self._shaking: OrderedDict[Hashable, str] = OrderedDict()
        self._by_address: Counter[str] = Counter()
        self._shaking_by_address: Counter[str] = Counter()
        # Token buckets: tokens left, and when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def connections(self) -> int:
        """How many there are now, handshakes among them."""
        return len(self._inside)

    @property
    def handshakes(self) -> int:
        """How many are not over."""
        return len(self._shaking)

    def arrive(self, one: Hashable, address: str, now: float) -> str | None:
        """Somebody wants a handshake: None lets it begin, a word says which bound is against it.

        A handshake takes milliseconds. So where all places are taken, the oldest is the likeliest
        that will never end, and gives way: a flood pushes out itself.
        """
        bounds, where = self._bounds, neighbourhood(address)
        if not self._take(where, now):
            return "address-rate"
        if self._shaking_by_address[where] >= bounds.handshakes_by_address:
            return "address-busy"
        if self._by_address[where] >= bounds.connections_by_address:
            return "address-connections"
        if self.handshakes >= bounds.handshakes or self.connections >= bounds.connections:
            if not self._shaking:
                return "busy"
            self._make_room()
        self._inside[one] = self._shaking[one] = where
        self._by_address[where] += 1
        self._shaking_by_address[where] += 1
        return None

    def settle(self, one: Hashable) -> None:
        """A handshake is over, well or not; again is harmless. Its connection still counts."""
        where = self._shaking.pop(one, None)
        if where is not None:
            _less(self._shaking_by_address, where)

    def leave(self, one: Hashable) -> None:
        """A connection is gone; again is harmless."""
        self.settle(one)
        where = self._inside.pop(one, None)
        if where is not None:
            _less(self._by_address, where)

    def _make_room(self) -> None:
        oldest = next(iter(self._shaking))
        self.leave(oldest)
        self._give_way(oldest)

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
