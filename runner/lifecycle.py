"""The states of a job and what leads from one to the next.

Pure: no clock, no descriptor, no logging, nothing awaited. It says what may follow; the
store makes it durable (`runner.store`), and why a job ended is another question
(`runner.outcome`). The table is the one of ARCHITECTURE.md; a pair that is not in it
is an error.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Final


class State(enum.StrEnum):
    """Where a job is. The values are what the protocol and the database say."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


class Event(enum.StrEnum):
    """What happens to a job."""

    LAUNCH = "launch"
    STARTED = "started"
    REQUEUE = "requeue"
    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    # Another attempt: its own retries, or by hand once it has ended.
    RETRY = "retry"


# The states of a job that has a monitor and may have processes.
GOING: Final = frozenset({State.RUNNING, State.PAUSED})


class ImpossibleTransition(ValueError):  # noqa: N818 - the name already says that it is one
    """This event cannot happen in this state: a defect of the caller, never of the job."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event} cannot happen to a job that is {state}")
        self.state = state
        self.event = event


TRANSITIONS: Final = MappingProxyType(
    {
        (State.QUEUED, Event.LAUNCH): State.STARTING,
        (State.QUEUED, Event.FINISH): State.ENDED,
        (State.STARTING, Event.STARTED): State.RUNNING,
        (State.STARTING, Event.REQUEUE): State.QUEUED,
        (State.STARTING, Event.FINISH): State.ENDED,
        (State.STARTING, Event.RETRY): State.QUEUED,
        (State.RUNNING, Event.RETRY): State.QUEUED,
        (State.PAUSED, Event.RETRY): State.QUEUED,
        (State.ENDED, Event.RETRY): State.QUEUED,
        (State.RUNNING, Event.PAUSE): State.PAUSED,
        (State.RUNNING, Event.FINISH): State.ENDED,
        (State.PAUSED, Event.RESUME): State.RUNNING,
        (State.PAUSED, Event.FINISH): State.ENDED,
    }
)


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises ImpossibleTransition when the table has no such pair."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(state, event) from None
