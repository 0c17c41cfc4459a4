"""The words of the benchmark: figures, contenders, targets, and what came of them. No I/O.

What is run stands in `figures_*`, how it is run in `measuring`, what is computed of it in
`summary`. Everything here can be written to JSON as it is (`results`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

OURS: Final = "runnerd"
FLOOR: Final = "floor"

Better = Literal["lower", "higher"]


class Contender(NamedTuple):
    """Somebody who is measured: `batch` does it some times and gives a sample for each.

    `unit` and `better` are the figure's unless they are given. `notes` say in what it is not the
    same as the others, and why. `is_peer`: a ratio of ours to it means something.
    """

    name: str
    batch: Callable[[], list[float]]
    notes: str = ""
    unit: str | None = None
    better: Better | None = None
    is_peer: bool = True


class Target(NamedTuple):
    """What is to be reached: the median of `of`, divided by that of `against` or as it is.

    At most `bound` where lower is better, else at least.
    """

    bound: float
    against: str | None = None
    of: str = OURS


class Sizes(NamedTuple):
    """How much is measured: rounds in which everybody has a turn, and how large a turn is.

    What `load` counts (bytes, jobs) is the figure's to say.
    """

    rounds: int
    batch: int
    load: int = 0


class Figure(NamedTuple):
    """One line of the table. `enter` sets it up, and takes it down when it is left."""

    name: str
    what: str
    unit: str
    enter: Callable[[Any, Sizes], AbstractContextManager[list[Contender]]]
    targets: tuple[Target, ...]
    full: Sizes
    quick: Sizes
    better: Better = "lower"
    in_lane: bool = False
    # In the lane everything takes five times as long; None: as elsewhere.
    in_lane_full: Sizes | None = None


class Skipped(NamedTuple):
    """Somebody who was to be measured and was not."""

    name: str
    why: str


class Interval(NamedTuple):
    """Bounds of 95 % of what a bootstrap gave."""

    low: float
    high: float


class Line(NamedTuple):
    """What one contender came to. `ratio` is that of our median to this one's."""

    name: str
    unit: str
    better: Better
    samples: int
    median: float
    p95: float
    least: float
    interval: Interval
    ratio: float | None
    ratio_interval: Interval | None
    notes: str


class Verdict(NamedTuple):
    """A target and what was reached. `reached` None: it could not be measured."""

    of: str
    against: str | None
    better: Better
    bound: float
    value: float | None
    interval: Interval | None
    reached: bool | None


class Measured(NamedTuple):
    """A figure with everything that came of it. `forced`: batches that ran on a busy machine.

    `seconds`: how long all of it took, with what had to be set up.
    """

    name: str
    what: str
    unit: str
    lines: tuple[Line, ...]
    verdicts: tuple[Verdict, ...]
    skipped: tuple[Skipped, ...]
    batches: int
    forced: int
    busiest: float
    seconds: float
    # By contender, a list for each round.
    rounds: dict[str, list[list[float]]]


class Run(NamedTuple):
    """A run of the benchmark. `kind`: "native" or "lane"."""

    kind: str
    quick: bool
    taken_at: str
    commit: str
    machine: dict[str, str]
    figures: tuple[Measured, ...]
    skipped: tuple[Skipped, ...]
