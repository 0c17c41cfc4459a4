"""What may be committed with something else: how long it waits, by a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner.late_commits import LATEST_SECONDS, LateCommits

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """The loop, the work and the store: what is due is done when the time is moved on."""

    def __init__(self) -> None:
        parts: Any = self
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.has_deferred = False
        self.on_deferred: Callable[[], None]
        self.commits: list[float] = []
        self.loop = SimpleNamespace(time=lambda: self.now, call_at=self._call_at)
        self.late = LateCommits(parts, parts)

    def _call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.due.append((when, callback))

    def now_or_later(self, commit: Callable[[], None]) -> None:
        commit()

    def commit_deferred(self) -> None:
        self.has_deferred = False
        self.commits.append(self.now)

    def defer(self) -> None:
        self.has_deferred = True
        self.on_deferred()

    def until(self, when: float) -> None:
        while self.due and self.due[0][0] <= when:
            self.now, callback = self.due.pop(0)
            callback()
        self.now = when


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_waits_is_committed_when_its_time_has_come(clock: Clock) -> None:
    clock.defer()
    clock.until(100 + LATEST_SECONDS / 2)
    assert clock.commits == []
    clock.until(101)
    assert clock.commits == [100 + LATEST_SECONDS]
    assert clock.due == []


def test_what_was_committed_with_something_else_is_not_committed_again(clock: Clock) -> None:
    clock.defer()
    clock.has_deferred = False
    clock.until(101)
    assert (clock.commits, clock.due) == ([], [])
    clock.defer()
    clock.until(102)
    assert clock.commits == [101 + LATEST_SECONDS]


def test_what_comes_after_such_a_commit_waits_as_long_as_any_and_sets_no_second_timer(
    clock: Clock,
) -> None:
    clock.defer()
    clock.has_deferred = False
    clock.until(100 + LATEST_SECONDS / 2)
    clock.defer()
    assert len(clock.due) == 1
    clock.until(100 + LATEST_SECONDS)
    assert (clock.commits, len(clock.due)) == ([], 1)
    clock.until(101)
    assert clock.commits == [100 + LATEST_SECONDS / 2 + LATEST_SECONDS]


def test_after_the_end_it_is_left_to_the_stores(clock: Clock) -> None:
    clock.defer()
    clock.late.close()
    clock.until(101)
    assert (clock.commits, clock.due) == ([], [])
