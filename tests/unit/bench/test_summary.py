from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench import summary
from tests.bench.kinds import OURS, Target

VALUES = st.floats(0.001, 1e9)
ROUNDS = st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=1, max_size=6)


def test_a_percentile_lies_between_two_samples_in_proportion() -> None:
    assert summary.percentile([4, 1, 3, 2], 0) == 1
    assert summary.percentile([4, 1, 3, 2], 0.5) == 2.5
    assert summary.percentile([4, 1, 3, 2], 1) == 4


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summary.percentile([], 0.5)


@given(st.lists(VALUES, min_size=1), st.floats(0, 1))
def test_a_percentile_is_never_outside_of_its_samples(samples: list[float], share: float) -> None:
    assert min(samples) <= summary.percentile(samples, share) <= max(samples)


@settings(max_examples=20, deadline=None)
@given(ROUNDS)
def test_an_interval_is_ordered_and_within_the_samples(rounds: list[list[float]]) -> None:
    low, high = summary.interval_of_median(rounds)
    samples = summary.flat(rounds)
    assert min(samples) <= low <= high <= max(samples)


@settings(max_examples=20, deadline=None)
@given(ROUNDS)
def test_the_ratio_to_itself_is_one_whatever_is_drawn(rounds: list[list[float]]) -> None:
    assert summary.interval_of_ratio(rounds, rounds) == (1, 1)


def test_what_slows_a_whole_round_down_falls_out_of_the_ratio() -> None:
    quiet, busy = [10.0, 10.0], [40.0, 40.0]
    ours = [quiet, busy, quiet, busy]
    theirs = [[2 * value for value in one] for one in ours]
    assert summary.interval_of_ratio(ours, theirs) == (0.5, 0.5)
    assert summary.interval_of_median(ours) == (10, 40)


def test_the_same_samples_give_the_same_interval() -> None:
    rounds = [[float(n), n + 1.5] for n in range(9)]
    assert summary.interval_of_median(rounds) == summary.interval_of_median(rounds)


def test_p95_is_on_the_bad_side_whichever_that_is() -> None:
    rounds = [[float(n) for n in range(101)]]
    assert summary.line("x", "ms", "lower", rounds, None, "").p95 == 95
    assert summary.line("x", "1/s", "higher", rounds, None, "").p95 == 5


def test_a_line_has_a_ratio_only_when_ours_is_given() -> None:
    rounds = [[2.0], [2.0]]
    assert summary.line("x", "ms", "lower", rounds, None, "").ratio is None
    assert summary.line("x", "ms", "lower", rounds, [[1.0], [1.0]], "").ratio == 0.5


@pytest.mark.parametrize(
    ("better", "bound", "reached"),
    [("lower", 0.5, True), ("lower", 0.4, False), ("higher", 0.5, True), ("higher", 0.6, False)],
)
def test_a_target_is_reached_at_its_bound(better: str, bound: float, *, reached: bool) -> None:
    rounds = {OURS: [[1.0], [1.0]], "peer": [[2.0], [2.0]]}
    said = summary.verdict(Target(bound, "peer"), rounds, better)  # type: ignore[arg-type]
    assert (said.value, said.reached) == (0.5, reached)


def test_a_target_without_a_peer_is_about_the_figure_itself() -> None:
    said = summary.verdict(Target(45), {OURS: [[44.0]]}, "lower")
    assert (said.value, said.reached) == (44, True)


@pytest.mark.parametrize("rounds", [{}, {OURS: [[1.0]]}, {OURS: [[1.0]], "peer": []}])
def test_a_target_is_open_when_somebody_was_not_measured(
    rounds: dict[str, list[list[float]]],
) -> None:
    said = summary.verdict(Target(2, "peer"), rounds, "lower")
    assert (said.value, said.interval, said.reached) == (None, None, None)


def test_a_large_turn_is_thinned_and_keeps_its_median() -> None:
    rounds = [[float(n) for n in range(1001)], [float(n) for n in range(1001)]]
    low, high = summary.interval_of_median(rounds)
    assert low == pytest.approx(500, abs=15) == high
