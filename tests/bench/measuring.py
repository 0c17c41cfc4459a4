"""Takes the figures: rounds in which every contender has a turn, each behind the gate.

A B C, then B C A: whoever always came after the same neighbour would inherit its dirty pages and
warm caches. A contender that fails is left out from there on, and named with its reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Protocol

from client.errors import ClientError
from tests.bench import summary
from tests.bench.kinds import OURS, Contender, Figure, Measured, Sizes, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.gate import Passed
    from tests.bench.kinds import Better

# What a contender may raise because of what it is, not because of a defect here.
FAILURES = (OSError, subprocess.SubprocessError, ClientError, RuntimeError)


class Door(Protocol):
    """What a batch waits at."""

    def wait(self) -> Passed: ...


class Taken:
    """The samples of one figure while they are taken."""

    def __init__(self, contenders: Sequence[Contender], door: Door) -> None:
        self._contenders = list(contenders)
        self._door = door
        self.rounds: dict[str, list[list[float]]] = {one.name: [] for one in contenders}
        self.skipped: list[Skipped] = []
        self.passed: list[Passed] = []

    def take(self, rounds: int, say: Callable[[str], None]) -> None:
        """So many rounds, in each of which everybody who is left has a turn."""
        for number in range(rounds):
            for contender in in_turn(self._contenders, number):
                self._turn(contender)
            say(f"{number + 1}/{rounds}")

    def _turn(self, contender: Contender) -> None:
        # What was written must not be written back during somebody else's turn.
        os.sync()
        self.passed.append(self._door.wait())
        try:
            samples = contender.batch()
        except FAILURES as error:
            if contender.name == OURS:
                raise
            self.skipped.append(Skipped(contender.name, f"failed: {one_line(error)}"))
            self._contenders.remove(contender)
            return
        self.rounds[contender.name].append(samples)


def in_turn(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """The order of a round: each begins with the next one."""
    first = number % len(contenders) if contenders else 0
    return [*contenders[first:], *contenders[:first]]


def one_line(error: BaseException) -> str:
    """An error in a table."""
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def measure(figure: Figure, stage: object, sizes: Sizes, door: Door) -> Measured:
    """Set a figure up, take it, and say what it came to."""

    def say(progress: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{figure.name}: round {progress} ")
            sys.stderr.flush()

    began = time.monotonic()
    with figure.enter(stage, sizes) as contenders:
        taken = Taken(contenders, door)
        taken.take(sizes.rounds, say)
    return summed_up(figure, contenders, taken, time.monotonic() - began)


def summed_up(
    figure: Figure, contenders: Sequence[Contender], taken: Taken, seconds: float = 0.0
) -> Measured:
    """The lines and verdicts of what was taken."""
    rounds = {name: samples for name, samples in taken.rounds.items() if samples}
    lines = [
        summary.line(
            one.name, one.unit or figure.unit, _better(figure, one), rounds[one.name],
            rounds.get(OURS) if one.is_peer and one.name != OURS else None, one.notes,
        )
        for one in contenders if one.name in rounds
    ]  # fmt: skip
    directions = {one.name: _better(figure, one) for one in contenders}
    verdicts = [
        summary.verdict(target, rounds, directions.get(target.of, figure.better))
        for target in figure.targets
    ]
    return Measured(
        figure.name, figure.what, figure.unit, tuple(lines), tuple(verdicts),
        tuple(taken.skipped), len(taken.passed), sum(one.forced for one in taken.passed),
        max((one.busy for one in taken.passed), default=0.0), seconds, rounds,
    )  # fmt: skip


def _better(figure: Figure, contender: Contender) -> Better:
    return contender.better or figure.better
