"""The policies of an end, for every signal, clock and number of jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config import ShutdownConfig
from runner.shutdown import Action, Seen, next_action, seconds_left, when_to_ask_again

LEAVE = ShutdownConfig(policy="leave", timeout_seconds=10)
STOP = ShutdownConfig(policy="stop", timeout_seconds=10)
WAIT = ShutdownConfig(policy="wait", timeout_seconds=10)
AT_ONCE = Seen(signals=1, seconds=0.0, running=3)

CONFIGS = st.builds(
    ShutdownConfig,
    policy=st.sampled_from(["leave", "stop", "wait"]),
    timeout_seconds=st.floats(0, 31_536_000),
)
SEEN = st.builds(
    Seen,
    signals=st.integers(1, 4),
    seconds=st.floats(0, 40_000_000),
    running=st.integers(0, 300),
    has_asked=st.booleans(),
)


def test_leave_asks_nobody_and_waits_for_nobody() -> None:
    assert next_action(LEAVE, AT_ONCE) is Action.LEAVE


def test_stop_asks_once_and_then_waits() -> None:
    assert next_action(STOP, AT_ONCE) is Action.STOP
    assert next_action(STOP, AT_ONCE._replace(has_asked=True, seconds=9.9)) is Action.WAIT


def test_stop_asks_even_when_there_is_no_time_to_wait() -> None:
    hurried = ShutdownConfig(policy="stop", timeout_seconds=0)
    assert next_action(hurried, AT_ONCE) is Action.STOP
    assert next_action(hurried, AT_ONCE._replace(has_asked=True)) is Action.LEAVE


def test_wait_waits_and_asks_nobody() -> None:
    assert next_action(WAIT, AT_ONCE._replace(seconds=9.9)) is Action.WAIT


@pytest.mark.parametrize("config", [STOP, WAIT])
def test_when_the_time_has_passed_what_runs_is_left(config: ShutdownConfig) -> None:
    assert next_action(config, AT_ONCE._replace(has_asked=True, seconds=10.0)) is Action.LEAVE


@given(config=CONFIGS, seen=SEEN)
def test_a_second_signal_leaves_at_once_whatever_the_policy(
    config: ShutdownConfig, seen: Seen
) -> None:
    assert next_action(config, seen._replace(signals=max(2, seen.signals))) is Action.LEAVE


@given(config=CONFIGS, seen=SEEN)
def test_without_jobs_there_is_nothing_to_wait_for(config: ShutdownConfig, seen: Seen) -> None:
    assert next_action(config, seen._replace(running=0)) is Action.LEAVE


@given(config=CONFIGS, seen=SEEN)
def test_only_stop_stops_and_never_twice(config: ShutdownConfig, seen: Seen) -> None:
    if next_action(config, seen) is Action.STOP:
        assert config.policy == "stop"
        assert not seen.has_asked


@given(config=CONFIGS, seen=SEEN)
def test_a_wait_has_an_end(config: ShutdownConfig, seen: Seen) -> None:
    if next_action(config, seen) is Action.WAIT:
        left = seconds_left(config, seen)
        assert left > 0
        # A little more than that, for what floats lose.
        later = seen._replace(seconds=(seen.seconds + left) * (1 + 1e-9))
        assert next_action(config, later) is Action.LEAVE


def test_who_has_to_come_back_is_told_how_long_it_may_take() -> None:
    asked = when_to_ask_again(ShutdownConfig(policy="leave"))
    assert asked == "runnerd is ending; ask again once it is started again"
    for policy in ("stop", "wait"):
        asked = when_to_ask_again(ShutdownConfig(policy=policy, timeout_seconds=300))
        assert "gives jobs that run up to 300 s; ask again" in asked


@given(config=CONFIGS, seen=SEEN)
def test_the_time_that_is_left_is_never_negative(config: ShutdownConfig, seen: Seen) -> None:
    assert 0 <= seconds_left(config, seen) <= config.timeout_seconds
