from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.gate import Passed
from tests.bench.kinds import FLOOR, OURS, Contender, Figure, Sizes, Skipped, Target
from tests.bench.measuring import in_turn, measure, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Door:
    def __init__(self, *, forced: bool = False) -> None:
        self.forced = forced

    def wait(self) -> Passed:
        return Passed(0.5 if self.forced else 0.01, self.forced)


def figure(contenders: list[Contender], *targets: Target) -> Figure:
    @contextmanager
    def enter(_stage: object, _sizes: Sizes) -> Iterator[list[Contender]]:
        yield contenders

    return Figure("it", "what it is", "ms", enter, targets, Sizes(4, 1), Sizes(1, 1))


def taker(name: str, calls: list[str], value: float = 1.0) -> Contender:
    def batch() -> list[float]:
        calls.append(name)
        return [value, value]

    return Contender(name, batch)


def fails(times: int) -> Callable[[], list[float]]:
    left = [times]

    def batch() -> list[float]:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("gone\nfor good")
        return [1.0]

    return batch


def taken(*contenders: Contender, door: Door | None = None, rounds: int = 3) -> Any:
    return measure(figure(list(contenders)), None, Sizes(rounds, 1), door or Door())


def test_everybody_has_a_turn_in_each_round_and_another_one_begins_each() -> None:
    calls: list[str] = []
    taken(*(taker(name, calls) for name in "abc"))
    assert "".join(calls) == "abcbcacab"


def test_nobody_is_in_turn_when_nobody_is_left() -> None:
    assert in_turn([], 5) == []


def test_the_ratio_is_ours_to_theirs() -> None:
    calls: list[str] = []
    lines = taken(taker(OURS, calls, 1.0), taker("bwrap", calls, 4.0)).lines
    assert [(line.name, line.ratio, line.samples) for line in lines] == [
        (OURS, None, 6), ("bwrap", 0.25, 6),
    ]  # fmt: skip


def test_a_peer_that_fails_is_named_and_the_others_go_on() -> None:
    calls: list[str] = []
    one = taken(taker(OURS, calls), Contender("podman", fails(0)), taker(FLOOR, calls))
    assert one.skipped == (Skipped("podman", "failed: gone for good"),)
    assert [line.name for line in one.lines] == [OURS, FLOOR]
    assert len(calls) == 6


def test_what_a_peer_gave_before_it_failed_still_counts() -> None:
    calls: list[str] = []
    one = taken(taker(OURS, calls), Contender("podman", fails(2)))
    assert [(line.name, line.samples) for line in one.lines] == [(OURS, 6), ("podman", 2)]


def test_our_own_failure_is_a_failure() -> None:
    with pytest.raises(OSError, match="gone"):
        taken(Contender(OURS, fails(1)))


def test_a_defect_of_the_benchmark_is_never_a_peers_failure() -> None:
    def broken() -> list[float]:
        raise TypeError("defect")

    with pytest.raises(TypeError):
        taken(Contender("podman", broken))


def test_a_result_says_how_often_the_gate_was_forced() -> None:
    one = taken(taker(OURS, []), door=Door(forced=True))
    assert (one.batches, one.forced, one.busiest) == (3, 3, 0.5)


def test_an_error_is_one_line_and_not_empty() -> None:
    assert one_line(OSError("a\n b")) == "a b"
    assert one_line(RuntimeError()) == "RuntimeError"
