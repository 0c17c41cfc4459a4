"""Deadlines of a job: each is met, none can be put off, and the first cause is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.watchdog import KILL, TERMINATE, Watchdog


def test_without_a_timeout_nothing_is_ever_due() -> None:
    watchdog = Watchdog(100.0, None, 10.0)
    assert watchdog.deadline() is None
    assert watchdog.on_time(1e9) is None
    assert not watchdog.timed_out


def test_a_timeout_terminates_then_kills_after_the_grace() -> None:
    watchdog = Watchdog(100.0, 5.0, 10.0)
    assert watchdog.deadline() == 105.0
    assert watchdog.on_time(104.999) is None
    assert not watchdog.timed_out
    assert watchdog.on_time(105.0) == TERMINATE
    assert watchdog.timed_out
    assert watchdog.deadline() == 115.0
    assert watchdog.on_time(114.999) is None
    assert watchdog.on_time(115.0) == KILL
    assert watchdog.deadline() is None
    assert watchdog.on_time(1e9) is None


def test_a_timeout_without_grace_kills_at_once() -> None:
    watchdog = Watchdog(0.0, 5.0, 0.0)
    assert watchdog.on_time(5.0) == KILL
    assert watchdog.timed_out
    assert watchdog.deadline() is None


def test_a_stop_terminates_then_kills_after_its_own_grace() -> None:
    watchdog = Watchdog(0.0, None, 10.0)
    assert watchdog.on_stop(1.0, 1000, 3.0) == TERMINATE
    assert watchdog.stopped_by_uid == 1000
    assert watchdog.deadline() == 4.0
    assert watchdog.on_time(4.0) == KILL


def test_a_stop_without_grace_kills_at_once_and_repeating_it_does_nothing() -> None:
    watchdog = Watchdog(0.0, None, 10.0)
    assert watchdog.on_stop(1.0, 1000, 0.0) == KILL
    assert watchdog.on_stop(2.0, 1000, 0.0) is None
    assert watchdog.on_time(1e9) is None


def test_repeating_a_stop_sends_no_second_sigterm() -> None:
    watchdog = Watchdog(0.0, None, 10.0)
    assert watchdog.on_stop(1.0, 1000, 10.0) == TERMINATE
    assert watchdog.on_stop(2.0, 1000, 10.0) is None


def test_a_later_stop_shortens_the_grace_and_never_lengthens_it() -> None:
    watchdog = Watchdog(0.0, None, 10.0)
    watchdog.on_stop(0.0, 1000, 10.0)
    assert watchdog.on_stop(1.0, 1000, 3600.0) is None
    assert watchdog.deadline() == 10.0
    assert watchdog.on_stop(2.0, 1000, 3.0) is None
    assert watchdog.deadline() == 5.0
    assert watchdog.on_stop(3.0, 1000, 0.0) == KILL


def test_who_stops_first_is_remembered() -> None:
    watchdog = Watchdog(0.0, None, 10.0)
    watchdog.on_stop(0.0, 1000, 10.0)
    watchdog.on_stop(1.0, 0, 0.0)
    assert watchdog.stopped_by_uid == 1000


def test_a_stop_after_the_timeout_does_not_take_the_blame_but_may_shorten_the_grace() -> None:
    watchdog = Watchdog(0.0, 5.0, 60.0)
    assert watchdog.on_time(5.0) == TERMINATE
    assert watchdog.on_stop(6.0, 1000, 1.0) is None
    assert watchdog.deadline() == 7.0
    assert (watchdog.timed_out, watchdog.stopped_by_uid) == (True, None)


def test_a_timeout_that_passes_during_a_stop_is_not_the_cause() -> None:
    watchdog = Watchdog(0.0, 5.0, 60.0)
    assert watchdog.on_stop(4.0, 1000, 3.0) == TERMINATE
    assert watchdog.on_time(6.0) is None
    assert watchdog.on_time(7.0) == KILL
    assert not watchdog.timed_out


def test_a_stop_with_a_long_grace_does_not_lift_the_timeout() -> None:
    """A job that ignores SIGTERM must not win time by being stopped."""
    watchdog = Watchdog(0.0, 5.0, 2.0)
    assert watchdog.on_stop(1.0, 1000, 3600.0) == TERMINATE
    due = watchdog.deadline()
    assert due is not None
    assert due <= 5.0 + 2.0


steps = st.lists(
    st.tuples(
        st.floats(0, 50),
        st.none() | st.tuples(st.integers(0, 9), st.floats(0, 100)),
    ),
    max_size=12,
)


@given(timeout=st.none() | st.floats(0.001, 100), grace=st.floats(0, 20), steps=steps)
def test_whatever_is_asked_when_the_kill_is_in_time_and_comes_once(
    timeout: float | None,
    grace: float,
    steps: list[tuple[float, tuple[int, float] | None]],
) -> None:
    """`on_time` is called at every deadline, as the run loop does it."""
    watchdog = Watchdog(0.0, timeout, grace)
    actions: list[tuple[float, str]] = []
    bounds = [] if timeout is None else [timeout + grace]
    now = 0.0

    def note(action: str | None) -> None:
        if action is not None:
            actions.append((now, action))

    def run_until(end: float) -> None:
        nonlocal now
        while (due := watchdog.deadline()) is not None and due <= end:
            now = max(now, due)
            note(watchdog.on_time(now))
        now = end

    for pause, stop in steps:
        run_until(now + pause)
        if stop is not None:
            uid, stop_grace = stop
            if (now, KILL) not in actions and not any(a == KILL for _, a in actions):
                bounds.append(now + stop_grace)
            note(watchdog.on_stop(now, uid, stop_grace))
    run_until(1e6)

    kinds = [action for _, action in actions]
    assert kinds in ([], [KILL], [TERMINATE, KILL])
    assert bool(kinds) == bool(bounds)
    if kinds:
        assert actions[-1][0] <= min(bounds) + 1e-6
        assert watchdog.timed_out != (watchdog.stopped_by_uid is not None)


@pytest.mark.parametrize("grace", [0.0, 10.0])
def test_after_the_kill_nothing_is_due(grace: float) -> None:
    watchdog = Watchdog(0.0, 5.0, grace)
    while (due := watchdog.deadline()) is not None:
        last = watchdog.on_time(due)
    assert last == KILL
    assert watchdog.on_stop(100.0, 1000, 10.0) is None
    assert watchdog.on_time(1e9) is None
