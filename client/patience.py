"""How long to wait for a runnerd that went away, and how often to try. No I/O but sleep.

Jobs outlive a restart of the daemon, so whoever follows one should too. What is tried
again, and from where, is the caller's to know (`client.api`, `client.logstream`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_DELAY_SECONDS: Final = 0.02
LONGEST_DELAY_SECONDS: Final = 1.0
# A connection that held this long was a return, even when nothing was said on it.
STEADY_SECONDS: Final = 5.0


def is_away(error: BaseException) -> bool:
    """Whether the error means that runnerd is gone or going, rather than that it refused."""
    if isinstance(error, RequestRefused):
        # This client never cancels: a daemon that ends does that to requests in flight. A gateway
        # says that it is away.
        return error.code in ("shutting-down", "cancelled", "unavailable")
    return isinstance(error, ConnectionLost | DaemonUnavailable)


class Patience:
    """Waits between tries, for at most `seconds` from when runnerd went away.

    `on_away` is called with the error once for each absence, `on_back` when a connection
    stands again.
    """

    def __init__(
        self,
        seconds: float,
        on_away: Callable[[Exception], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        self.seconds = seconds
        self._on_away = on_away
        self._on_back = on_back
        self._away_since: float | None = None
        self._connected_at: float | None = None
        self._delay = FIRST_DELAY_SECONDS

    def wait(self, error: Exception, end: float = math.inf) -> None:
        """Sleep before the next try; raise `error` when the time is over.

        It is also over at `end` (of time.monotonic), however short the absence.
        """
        now = time.monotonic()
        begins = self._away_since is None or self._was_steady(now)
        if self._away_since is None or begins:
            self._away_since = now
            self._delay = FIRST_DELAY_SECONDS
        self._connected_at = None
        left = min(self._away_since + self.seconds, end) - now
        if begins and self._on_away and left > 0:
            self._on_away(error)
        if left <= 0:
            raise error
        time.sleep(min(self._delay, left))
        self._delay = min(self._delay * 2, LONGEST_DELAY_SECONDS)

    def connected(self) -> None:
        """A connection stands. The absence is over when `progress` follows, or some time."""
        if self._away_since is None or self._connected_at is not None:
            return
        self._connected_at = time.monotonic()
        if self._on_back:
            self._on_back()

    def progress(self) -> None:
        """Something was received: the next absence counts from its own beginning.

        Without it a daemon that dies of each try would be tried for ever.
        """
        self._away_since = self._connected_at = None

    def _was_steady(self, now: float) -> bool:
        return self._connected_at is not None and now - self._connected_at >= STEADY_SECONDS
