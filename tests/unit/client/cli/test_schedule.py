"""`runctl run --every` and `runctl schedule`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]

ID = "5c0e81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
JOB = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
SECOND = 10**9
NOW = 1_800_000_000
SCHEDULE: dict[str, Any] = {
    "schedule": ID, "name": "backup", "submitted_by_uid": 1000, "every": "30 2 * * *",
    "zone": "Europe/Berlin", "missed": "once", "overlap": "allow", "paused": False,
    "created_ns": NOW * SECOND, "next_ns": (NOW + 3600) * SECOND, "last_job": JOB,
    "last_ns": NOW * SECOND, "last_error": None, "runs": 3, "failed": 0, "skipped": 2,
    "argv": ["make", "a b"], "queue": None,
    "next_times_ns": [(NOW + 3600) * SECOND, (NOW + 90000) * SECOND], "submit": {},
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(time, "time_ns", lambda: NOW * SECOND)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def made(daemon: FakeDaemon) -> dict[str, Any]:
    (asked,) = daemon.args("schedule")
    found: dict[str, Any] = asked
    return found


def test_a_schedule_is_made_and_its_id_printed(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("schedule", {"schedule": ID, "paused": False, "next_ns": 5})
    code, out, err = runctl(
        "run", "--every", "30 2 * * *", "--zone", "Europe/Berlin", "--missed", "all",
        "--overlap", "skip", "--name", "backup", "--label", "a=b", "make", "-j2",
    )  # fmt: skip
    assert (code, out, err) == (0, f"{ID}\n", "")
    asked = made(daemon)
    submit = asked.pop("submit")
    assert asked == {"every": "30 2 * * *", "zone": "Europe/Berlin", "missed": "all",
                     "overlap": "skip", "name": "backup", "paused": False}  # fmt: skip
    assert submit["argv"] == ["make", "-j2"]
    assert (submit["name"], submit["labels"]) == ("backup", {"a": "b"})


def test_json_is_what_the_daemon_answered(runctl: Runctl, daemon: FakeDaemon) -> None:
    answer = {"schedule": ID, "paused": False, "next_ns": 5}
    daemon.answer("schedule", answer)
    _, out, _ = runctl("run", "--every", "@daily", "--json", "true")
    assert json.loads(out) == answer


@pytest.mark.parametrize("option", ["--zone", "--missed", "--overlap"])
def test_options_of_a_schedule_go_with_every(
    runctl: Runctl, daemon: FakeDaemon, option: str
) -> None:
    code, _, err = runctl("run", "-d", option, "skip", "true")
    assert code == 125
    assert f"{option} goes with --every" in err
    assert daemon.args("submit") == []


@pytest.mark.parametrize(
    ("field", "word"),
    [("every", "--every"), ("zone", "--zone"), ("name", "--name"), ("submit.cwd", "--cwd"),
     ("submit.limits.memory_max_bytes", "--mem"), ("submit.not_before_ns", "--at")],
)  # fmt: skip
def test_a_refusal_is_in_the_words_of_the_command_line(
    runctl: Runctl, daemon: FakeDaemon, field: str, word: str
) -> None:
    daemon.refuse("schedule", "invalid-argument", field=field, given="'x'", allowed="others")
    code, _, err = runctl("run", "--every", "x", "true")
    assert code == 125
    assert err.startswith(f"runctl: {word}: ")


def test_schedules_are_listed(runctl: Runctl, daemon: FakeDaemon) -> None:
    paused = {**SCHEDULE, "name": None, "paused": True, "next_ns": None, "argv": ["\x1b[2J"]}
    over = {**SCHEDULE, "next_ns": None}
    daemon.answer("schedules", {"schedules": [SCHEDULE, paused, over], "next": None})
    code, out, _ = runctl("schedule", "list")
    assert code == 0
    lines = [line.split("  ") for line in out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["ID", "NAME", "EVERY", "NEXT", "RUNS", "COMMAND"]
    assert cells[1] == ["5c0e81c0", "backup", "30 2 * * *", "09:00", "3", "make 'a b'"]
    assert cells[2][1:4] == ["-", "30 2 * * *", "paused"]
    assert cells[3][3] == "never"
    assert "\x1b" not in out
    assert json.loads(runctl("schedule", "list", "--json")[1])["schedules"][0] == SCHEDULE


def test_a_schedule_is_shown(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("schedule_status", {**SCHEDULE, "last_error": "quota-exceeded\n"})
    code, out, _ = runctl("schedule", "show", "backup")
    assert code == 0
    for line in (
        "every      30 2 * * *, in Europe/Berlin",
        "next       09:00 (in 1h)",
        "           2027-01-16 09:00 (in 1d1h)",
        "policy     missed: once, overlap: allow",
        "runs       3 jobs, 2 passed over",
        "last       job 3f2a81c0 for 08:00",
    ):
        assert line in out.splitlines()
    assert "refused" in out
    assert json.loads(runctl("schedule", "show", "--json", "backup")[1])["schedule"] == ID


def test_one_that_rests_and_was_run_by_hand_says_so(runctl: Runctl, daemon: FakeDaemon) -> None:
    rests = {**SCHEDULE, "paused": True, "next_times_ns": [], "last_ns": None, "zone": None}
    daemon.answer("schedule_status", rests)
    out = runctl("schedule", "show", "backup")[1]
    assert "next       paused\n" in out
    assert "last       job 3f2a81c0 by hand\n" in out
    assert "in the host's time zone" in out


def test_several_are_paused_resumed_and_removed(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("schedule_pause", {"schedule": ID, "paused": True, "next_ns": None})
    assert runctl("schedule", "pause", "a", "b") == (0, "5c0e81c0 is paused\n" * 2, "")
    assert daemon.args("schedule_pause") == [{"schedule": "a"}, {"schedule": "b"}]
    due = {"schedule": ID, "paused": False, "next_ns": (NOW + 60) * SECOND}
    daemon.answer("schedule_resume", due)
    assert runctl("schedule", "resume", "a")[1] == "5c0e81c0 is due 08:01 (in 1m)\n"
    daemon.answer("schedule_resume", {**due, "next_ns": None})
    assert runctl("schedule", "resume", "a")[1] == "5c0e81c0 is never due again\n"
    daemon.answer("schedule_remove", {"schedule": ID})
    assert runctl("schedule", "rm", "a") == (0, "5c0e81c0 removed\n", "")
    assert json.loads(runctl("schedule", "rm", "--json", "a")[1]) == {"schedule": ID}
    assert json.loads(runctl("schedule", "resume", "--json", "a")[1])["next_ns"] is None


def test_it_is_run_now_and_the_job_printed(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("schedule_run", {"schedule": ID, "job": JOB})
    assert runctl("schedule", "run", "backup") == (0, f"{JOB}\n", "")
    assert json.loads(runctl("schedule", "run", "--json", "backup")[1])["job"] == JOB


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "run", "rm"])
def test_one_that_is_not_there_is_named(runctl: Runctl, daemon: FakeDaemon, verb: str) -> None:
    op = {"show": "status", "rm": "remove"}.get(verb, verb)
    daemon.refuse(f"schedule_{op}", "no-such-schedule", field="schedule", given="'x'")
    assert runctl("schedule", verb, "x") == (
        125, "", "runctl: x: no schedule of yours matches; `runctl schedule list` lists them\n",
    )  # fmt: skip
