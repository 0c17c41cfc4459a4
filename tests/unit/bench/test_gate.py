from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.gate import Gate, Passed, Ticks, busy_share, read_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator


class Machine:
    """How busy it is at each look, and a clock that a look moves on by a second."""

    def __init__(self, *busy: float) -> None:
        self._busy: Iterator[float] = iter(busy)
        self.now = 0.0

    def look(self) -> float:
        self.now += 1
        return next(self._busy)

    def gate(self, patience: float, budget: float = 100) -> Gate:
        return Gate(patience, budget, most=0.1, look=self.look, clock=lambda: self.now)


def test_disk_wait_is_rest_and_stolen_time_is_not() -> None:
    assert read_ticks("cpu  1 2 4 100 200 8 16 32 0 0\ncpu0 …") == Ticks(63, 300)


@pytest.mark.parametrize("text", ["", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3"])
def test_another_line_than_the_first_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="proc/stat"):
        read_ticks(text)


def test_a_share_is_of_what_passed_between_two_looks() -> None:
    assert busy_share(Ticks(100, 100), Ticks(101, 103)) == 0.25
    assert busy_share(Ticks(100, 100), Ticks(100, 100)) == 0


def test_an_idle_machine_opens_at_once() -> None:
    machine = Machine(0.1)
    assert machine.gate(5).wait() == Passed(0.1, forced=False)
    assert machine.now == 1


def test_a_busy_one_is_waited_for() -> None:
    assert Machine(0.9, 0.5, 0.05).gate(5).wait() == Passed(0.05, forced=False)


def test_a_gate_that_is_forced_says_how_busy_it_was() -> None:
    assert Machine(*[0.9] * 10).gate(3).wait() == Passed(0.9, forced=True)


def test_nobody_waits_any_more_when_the_budget_is_used_up() -> None:
    machine = Machine(*[0.9] * 100)
    gate = machine.gate(4, budget=6)
    took = []
    for _ in range(4):
        before = machine.now
        assert gate.wait().forced
        took.append(machine.now - before)
    assert took == [4, 2, 1, 1]
