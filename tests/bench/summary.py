"""Statistics: medians, percentiles, and ratios with bootstrap intervals. Pure.

Samples of one turn resemble each other, so turns are drawn, not samples; and everybody had a
turn in each round, so of a ratio both sides are drawn from the same rounds. What the machine did
meanwhile then falls out.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.bench.kinds import Interval, Line, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.kinds import Better

    Rounds = Sequence[Sequence[float]]

_DRAWS: Final = 1000
_SEED: Final = 1
_LARGE: Final = 41


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which that share lies, between two of them if need be.

    Raises ValueError when there is none.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    at = (len(ordered) - 1) * share
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def median(samples: Sequence[float]) -> float:
    """The middle one."""
    return percentile(samples, 0.5)


def flat(rounds: Rounds) -> list[float]:
    """All samples, whichever round they are of."""
    return [sample for of_round in rounds for sample in of_round]


def interval_of_median(rounds: Rounds) -> Interval:
    """Where the median lies in 95 % of the draws."""
    thin = [_thinned(one) for one in rounds]
    return _bootstrap(len(thin), lambda drawn: median(_chosen(thin, drawn)))


def interval_of_ratio(ours: Rounds, theirs: Rounds) -> Interval:
    """The same of the ratio of our median to theirs, over the rounds that both have."""
    above, below = [_thinned(one) for one in ours], [_thinned(one) for one in theirs]

    def ratio(drawn: Sequence[int]) -> float:
        return divided(median(_chosen(above, drawn)), median(_chosen(below, drawn)))

    return _bootstrap(min(len(above), len(below)), ratio)


def _thinned(samples: Sequence[float]) -> Sequence[float]:
    """A large turn by some of its percentiles: 1,000 draws of all of it would take minutes."""
    if len(samples) <= _LARGE:
        return samples
    return [percentile(samples, (place + 0.5) / _LARGE) for place in range(_LARGE)]


def divided(one: float, other: float) -> float:
    """A ratio; infinite when there is nothing to divide by."""
    return one / other if other else float("inf")


def _chosen(rounds: Rounds, drawn: Sequence[int]) -> list[float]:
    return [sample for number in drawn for sample in rounds[number]]


def _bootstrap(rounds: int, value: Callable[[Sequence[int]], float]) -> Interval:
    # Seeded: the same samples give the same table.
    dice = random.Random(_SEED)
    values = [value(dice.choices(range(rounds), k=rounds)) for _ in range(_DRAWS)]
    return Interval(percentile(values, 0.025), percentile(values, 0.975))


def line(
    name: str, unit: str, better: Better, rounds: Rounds, ours: Rounds | None, notes: str
) -> Line:
    """What a contender came to; with a ratio when our own samples are given."""
    samples = flat(rounds)
    middle = median(samples)
    return Line(
        name, unit, better, len(samples), middle,
        percentile(samples, 0.95 if better == "lower" else 0.05), min(samples),
        interval_of_median(rounds),
        None if ours is None else divided(median(flat(ours)), middle),
        None if ours is None else interval_of_ratio(ours, rounds),
        notes,
    )  # fmt: skip


def verdict(target: Target, rounds: dict[str, list[list[float]]], better: Better) -> Verdict:
    """Whether a target is reached, as far as those were measured whom it is about."""
    wanted = {target.of} | ({target.against} if target.against else set())
    unknown = Verdict(target.of, target.against, better, target.bound, None, None, None)
    if any(not flat(rounds.get(name, [])) for name in wanted):
        return unknown
    ours = rounds[target.of]
    if target.against is None:
        value, interval = median(flat(ours)), interval_of_median(ours)
    else:
        theirs = rounds[target.against]
        value = divided(median(flat(ours)), median(flat(theirs)))
        interval = interval_of_ratio(ours, theirs)
    reached = value <= target.bound if better == "lower" else value >= target.bound
    return unknown._replace(value=value, interval=interval, reached=reached)
