"""What is wrong: said once, kept within bounds, and not after a job is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner import problems as module
from runner.problems import Problem, Problems

if TYPE_CHECKING:
    import pytest

MOST = 1000


def test_the_same_again_is_neither_kept_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    problems = Problems()
    for _ in range(3):
        problems.add("odd", "job")
        problems.add("odd")
    assert problems.all() == [Problem("odd", "job"), Problem("odd")]
    assert [record.message for record in caplog.records] == ["job job: odd", "odd"]


def test_what_is_not_kept_any_more_is_logged_once_however_often_it_is_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    problems = Problems()
    for _ in range(3):
        for number in range(MOST + 5):
            problems.add(f"odd {number}", f"job {number}")
    assert len(problems.all()) == MOST
    assert len(caplog.records) == MOST + 5
    problems.forget("job 0")
    problems.add(f"odd {MOST}", f"job {MOST}")
    assert problems.all()[-1] == Problem(f"odd {MOST}", f"job {MOST}")
    assert len(caplog.records) == MOST + 5


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    problems = Problems()
    for number in range(50):
        problems.add(f"odd {number}")
        problems.forget(f"job {number}")
    for latest in (problems._logged, problems._removed):
        assert len(latest._hashes) == 10
    assert "job 49" in problems._removed
    assert "job 0" not in problems._removed


def test_nothing_is_found_of_a_removed_job_but_what_its_removal_has_left() -> None:
    problems = Problems()
    problems.add("its log is damaged", "gone")
    problems.add("its log is damaged", "other")
    problems.forget("gone")
    problems.add("its log is damaged", "gone")
    assert problems.all() == [Problem("its log is damaged", "other")]
    problems.add("its directory stays", "gone", is_removed=True)
    assert problems.all()[-1] == Problem("its directory stays", "gone")
    problems.forget("gone")
    assert [problem.job for problem in problems.all()] == ["other"]
