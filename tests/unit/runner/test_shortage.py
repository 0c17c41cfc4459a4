"""While the host lacks what every launch needs none is tried; then one is, ever more rarely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runner import shortage as module
from runner.problems import Problems
from runner.refusal import Refusal
from runner.shortage import Shortage

if TYPE_CHECKING:
    from collections.abc import Callable


class Host:
    """A loop whose timer fires when told to, and a disk."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.is_full = False
        self.woken = 0
        self.problems = Problems()
        loop: Any = self
        self.shortage = Shortage(loop, "/state", self.problems, self.wake)

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        self.timers.append((seconds, call))
        return self

    def wake(self) -> None:
        assert not self.shortage.lasts
        self.woken += 1

    def fire(self) -> float:
        ((seconds, call),) = self.timers
        self.timers.clear()
        call()
        return seconds

    def check_room(self, state_dir: str, _spec_bytes: int) -> None:
        assert state_dir == "/state"
        if self.is_full:
            raise Refusal("store-error")

    @property
    def said(self) -> list[str]:
        return [problem.text for problem in self.problems.all()]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(module, "check_room", made.check_room)
    return made


def test_nothing_lasts_before_a_launch_has_failed(host: Host) -> None:
    host.shortage.over()
    assert (host.shortage.lasts, host.timers, host.said) == (False, [], [])


def test_tries_become_rarer_until_a_launch_works(host: Host) -> None:
    waited = []
    for _ in range(8):
        # Those that were under way together are one try.
        host.shortage.found("no memory")
        host.shortage.found("no memory")
        assert host.shortage.lasts
        waited.append(host.fire())
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60]
    assert host.woken == 8
    host.shortage.over()
    host.shortage.found("no memory")
    assert host.fire() == 1


def test_a_disk_that_is_seen_full_is_looked_at_and_nothing_tried(host: Host) -> None:
    host.is_full = True
    host.shortage.found("no room")
    assert [host.fire() for _ in range(5)] == [1] * 5
    assert (host.shortage.lasts, host.woken) == (True, 0)
    host.is_full = False
    host.fire()
    assert (host.shortage.lasts, host.woken, host.timers) == (False, 1, [])


def test_what_is_lacking_is_a_problem_until_a_launch_works(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.problems.add("another")
    for _ in range(3):
        host.shortage.found("no room")
    assert host.said == ["another", "queued jobs wait, because none can be started: no room"]
    host.shortage.found("no memory")
    assert host.said == ["another", "queued jobs wait, because none can be started: no memory"]
    host.shortage.over()
    assert host.said == ["another"]
    host.shortage.found("no room")
    assert len(host.said) == 2
    assert sum("no room" in record.message for record in caplog.records) == 2
