"""`prune`, `rm --force`, and what `doctor` says of the disk and of problems."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
GIB = 1024**3
NOTHING_ASKED = {
    "older_than_seconds": None, "keep": None, "user": None, "everybody": False, "dry_run": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--older-than", "7d", "--keep", "3"], {"older_than_seconds": 604_800, "keep": 3}),
        (["--older-than", "0", "--keep", "0"], {"older_than_seconds": 0, "keep": 0}),
        (["--user", "bob"], {"user": "bob"}),
        (["--user", "1001"], {"user": 1001}),
        (["--all-users", "--dry-run"], {"everybody": True, "dry_run": True}),
    ],
)
def test_prune_asks_for_what_was_typed(
    runctl: Runctl, daemon: FakeDaemon, options: list[str], asked: dict[str, Any]
) -> None:
    daemon.answer("prune", {"jobs": 12, "bytes": 3_565_158, "removed": [JOB_ID]})
    done = "would remove" if "--dry-run" in options else "removed"
    assert runctl("prune", *options) == (0, f"{done} 12 jobs, 3.4 MiB\n", "")
    assert daemon.args("prune") == [NOTHING_ASKED | asked]


def test_prune_can_count_to_one_and_speak_json(runctl: Runctl, daemon: FakeDaemon) -> None:
    answer = {"jobs": 1, "bytes": 0, "removed": [JOB_ID]}
    daemon.answer("prune", answer)
    assert runctl("prune")[1] == "removed 1 job, 0 B\n"
    status, out, _ = runctl("prune", "--json")
    assert (status, json.loads(out)) == (0, answer)


@pytest.mark.parametrize(
    "options",
    [("--user", "bob", "--all-users"), ("--keep", "x"), ("--keep", "-1"), ("--older-than", "-1")],
)
def test_prune_refuses_what_makes_no_sense(runctl: Runctl, options: tuple[str, ...]) -> None:
    status, out, err = runctl("prune", *options)
    assert (status, out) == (125, "")
    assert "Usage: runctl prune" in err


def test_prune_says_why_it_is_refused(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.refuse("prune", "not-permitted", field="everybody", detail="only root may")
    status, out, err = runctl("prune", "--all-users")
    assert (status, out, err) == (125, "", "runctl: --all-users: only root may\n")


def test_rm_by_force_kills_waits_and_removes_by_the_full_id(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("status", make_job())
    daemon.answer("stop", {"state": "running"})
    daemon.answer("wait", make_job(result={}))
    daemon.answer("remove", {"job": JOB_ID})
    assert runctl("rm", "-f", "build") == (0, "3f2a81c0 removed\n", "")
    asked = [(each["op"], each["args"]["job"]) for each in daemon.seen if each["op"] != "hello"]
    assert asked == [
        ("status", "build"), ("stop", JOB_ID), ("wait", JOB_ID), ("remove", JOB_ID),
    ]  # fmt: skip
    assert daemon.args("stop")[0]["kill"] is True


def test_rm_by_force_of_an_ended_job_stops_nothing(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("status", make_job(result={}))
    daemon.answer("remove", {"job": JOB_ID})
    status, out, _ = runctl("rm", "--force", "--json", "build")
    assert (status, json.loads(out)) == (0, {"job": JOB_ID})
    assert daemon.args("stop") == []


@pytest.mark.parametrize("gone_at", ["stop", "wait", "remove"])
def test_rm_by_force_is_done_when_somebody_else_was_faster(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, gone_at: str
) -> None:
    daemon.answer("status", make_job())
    daemon.answer("stop", {"state": "running"})
    daemon.answer("wait", make_job(result={}))
    daemon.answer("remove", {"job": JOB_ID})
    daemon.refuse(gone_at, "no-such-job")
    assert runctl("rm", "-f", "build") == (0, "3f2a81c0 removed\n", "")


def test_rm_by_force_of_an_unknown_job_fails_and_the_others_are_removed(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    def status_of(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == "nope":
            session.refuse(request, "no-such-job")
        else:
            session.ok(request, make_job(result={}))

    daemon.handlers["status"] = status_of
    daemon.answer("remove", {"job": JOB_ID})
    status, out, err = runctl("rm", "-f", "nope", "build")
    assert (status, out) == (125, "3f2a81c0 removed\n")
    assert err.startswith("runctl: nope: ")
    daemon.refuse("remove", "store-error", detail="no room")
    assert runctl("rm", "-f", "build")[0] == 125


# --- doctor ---

DISK: dict[str, Any] = {
    "size_bytes": 100 * GIB,
    "free_bytes": 40 * GIB,
    "inodes": 1_000_000,
    "free_inodes": 900_000,
    "store_bytes": 3 * 1024 * 1024,
    "jobs_bytes": 5 * GIB,
    "users": [
        {"uid": 1000, "user": "alice", "jobs": 7, "bytes": 4 * GIB},
        {"uid": 1001, "user": "bob", "jobs": 1, "bytes": GIB},
    ],
}
DOCTOR: dict[str, Any] = {
    "server": "runnerd 9.9.9",
    "kernel": "6.18.44",
    "cgroup_root": "/sys/fs/cgroup/runnerd",
    "state_dir": "/var/lib/runnerd",
    "jobs": {"queued": 0, "running": 2},
    "draining": False,
    "disk": DISK,
    "problems": [],
    "features": [{"name": "memory.max", "status": "enforced", "why": None, "remedy": None}],
}


def doctor(runctl: Runctl, daemon: FakeDaemon, **changes: Any) -> tuple[int, str]:
    daemon.answer("doctor", DOCTOR | changes)
    status, out, err = runctl("doctor")
    assert err == ""
    return status, out


def test_doctor_says_what_the_disk_holds(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, out = doctor(runctl, daemon)
    assert status == 0
    assert (
        "disk       40 GiB of 100 GiB free\n"
        "           jobs take 5 GiB, the database 3 MiB\n"
        "             alice: 4 GiB in 7 jobs\n"
        "             bob: 1 GiB in 1 job\n"
        "\nenforced\n"
    ) in out
    assert "draining" not in out


def test_doctor_says_who_starts_plain_jobs_and_why_not_the_faster_one(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    _, out = doctor(runctl, daemon, launcher={"kind": "native", "why": None})
    assert "\nlauncher   native\n" in out
    status, out = doctor(runctl, daemon, launcher={"kind": "python", "why": "none\x1b here"})
    # It is slower, and lacks nothing.
    assert status == 0
    assert "\nlauncher   python: none" in out
    assert "\x1b" not in out
    # An older daemon does not say.
    assert "launcher" not in doctor(runctl, daemon)[1]


def test_a_member_is_shown_only_their_own_part(runctl: Runctl, daemon: FakeDaemon) -> None:
    own = [{"uid": 1000, "user": "al\x1b[31mice", "jobs": 0, "bytes": 0}]
    disk = DISK | {"store_bytes": None, "jobs_bytes": 0, "users": own}
    status, out = doctor(runctl, daemon, disk=disk)
    assert status == 0
    assert "           your jobs take 0 B\n\nenforced" in out
    assert "\x1b" not in out


def test_of_many_users_those_who_take_most_are_shown(runctl: Runctl, daemon: FakeDaemon) -> None:
    users = [{"uid": n, "user": f"u{n}", "jobs": 1, "bytes": 10} for n in range(25)]
    _, out = doctor(runctl, daemon, disk=DISK | {"users": users})
    assert out.count("10 B in 1 job\n") == 10
    assert "             and 15 more users\n" in out


@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        ({}, 0),
        ({"free_bytes": 5 * GIB}, 0),
        ({"free_bytes": 5 * GIB - 1}, 1),
        ({"size_bytes": 10 * GIB, "free_bytes": GIB - 1}, 1),
        ({"size_bytes": 10 * GIB, "free_bytes": GIB}, 0),
        ({"size_bytes": GIB, "free_bytes": GIB // 2}, 0),
        ({"size_bytes": GIB, "free_bytes": GIB // 4}, 1),
        ({"size_bytes": 0, "free_bytes": 0, "inodes": 0, "free_inodes": 0}, 0),
        ({"inodes": 0, "free_inodes": 0}, 0),
        ({"free_inodes": 49_999}, 1),
        ({"free_inodes": 0, "free_bytes": 0}, 2),
    ],
)
def test_a_disk_on_which_room_is_short_is_warned_of_and_is_no_failure(
    runctl: Runctl, daemon: FakeDaemon, changes: dict[str, Any], warnings: int
) -> None:
    status, out = doctor(runctl, daemon, disk=DISK | changes)
    assert status == 0
    assert out.count("           warning: ") == warnings
    assert all(len(line) < 80 for line in out.splitlines())


def test_problems_are_shown_with_their_job_and_make_the_status_1(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    problems = [
        {"text": "its exit record cannot be read: " + "very " * 30 + "long", "job": JOB_ID},
        {"text": "the database was damaged \x1b[2J", "job": None},
    ]
    status, out = doctor(runctl, daemon, problems=problems)
    assert status == 1
    listed = out.partition("\nproblems\n")[2].partition("\nenforced\n")[0]
    assert listed.startswith("  3f2a81c0: its exit record cannot be read: very very")
    assert "\n  the database was damaged " in listed
    assert "\x1b" not in out
    assert all(len(line) < 80 for line in out.splitlines())
    daemon.answer("doctor", DOCTOR | {"problems": problems})
    status, out, _ = runctl("doctor", "--json")
    assert (status, json.loads(out)["problems"]) == (1, problems)


def test_a_daemon_that_is_drained_says_so(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, out = doctor(runctl, daemon, draining=True)
    assert status == 0
    assert "\ndraining   no job is taken or started until `runnerd drain --cancel`\n" in out
