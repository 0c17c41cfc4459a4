"""Each fuzz target bears its seeds and some seconds' worth of mutations, the same ones always."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from runner.messages import Submit
from runner.parsing import parse
from runner.refusal import Refusal
from tests.fuzz import driver, groups, wire
from tests.fuzz.mutate import MOST_BYTES, mutated

if TYPE_CHECKING:
    from pathlib import Path

    from client.protocol import Message
    from tests.fuzz.driver import Done

# Some seconds for each target; `scripts/fuzz` goes on for as long as it is told.
RUNS = {"wire": 20_000, "index": 1_000, "spec": 20_000}
SEED = 4


@pytest.mark.parametrize("name", driver.TARGETS)
def test_nothing_that_a_stranger_wrote_is_a_defect(name: str, tmp_path: Path) -> None:
    done = driver.run(name, seconds=0, seed=SEED, crashes=str(tmp_path), most_runs=RUNS[name])
    assert not done.crashes, done.crashes[0].error
    assert done.runs == RUNS[name]


def read(op: str, args: Message) -> object:
    request = parse(wire._KINDS[op], args)
    groups.check(request, wire._check_submission)
    return request


@pytest.mark.parametrize(("op", "args"), groups.requests())
def test_mutations_of_groups_begin_with_what_is_accepted(op: str, args: Message) -> None:
    request = read(op, args)
    if isinstance(request, Submit):
        groups.check_hooks(request, wire._PEER)


@pytest.mark.parametrize(("op", "args"), groups.wrong())
def test_mutations_of_groups_begin_with_what_is_refused_too(op: str, args: Message) -> None:
    with pytest.raises(Refusal):
        read(op, args)


def test_mutations_are_bounded_and_follow_from_the_seed() -> None:
    corpus = [b"", b"abc", bytes(MOST_BYTES)]
    first = [mutated(Random(number), corpus) for number in range(300)]
    assert first == [mutated(Random(number), corpus) for number in range(300)]
    assert max(map(len, first)) <= MOST_BYTES
    assert len(set(first)) > 100


def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Done:
    """A run of a target that cannot bear the letter x."""

    class Target:
        @staticmethod
        def seeds() -> list[bytes]:
            return [b"a", b"x"]

        @staticmethod
        def one_input(data: bytes) -> None:
            if b"x" in data:
                raise LookupError("an x")

    monkeypatch.setattr(driver, "target_module", lambda _: Target)
    return driver.run("wire", seconds=0, seed=SEED, crashes=str(tmp_path), most_runs=50)


def test_a_crash_is_kept_once_with_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (crash,) = broken(tmp_path, monkeypatch).crashes
    assert "an x" in crash.error
    with open(crash.path, "rb") as file:
        assert file.read() == b"x"
