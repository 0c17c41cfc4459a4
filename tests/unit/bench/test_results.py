from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.kinds import OURS
from tests.bench.results import ResultError, from_json, last_kept, to_json, worse
from tests.unit.bench.examples import measured, run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_comes_back_as_it_was_written() -> None:
    before = run(measured())
    after = from_json(to_json(before))
    assert to_json(after) == to_json(before)
    assert after.figures[0].lines[0].name == OURS
    assert after.figures[0].rounds["bwrap"][0] == [8.0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 99}'])
def test_another_file_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ResultError, match=r"that\.json"):
        from_json(text, "that.json")


def test_the_last_kept_is_the_newest_of_its_kind(tmp_path: Path) -> None:
    for name, kind, at in (("b", "native", "2026-01-01"), ("a", "native", "2026-02-01"),
                           ("c", "lane", "2026-03-01")):  # fmt: skip
        (tmp_path / f"{name}.json").write_text(to_json(run(measured(), kind=kind, at=at)))
    kept = last_kept(tmp_path, "native")
    assert kept is not None
    assert kept.taken_at == "2026-02-01"
    assert last_kept(tmp_path / "none", "native") is None


def test_a_figure_that_became_slower_than_its_peer_is_pointed_out() -> None:
    before, now = run(measured(2.0)), run(measured(3.0))
    (change,) = worse(now, before)
    assert (change.figure, change.against) == ("start", "bwrap")
    assert change.now.low > change.before.high


def test_a_slower_machine_is_no_change_when_the_peer_is_slower_too() -> None:
    assert worse(run(measured(20.0, 80.0)), run(measured(2.0, 8.0))) == []


def test_what_is_within_the_interval_is_no_change() -> None:
    assert worse(run(measured(2.0)), run(measured(2.0))) == []
    assert worse(run(measured(1.0)), run(measured(2.0))) == []


def test_a_figure_without_a_peer_is_compared_on_the_same_machine_only() -> None:
    def alone(value: float, cpu: str) -> object:
        one = measured(value)
        return run(one._replace(lines=one.lines[:1]))._replace(machine={"cpu": cpu})

    assert worse(alone(3.0, "x"), alone(2.0, "y")) == []  # type: ignore[arg-type]
    (change,) = worse(alone(3.0, "x"), alone(2.0, "x"))  # type: ignore[arg-type]
    assert change.against == "itself"


def test_a_new_figure_is_no_change() -> None:
    assert worse(run(measured(name="new")), run(measured())) == []
