"""When a job must be warned, told to end, and made to. Pure, lean.

Time, requests and figures in, actions out; the monitor carries them out. Times are seconds
of the monotonic clock, given by the caller. The job's own clock, which its timeout counts
by, stands still while the job is paused. Its deadline is the wall clock's, which may be set at
any moment: so that one is asked for now and then.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from runner.outcome import CPU_TIME, DEADLINE, LOG_ERROR, OUTPUT_LIMIT, STOPPED, TIMEOUT

WARN: Final = "warn"
TERMINATE: Final = "terminate"
KILL: Final = "kill"

# The CPU time is not looked at more often than this, so it may be passed by as much.
_SHORTEST_LOOK_SECONDS: Final = 0.01
# The wall clock is looked at so often where there is a deadline by it.
_LONGEST_WALL_SECONDS: Final = 1.0


class Bounds(NamedTuple):
    """What a job may take, in seconds; None: as much as it likes.

    `timeout` counts the time in which the job is not paused, `warning` is that long before
    it, `cpu_time` is what all processes together may use.
    """

    timeout: float | None = None
    warning: float | None = None
    cpu_time: float | None = None


class Watchdog:
    """The deadlines of one job: its bounds, and the grace of whoever asked it to end.

    `cause` is what ended it first, in the words of `runner.outcome`; None as long as nothing
    did. `cpus` is how many seconds of CPU time can pass in a second. `has_deadline`: by the wall
    clock, for which `on_wall_clock` is called.
    """

    def __init__(
        self,
        started: float,
        bounds: Bounds,
        grace: float,
        cpus: int = 1,
        *,
        has_deadline: bool = False,
    ) -> None:
        self._started = started
        self._bounds = bounds
        self._grace = grace
        self._cpus = cpus
        self._paused_at: float | None = None
        self._paused_before = 0.0
        self._warned = False
        self._look_at = self._next_look(started, 0.0)
        # None: there is no deadline, or it has passed.
        self._wall_look_at = started if has_deadline else None
        self._kill_at: float | None = None
        self._killed = False
        self.cause: str | None = None
        self.stopped_by_uid: int | None = None

    # The clock

    def paused_seconds(self, now: float) -> float:
        """For how long the job has been paused, all times together."""
        return self._paused_before + (0.0 if self._paused_at is None else now - self._paused_at)

    def on_pause(self, now: float) -> bool:
        """Stop the clock. False: it goes on, because the job is ending or about to."""
        if self._kill_at is not None or self._is_past(now, self._timeout_at()):
            return False
        if self._paused_at is None:
            self._paused_at = now
        return True

    def on_resume(self, now: float) -> None:
        """Let the clock go on; harmless when it does."""
        if self._paused_at is not None:
            self._paused_before += now - self._paused_at
            self._paused_at = None
            self._look_at = self._soon(now)

    def on_update(self, now: float, bounds: Bounds) -> None:
        """Other bounds from now on. What the job has used so far counts.

        A warning is given again when its time is still to come. An end that has begun is
        never put off.
        """
        self._bounds = bounds
        self._look_at = self._soon(now)
        clock = now if self._paused_at is None else self._paused_at
        self._warned = self._warned and self._is_past(clock, self._before_timeout())
        if self._kill_at is not None:
            self._kill_at = self._not_after_timeout(self._kill_at)

    # What is due

    def deadline(self) -> float | None:
        """When one of what follows must be called next; None when nothing is due by itself."""
        if self._killed:
            return None
        if self._paused_at is not None:
            return self._wall_look_at
        if self._kill_at is not None:
            return _earliest(self._kill_at, self._look_at, self._wall_look_at)
        return _earliest(self._timeout_at(), self._warning_at(), self._look_at, self._wall_look_at)

    def on_time(self, now: float) -> str | None:
        """What is due."""
        if self._killed or self._paused_at is not None:
            return None
        if self._kill_at is not None:
            return self._kill_if_due(now)
        if self._is_past(now, self._timeout_at()):
            return self._end(now, self._grace, TIMEOUT)
        if self._is_past(now, self._warning_at()):
            self._warned = True
            return WARN
        return None

    def wants_cpu(self, now: float) -> bool:
        """Whether it is time for `on_cpu`."""
        waits = self._killed or self._paused_at is not None
        return not waits and self._is_past(now, self._look_at)

    def on_cpu(self, now: float, used: float) -> str | None:
        """All of the job's processes have used that much CPU time."""
        self._look_at = self._next_look(now, used)
        if self._bounds.cpu_time is None or used < self._bounds.cpu_time:
            return None
        self._look_at = None
        return self._end(now, self._grace, CPU_TIME)

    def wants_wall_clock(self, now: float) -> bool:
        """Whether it is time for `on_wall_clock`."""
        return not self._killed and self._is_past(now, self._wall_look_at)

    def on_wall_clock(self, now: float, remaining: float) -> str | None:
        """By the wall clock so many seconds remain until the deadline.

        When none do a paused job goes on, into its grace.
        """
        if remaining > 0:
            self._wall_look_at = now + min(remaining, _LONGEST_WALL_SECONDS)
            return None
        self._wall_look_at = None
        self.on_resume(now)
        return self._end(now, self._grace, DEADLINE)

    def on_excess(self, now: float) -> str | None:
        """There is more output than may be kept: the job is to end, a paused one once it goes on.

        May be said again and again.
        """
        return self._end_unless_paused(now, OUTPUT_LIMIT)

    def on_log_error(self, now: float) -> str | None:
        """Output was dropped that should not have been; else as `on_excess`."""
        return self._end_unless_paused(now, LOG_ERROR)

    def on_stop(self, now: float, uid: int, grace: float) -> str | None:
        """Somebody asks for the end. Repeating it can only shorten the grace."""
        self.on_resume(now)
        if self._kill_at is None:
            self.stopped_by_uid = uid
        return self._end(now, grace, STOPPED)

    # The end

    def _end_unless_paused(self, now: float, cause: str) -> str | None:
        return None if self._paused_at is not None else self._end(now, self._grace, cause)

    def _end(self, now: float, grace: float, cause: str) -> str | None:
        """Begin to end the job, or shorten the grace of an end that has begun."""
        # The timeout stays a promise: a stop with a long grace must not lift it.
        kill_at = self._not_after_timeout(now + grace)
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, kill_at)
            return self._kill_if_due(now)
        self.cause = cause
        self._kill_at = kill_at
        return self._kill_if_due(now) or TERMINATE

    def _kill_if_due(self, now: float) -> str | None:
        if self._killed or not self._is_past(now, self._kill_at):
            return None
        self._killed = True
        return KILL

    def _not_after_timeout(self, kill_at: float) -> float:
        timeout_at = self._timeout_at()
        return kill_at if timeout_at is None else min(kill_at, timeout_at + self._grace)

    # Times, as if the clock went on from now

    def _timeout_at(self) -> float | None:
        timeout = self._bounds.timeout
        return None if timeout is None else self._started + self._paused_before + timeout

    def _warning_at(self) -> float | None:
        return None if self._warned else self._before_timeout()

    def _before_timeout(self) -> float | None:
        timeout_at, warning = self._timeout_at(), self._bounds.warning
        return None if timeout_at is None or warning is None else timeout_at - warning

    def _soon(self, now: float) -> float | None:
        return None if self._bounds.cpu_time is None else now

    def _next_look(self, now: float, used: float) -> float | None:
        """When at the earliest the CPU time can be used up."""
        if self._bounds.cpu_time is None:
            return None
        left = (self._bounds.cpu_time - used) / self._cpus
        return now + max(left, _SHORTEST_LOOK_SECONDS)

    @staticmethod
    def _is_past(now: float, when: float | None) -> bool:
        return when is not None and now >= when


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
