"""Runs for the tests of what is done with them."""

from __future__ import annotations

from tests.bench.kinds import OURS, Contender, Figure, Measured, Run, Sizes, Skipped, Target
from tests.bench.measuring import Taken, summed_up


def measured(
    ours: float = 2.0, peer: float = 8.0, *, name: str = "start", spread: float = 0.01
) -> Measured:
    """A figure with us and a peer; each round a little above the one before."""

    def rounds(value: float) -> list[list[float]]:
        return [[value * (1 + spread * n)] for n in range(5)]

    def never() -> list[float]:
        raise AssertionError

    contenders = [Contender(OURS, never, "ours"), Contender("bwrap", never, "no log <here>")]
    taken = Taken(contenders, None)  # type: ignore[arg-type]
    taken.rounds = {OURS: rounds(ours), "bwrap": rounds(peer)}
    taken.skipped = [Skipped("podman", "not there")]
    figure = Figure(
        name, "a `true` & its end", "ms", lambda *_: None, (Target(0.35, "bwrap"), Target(1)),  # type: ignore[arg-type]
        Sizes(1, 1), Sizes(1, 1),
    )  # fmt: skip
    return summed_up(figure, contenders, taken)


def run(*figures: Measured, kind: str = "native", at: str = "2026-01-02 03:04") -> Run:
    """A run with these."""
    machine = {"cpu": "a processor", "kernel": "6.18"}
    return Run(kind, False, at, "abc", machine, figures, (Skipped("tsp", "not installed"),))  # noqa: FBT003
