"""The deadlines of a job in C: whatever happens, they are those of the Python watchdog."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.outcome import CPU_TIME, DEADLINE, LOG_ERROR, OUTPUT_LIMIT, STOPPED, TIMEOUT
from runner.watchdog import KILL, TERMINATE, WARN, Bounds, Watchdog
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# In the order of the enumerations in native.h.
ACTIONS: Final = (None, WARN, TERMINATE, KILL)
CAUSES: Final = (None, STOPPED, TIMEOUT, DEADLINE, CPU_TIME, OUTPUT_LIMIT, LOG_ERROR)

# Times that meet each other, and times that do not.
seconds = st.integers(0, 40).map(lambda quarters: quarters / 4) | st.floats(0, 2.0**32)
bound = st.none() | seconds
bounds = st.builds(Bounds, bound, bound, bound)
# What happens, and how long after the one before; None: when the next thing is due.
happened = st.tuples(
    st.one_of(
        st.tuples(st.sampled_from(["p", "r", "t", "x", "l"])),
        st.tuples(st.just("u"), bounds),
        st.tuples(st.just("c"), seconds),
        st.tuples(st.just("w"), seconds | seconds.map(lambda past: -past)),
        st.tuples(st.just("s"), st.integers(0, 2**32 - 2), seconds),
    ),
    st.none() | st.just(0.0) | seconds,
)


class Beginning(NamedTuple):
    """What a watchdog is made with."""

    started: float
    bounds: Bounds
    grace: float
    cpus: int
    has_deadline: bool


beginnings = st.builds(Beginning, seconds, bounds, seconds, st.integers(1, 512), st.booleans())


@pytest.fixture(scope="module")
def native(driver: Callable[..., str]) -> Iterator[Driver]:
    with Driver(driver("watchdog", "watchdog")) as process:
        yield process


def said(*numbers: float | None) -> str:
    return " ".join("nan" if number is None else float(number).hex() for number in numbers)


def done_to(watchdog: Watchdog, now: float, event: tuple[Any, ...]) -> int:
    """The number that the driver answers to the event."""
    kind, *given_with = event
    if kind == "p":
        return int(watchdog.on_pause(now))
    actions: dict[str, Callable[..., Any]] = {
        "r": watchdog.on_resume, "u": watchdog.on_update, "t": watchdog.on_time,
        "c": watchdog.on_cpu, "w": watchdog.on_wall_clock, "x": watchdog.on_excess,
        "l": watchdog.on_log_error, "s": watchdog.on_stop,
    }  # fmt: skip
    return ACTIONS.index(actions[kind](now, *given_with))


def state(watchdog: Watchdog, action: int, now: float) -> list[Any]:
    return [
        action,
        CAUSES.index(watchdog.cause),
        watchdog.deadline(),
        watchdog.paused_seconds(now),
        watchdog.wants_cpu(now),
        watchdog.wants_wall_clock(now),
        watchdog.stopped_by_uid,
    ]


def parsed(line: str) -> list[Any]:
    action, cause, deadline, paused, cpu, wall, stopper = line.split()
    due = float.fromhex(deadline)
    return [
        int(action), int(cause), None if math.isnan(due) else due, float.fromhex(paused),
        cpu == "1", wall == "1", None if stopper == "-" else int(stopper),
    ]  # fmt: skip


def event_line(event: tuple[Any, ...], now: float) -> str:
    kind, *given_with = event
    if kind == "u":
        return f"u {said(now, *given_with[0])}"
    if kind == "s":
        return f"s {said(now)} {given_with[0]} {said(given_with[1])}"
    return f"{kind} {said(now, *given_with)}"


@settings(max_examples=1500)
@given(beginnings, st.lists(happened, max_size=30))
def test_any_sequence_of_events_gives_the_same_actions_causes_and_deadlines(
    native: Driver, beginning: Beginning, events: list[tuple[tuple[Any, ...], float | None]]
) -> None:
    now, limits, grace, cpus, has_deadline = beginning
    watchdog = Watchdog(now, limits, grace, cpus, has_deadline=has_deadline)
    lines = [f"{said(now, *limits, grace)} {cpus} {int(has_deadline)}"]
    wanted = [state(watchdog, 0, now)]
    for event, later in events:
        due = watchdog.deadline()
        now = now + later if later is not None else max(now, due or now)
        lines.append(event_line(event, now))
        wanted.append(state(watchdog, done_to(watchdog, now, event), now))
    answer = native.ask("\n".join(lines).encode()).decode().splitlines()
    assert [parsed(line) for line in answer] == wanted


@settings(max_examples=300)
@given(beginnings)
def test_left_to_itself_a_job_is_warned_ended_and_killed_at_the_same_moments(
    native: Driver, beginning: Beginning
) -> None:
    now, limits, grace, cpus, _ = beginning
    watchdog = Watchdog(now, limits, grace, cpus)
    lines = [f"{said(now, *limits, grace)} {cpus} 0"]
    wanted = [state(watchdog, 0, now)]
    for _ in range(20):
        due = watchdog.deadline()
        if due is None:
            break
        now = max(now, due)
        used = ("c", (now - beginning.started) * cpus)
        for event in (("t",), used) if watchdog.wants_cpu(now) else (("t",),):
            lines.append(event_line(event, now))
            wanted.append(state(watchdog, done_to(watchdog, now, event), now))
    answer = native.ask("\n".join(lines).encode()).decode().splitlines()
    assert [parsed(line) for line in answer] == wanted
