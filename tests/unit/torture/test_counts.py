"""What was counted in lives whose power was cut is in the report, and so is what differed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture import counts
from tests.torture.counts import Counts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_all_lives_are_added_up(tmp_path: Path) -> None:
    for life in (1, 2):
        mine = Counts(str(tmp_path), life)
        mine.add("jobs", 1200)
        mine.save()
    total = counts.total(str(tmp_path))
    assert total["jobs"] == 2400
    report = counts.report(total, ["DIFFERS t1-0: something"])
    assert "2,400" in report
    assert report.endswith("DIFFERS t1-0: something")


def test_a_difference_is_kept_as_soon_as_it_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Counts(str(tmp_path), 1)
    assert counts.differences(str(tmp_path)) == []
    mine.differ("t1-0", "it ran twice")
    assert counts.differences(str(tmp_path)) == ["DIFFERS t1-0: it ran twice"]
    assert mine.differences == 1
    assert "it ran twice" in capsys.readouterr().out
