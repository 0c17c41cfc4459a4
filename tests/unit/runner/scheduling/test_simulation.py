"""scripts/simulate at a small size: its figures, and that it finds what is wrong."""

from __future__ import annotations

import pytest

from runner.scheduling.ledger import Ledger
from tests.simulation.measure import lengths, main

SMALL = ["--jobs", "150", "--users", "12", "--slots", "6"]


def test_it_works_off_every_job_and_prints_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--seed", "7"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "12 users, 6 slots, seed 7"
    assert printed[-2].split()[0] == "150"
    assert sum(int(fate.split()[0]) for fate in printed[-1].split(",")) == 150


def test_the_same_seed_is_the_same_world(capsys: pytest.CaptureFixture[str]) -> None:
    fates = []
    for _ in range(2):
        main([*SMALL, "--seed", "3"])
        fates.append(capsys.readouterr().out.splitlines()[-1])
    assert fates[0] == fates[1]


def test_a_scheduler_that_promises_too_much_is_found_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ledger, "fits", lambda _self, _needs: True)
    assert main(SMALL) == 1
    assert "no room for it" in capsys.readouterr().err


def test_a_scheduler_that_leaves_a_job_out_is_found_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runner.scheduling.state.State._may_matter", lambda *_: False)
    assert main(SMALL) == 1
    assert "simulate: with 150 jobs, seed 1" in capsys.readouterr().err


def test_lengths_grow_tenfold_up_to_the_last() -> None:
    assert lengths(500) == [500]
    assert lengths(100_000) == [1000, 10_000, 100_000]


def test_a_machine_without_slots_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--slots", "0"])
    assert "at least 1" in capsys.readouterr().err
