"""The ledger keeps what was asked and told, also when the power was cut within a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.torture.ledger import Ledger, Story, read_lines

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_noted_is_there_in_the_next_life(tmp_path: Path) -> None:
    path = f"{tmp_path}/ledger"
    ledger = Ledger(path)
    ledger.note("life")
    ledger.note("submit", 4)
    ledger.note("accepted", 4, job="abc")
    ledger.note("kill", 4)
    ledger.note("stop", 4, uid=7)
    ledger.note("told", 4, result={"reason": "exit"})
    ledger.close()
    again = Ledger(path)
    trail = again.trail(4)
    again.close()
    assert (trail.job, trail.monitor_killed, trail.stopped_by) == ("abc", True, [7])
    assert trail.result == {"reason": "exit"}
    assert (again.story.next_number, again.story.lives) == (5, 1)


def test_a_torn_line_was_never_written_and_spoils_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b'{"what": "life"}\n{"what": "subm')
    ledger = Ledger(str(path))
    assert ledger.story.trails == {}
    ledger.note("submit", 0)
    ledger.close()
    assert [line["what"] for line in read_lines(str(path))] == ["life", "submit"]


def test_a_power_cut_explains_only_jobs_whose_end_nobody_was_told() -> None:
    story = Story(
        [
            {"what": "life"},
            {"what": "submit", "job_number": 0},
            {"what": "submit", "job_number": 1},
            {"what": "told", "job_number": 0, "result": {}},
            {"what": "life"},
            {"what": "submit", "job_number": 2},
        ]
    )
    assert [story.trails[number].power_cut for number in range(3)] == [False, True, False]


def test_a_full_disk_explains_jobs_that_were_open_or_submitted_meanwhile() -> None:
    story = Story(
        [
            {"what": "submit", "job_number": 0},
            {"what": "disk", "full": True},
            {"what": "submit", "job_number": 1},
            {"what": "disk", "full": False},
            {"what": "submit", "job_number": 2},
        ]
    )
    assert [story.trails[number].disk_full for number in range(3)] == [True, True, False]


def test_jobs_that_are_being_removed_are_not_expected_to_be_there() -> None:
    lines = [
        {"what": "submit", "job_number": 0},
        {"what": "accepted", "job_number": 0, "job": "a"},
        {"what": "submit", "job_number": 1},
    ]
    story = Story(lines)
    assert [trail.job for trail in story.acknowledged()] == ["a"]
    story.add({"what": "removing", "job_number": 0})
    assert story.acknowledged() == []


def test_a_retry_by_hand_opens_a_job_that_was_told_to_have_ended() -> None:
    story = Story(
        [
            {"what": "submit", "job_number": 0, "after": [[3, "ok"]]},
            {"what": "told", "job_number": 0, "result": {}, "attempts": [{"attempt": 1}]},
        ]
    )
    trail = story.trails[0]
    assert (trail.is_open, trail.after, trail.attempts) == (False, [(3, "ok")], [{"attempt": 1}])
    story.add({"what": "again", "job_number": 0})
    assert trail.is_open


def test_who_stops_a_group_stops_also_those_of_its_block_that_come_later() -> None:
    story = Story(
        [
            {"what": "submit", "job_number": 0},
            {"what": "stop-group", "job_number": 0, "uid": 5},
            {"what": "submit", "job_number": 7},
            {"what": "submit", "job_number": 8},
        ]
    )
    assert [story.trails[number].group_stopped_by for number in (0, 7, 8)] == [[5], [5], []]


def test_a_line_of_another_kind_is_an_error() -> None:
    story = Story([{"what": "submit", "job_number": 0}])
    with pytest.raises(ValueError, match="no such line"):
        story.add({"what": "sing", "job_number": 0})
