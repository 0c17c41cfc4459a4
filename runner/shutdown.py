"""What to do next once runnerd was told to end: the policies of `[shutdown]`. Pure.

What was seen so far goes in, the next action comes out. Signals, clock and jobs are
`runner.daemon`'s and `runner.supervisor`'s.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from runner.config import ShutdownConfig

# One asks for an end by the policy; another says that there is no time for it.
_IMPATIENT_SIGNALS: Final = 2


class Action(Enum):
    """What comes next."""

    STOP = "ask every job that runs to stop"
    WAIT = "wait until something changes"
    LEAVE = "end, and leave the jobs that still run"


class Seen(NamedTuple):
    """What is known: signals that came, seconds since the first, jobs that are under way.

    `has_asked`: they were asked to stop.
    """

    signals: int
    seconds: float
    running: int
    has_asked: bool = False


def next_action(config: ShutdownConfig, seen: Seen) -> Action:
    """The policy, applied to what was seen."""
    is_over = seen.signals >= _IMPATIENT_SIGNALS or seen.running == 0
    if is_over or config.policy == "leave":
        return Action.LEAVE
    if config.policy == "stop" and not seen.has_asked:
        return Action.STOP
    return Action.WAIT if seconds_left(config, seen) > 0 else Action.LEAVE


def when_to_ask_again(config: ShutdownConfig) -> str:
    """What who asks for jobs meanwhile is told: a sentence without its full stop."""
    waits = config.policy != "leave"
    how_long = f", and gives jobs that run up to {config.timeout_seconds:g} s" if waits else ""
    return f"runnerd is ending{how_long}; ask again once it is started again"


def seconds_left(config: ShutdownConfig, seen: Seen) -> float:
    """For how long there may be waiting."""
    return max(0.0, config.timeout_seconds - seen.seconds)
