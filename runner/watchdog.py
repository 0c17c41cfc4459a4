"""When a job must be told to end, and when it must be made to. Pure, lean.

Time and requests in, actions out; the monitor carries them out. Times are seconds of the
monotonic clock, given by the caller.
"""

from __future__ import annotations

from typing import Final

TERMINATE: Final = "terminate"
KILL: Final = "kill"


class Watchdog:
    """The deadlines of one job: its timeout, and the grace of whoever asked it to end."""

    def __init__(self, started: float, timeout: float | None, grace: float) -> None:
        self._timeout_at = None if timeout is None else started + timeout
        self._grace = grace
        self._kill_at: float | None = None
        self._killed = False
        self.stopped_by_uid: int | None = None
        self.timed_out = False

    def deadline(self) -> float | None:
        """When `on_time` must be called next; None when nothing is due by itself."""
        if self._killed:
            return None
        return self._timeout_at if self._kill_at is None else self._kill_at

    def on_time(self, now: float) -> str | None:
        """What is due."""
        due = self.deadline()
        if due is None or now < due:
            return None
        if self._kill_at is not None:
            self._killed = True
            return KILL
        self.timed_out = True
        return self._end(now, self._grace)

    def on_stop(self, now: float, uid: int, grace: float) -> str | None:
        """Somebody asks for the end. Repeating it can only shorten the grace."""
        if self._kill_at is None:
            self.stopped_by_uid = uid
            return self._end(now, grace)
        self._kill_at = min(self._kill_at, now + grace)
        return self.on_time(now)

    def _end(self, now: float, grace: float) -> str:
        self._kill_at = now + grace
        if self._timeout_at is not None:
            # The timeout stays a promise: a stop with a long grace must not lift it.
            self._kill_at = min(self._kill_at, self._timeout_at + self._grace)
        if self._kill_at <= now:
            self._killed = True
            return KILL
        return TERMINATE
