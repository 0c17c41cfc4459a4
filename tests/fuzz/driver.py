"""Runs a target on mutations of its seeds: no dependencies, no coverage, any Python.

The same seed gives the same inputs. An input after which a target raises is written to a file,
with the line that repeats it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.fuzz.mutate import mutated

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGETS: Final = ("wire", "index", "spec")
# Inputs that were made from seeds take part as well, so that changes add up.
_KEPT: Final = 2000
_KEPT_SHARE: Final = 0.1
_MOST_CRASHES: Final = 20


class Crash(NamedTuple):
    """An input that a target did not bear: where it is kept, and what was raised."""

    target: str
    path: str
    error: str


class Done(NamedTuple):
    """What was done with one target."""

    target: str
    runs: int
    seconds: float
    crashes: list[Crash]

    def __str__(self) -> str:
        """One line of the report."""
        rate = self.runs / self.seconds if self.seconds else 0
        return (
            f"{self.target}: {self.runs} inputs in {self.seconds:.0f} s "
            f"({rate:.0f} a second), {len(self.crashes)} crashes"
        )


def say(text: str) -> None:
    """One line for people, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def target_module(name: str) -> Any:
    """The module of a target, which has `one_input` and `seeds`."""
    return import_module(f"tests.fuzz.{name}")


def run(
    name: str, *, seconds: float, seed: int, crashes: str, most_runs: int | None = None
) -> Done:
    """Run a target for so long, or so often; crashes go to files in the directory `crashes`."""
    module = target_module(name)
    dice = Random(f"{seed}/{name}")
    seeds = module.seeds()
    corpus = list(seeds)
    found: dict[str, Crash] = {}
    runs = 0
    begun = time.monotonic()
    for data in _inputs(dice, corpus, seeds):
        runs += 1
        try:
            module.one_input(data)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            found.setdefault(_place_of(error), _keep(name, data, error, crashes))
        over = runs >= most_runs if most_runs else time.monotonic() - begun >= seconds
        if over or len(found) >= _MOST_CRASHES:
            break
    return Done(name, runs, time.monotonic() - begun, list(found.values()))


def _inputs(dice: Random, corpus: list[bytes], seeds: Sequence[bytes]) -> Any:
    yield from seeds
    while True:
        data = mutated(dice, corpus)
        if dice.random() < _KEPT_SHARE:
            if len(corpus) < _KEPT:
                corpus.append(data)
            else:
                corpus[dice.randrange(len(seeds), _KEPT)] = data
        yield data


def _place_of(error: Exception) -> str:
    """Where an error came from: two inputs that find the same are one crash."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"


def _keep(name: str, data: bytes, error: Exception, directory: str) -> Crash:
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{name}-{hashlib.sha256(data).hexdigest()[:16]}")
    with open(path, "wb") as file:
        file.write(data)
    return Crash(name, path, "".join(traceback.format_exception(error)))
