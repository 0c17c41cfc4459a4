"""How often and how much at once, by subject: token buckets and counts. Pure.

The clock comes in (seconds, monotonic), how long to wait goes out. Memory is bounded however many
subjects come: one that asks for nothing and whose buckets are full again is forgotten, and where
there is none to forget, a new one has to wait.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from gateway.policy import Bounds

MOST_SUBJECTS: Final = 10_000
# Of the longest unused ones, at each newcomer when there are too many.
_LOOKED_AT: Final = 32
_FULL_SECONDS: Final = 1.0
# Of one subject, in requests that are read or in hand.
HELD_BYTES: Final = 16 * 1024 * 1024

# Jobs and the like that an answer may list for the price of one request more.
ENTRIES_A_REQUEST: Final = 50


class Refusal(msgspec.Struct, frozen=True):
    """Not now: why, and after how many seconds asking again may be of use."""

    why: str
    retry_after_seconds: float


class Bucket:
    """So many tokens at most, refilled by so many a second; full at first."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float, rate: float, burst: float, count: int = 1) -> float:
        """Take so many. 0.0: they were there; else the seconds until they are, and none is taken.

        Of more than fit in, as many have to be there as do, and the rest is owed.
        """
        self._refill(now, rate, burst)
        needed = min(float(count), float(burst))
        if self._tokens >= needed:
            self._tokens -= count
            return 0.0
        return (needed - self._tokens) / rate

    def owe(self, count: float, burst: float) -> None:
        """Take what was used already, be it there or not; at most twice the burst is ever owed."""
        self._tokens = max(self._tokens - count, -2.0 * burst)

    def is_full(self, now: float, rate: float, burst: float) -> bool:
        """Whether it is as it was at first."""
        self._refill(now, rate, burst)
        return self._tokens >= burst

    def _refill(self, now: float, rate: float, burst: float) -> None:
        # A clock that stands still or goes back gives nothing, and takes nothing away.
        passed = max(now - self._at, 0.0)
        self._tokens = min(self._tokens + passed * rate, float(burst))
        self._at = max(now, self._at)


class _Account:
    """What one subject has taken."""

    __slots__ = ("bounds", "connections", "held", "in_flight", "requests", "streams", "submissions")

    def __init__(self, bounds: Bounds, now: float) -> None:
        self.bounds = bounds
        self.requests = Bucket(bounds.burst, now)
        self.submissions = Bucket(bounds.submission_burst, now)
        self.in_flight = self.streams = self.connections = self.held = 0

    def is_idle(self, now: float) -> bool:
        """Whether nothing would be different without it."""
        if self.in_flight or self.streams or self.connections or self.held:
            return False
        bounds = self.bounds
        return self.requests.is_full(
            now, bounds.requests_per_second, bounds.burst
        ) and self.submissions.is_full(now, bounds.submissions_per_second, bounds.submission_burst)


class Rates:
    """The accounts of all subjects, at most `most`.

    What `begin`, `connect` and `hold` let in is to be ended by `end`, `disconnect` and `release`.
    """

    def __init__(self, most: int = MOST_SUBJECTS) -> None:
        self._most = most
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._accounts)

    def knock(self, subject: str, bounds: Bounds, now: float) -> Refusal | None:
        """A request that is still to be read: of the rate alone. None: it may be read."""
        account = self._account(subject, bounds, now)
        if account is None:
            return _crowded()
        rate = bounds.requests_per_second
        if wait := account.requests.take(now, rate, bounds.burst):
            return Refusal(f"more than {rate:g} requests a second", wait)
        return None

    def answered(self, subject: str, entries: int) -> None:
        """A request that was begun gave an answer with so many entries: a page is work, too."""
        account = self._accounts[subject]
        account.requests.owe(entries // ENTRIES_A_REQUEST, account.bounds.burst)

    def begin(
        self,
        subject: str,
        bounds: Bounds,
        now: float,
        *,
        is_long: bool = False,
        has_knocked: bool = False,
    ) -> Refusal | None:
        """One request. None: it may go on, and is in flight until `end`.

        `is_long`: a stream or a wait, of which there may be another number at once. One that
        `has_knocked` counts in the rate already.
        """
        account = self._account(subject, bounds, now)
        if account is None:
            return _crowded()
        if is_long and account.streams >= bounds.streams:
            return _too_many(bounds.streams, "streams and waits are open")
        if not is_long and account.in_flight >= bounds.in_flight:
            return _too_many(bounds.in_flight, "requests are in flight")
        if not has_knocked and (no := self.knock(subject, bounds, now)) is not None:
            return no
        account.streams += is_long
        account.in_flight += not is_long
        return None

    def end(self, subject: str, *, is_long: bool = False) -> None:
        """A request that was begun is answered, a stream has ended."""
        account = self._accounts[subject]
        account.streams -= is_long
        account.in_flight -= not is_long

    def submit(self, subject: str, bounds: Bounds, now: float, cost: int = 1) -> Refusal | None:
        """One submission, or one that is as much work as so many, besides the request it is."""
        account = self._account(subject, bounds, now)
        if account is None:
            return _crowded()
        rate = bounds.submissions_per_second
        if wait := account.submissions.take(now, rate, bounds.submission_burst, cost):
            return Refusal(f"more than {rate:g} submissions a second", wait)
        return None

    def connect(self, subject: str, bounds: Bounds, now: float) -> Refusal | None:
        """One connection. None: it counts until `disconnect`."""
        account = self._account(subject, bounds, now)
        if account is None:
            return _crowded()
        if account.connections >= bounds.connections:
            return _too_many(bounds.connections, "connections are open")
        account.connections += 1
        return None

    def disconnect(self, subject: str) -> None:
        """A connection that was counted is closed."""
        self._accounts[subject].connections -= 1

    def hold(
        self, subject: str, bounds: Bounds, now: float, more: int, *, most: int = HELD_BYTES
    ) -> Refusal | None:
        """So many more bytes of requests. None: they count until `release`; else they do not."""
        account = self._account(subject, bounds, now)
        if account is None:
            return _crowded()
        if account.held + more > most:
            return _too_many(most, "bytes of requests are in hand")
        account.held += more
        return None

    def release(self, subject: str, size: int) -> None:
        """Bytes that were held are not any more."""
        if size:
            self._accounts[subject].held -= size

    def open_streams(self, subject: str) -> int:
        """How many streams and waits of that subject are open."""
        account = self._accounts.get(subject)
        return 0 if account is None else account.streams

    def _account(self, subject: str, bounds: Bounds, now: float) -> _Account | None:
        account = self._accounts.get(subject)
        if account is None:
            if len(self._accounts) >= self._most and not self._forget_idle(now):
                return None
            account = self._accounts[subject] = _Account(bounds, now)
        account.bounds = bounds
        self._accounts.move_to_end(subject)
        return account

    def _forget_idle(self, now: float) -> bool:
        """Forget who would be the same as new; whether there is room now."""
        oldest = [name for name, _ in zip(self._accounts, range(_LOOKED_AT), strict=False)]
        for subject in oldest:
            if self._accounts[subject].is_idle(now):
                del self._accounts[subject]
            else:
                # One with streams that stay open must not hide the idle ones behind it.
                self._accounts.move_to_end(subject)
        return len(self._accounts) < self._most


class Muffler:
    """Lets one thing of a kind be said a second, and counts what was not said. For `most` kinds."""

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def say(self, kind: str, now: float) -> int | None:
        """How often it was kept quiet since it was last said; None: keep quiet now."""
        at, kept = self._said.pop(kind, (None, 0))
        if at is not None and now - at < _FULL_SECONDS:
            self._said[kind] = (at, kept + 1)
            return None
        if len(self._said) >= self._most:
            self._said.popitem(last=False)
        self._said[kind] = (now, 0)
        return kept


def _too_many(most: int, what: str) -> Refusal:
    return Refusal(f"{most} {what}, as many as may be", 1.0)


def _crowded() -> Refusal:
    return Refusal("too many callers at once", 1.0)
