"""Waiting for a daemon that went away: how long, how often, and what the user hears."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from client import patience as module
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused
from client.patience import Patience, is_away

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.naps: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


LOST = ConnectionLost("gone")


def wait_until_it_gives_up(patience: Patience, between: Callable[[], None] = lambda: None) -> None:
    """At most a thousand tries, or the test fails."""
    with suppress(ConnectionLost):
        for _ in range(1000):
            patience.wait(LOST)
            between()
        pytest.fail("it never gave up")


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (LOST, True),
        (DaemonUnavailable("missing", "/x", "t", "r"), True),
        (RequestRefused("shutting-down"), True),
        (RequestRefused("cancelled"), True),
        (RequestRefused("no-such-job"), False),
        (ProtocolError("x"), False),
        (OSError(), False),
    ],
)
def test_only_an_absent_daemon_is_away(error: Exception, *, away: bool) -> None:
    assert is_away(error) is away


def test_it_waits_longer_and_longer_and_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    patience = Patience(60)
    wait_until_it_gives_up(patience)
    assert sum(clock.naps) == pytest.approx(60)
    assert clock.naps[0] == module.FIRST_DELAY_SECONDS
    assert max(clock.naps) == module.LONGEST_DELAY_SECONDS


def test_the_user_hears_of_it_once_and_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    heard: list[str] = []
    patience = Patience(60, lambda error: heard.append(str(error)), lambda: heard.append("back"))
    patience.connected()
    for _ in range(3):
        patience.wait(LOST)
    patience.connected()
    patience.progress()
    patience.connected()
    assert heard == ["gone", "back"]


def test_each_absence_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    patience = Patience(1)
    for _ in range(5):
        patience.wait(LOST)
        clock.now += 0.9
        patience.connected()
        patience.progress()
    clock.now += 100
    patience.wait(LOST)
    patience.connected()
    # Nothing was said, but it stood for long.
    clock.now += module.STEADY_SECONDS
    patience.wait(LOST)


def test_a_daemon_that_dies_of_each_try_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    patience = Patience(10)
    wait_until_it_gives_up(patience, patience.connected)
    assert sum(clock.naps) == pytest.approx(10)


def test_no_patience_is_no_waiting_and_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    heard: list[Exception] = []
    with pytest.raises(ConnectionLost):
        Patience(0, heard.append).wait(LOST)
    assert not clock.naps
    assert not heard


def test_it_never_waits_beyond_the_end_that_its_user_has(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    heard: list[Exception] = []
    patience, end = Patience(60, heard.append), clock.now + 30
    clock.now += 29
    with suppress(ConnectionLost):
        for _ in range(1000):
            patience.wait(LOST, end)
        pytest.fail("it never gave up")
    assert clock.now == pytest.approx(end)
    assert len(heard) == 1


def test_an_end_that_has_passed_is_no_waiting_and_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    heard: list[Exception] = []
    with pytest.raises(ConnectionLost):
        Patience(60, heard.append).wait(LOST, clock.now)
    assert not clock.naps
    assert not heard
