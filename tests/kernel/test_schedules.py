"""Schedules with real jobs: they come again and again, through kills of runnerd and set clocks."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

SECOND_NS = 1_000_000_000
HOUR = 3600


def make(wire: Wire, every: str = "@every 1s", **more: Any) -> str:
    """A schedule of `true`, or of what `submit` says."""
    request = {"every": every, "submit": submission("true"), **more}
    schedule: str = wire.ok("schedule", request)["schedule"]
    return schedule


def shown(wire: Wire, schedule: str) -> dict[str, Any]:
    answer: dict[str, Any] = wire.ok("schedule_status", schedule=schedule)
    return answer


def runs(wire: Wire) -> list[dict[str, Any]]:
    """Every job there is, the oldest first."""
    jobs: list[dict[str, Any]] = wire.ok("list", ended=True, limit=1000)["jobs"]
    return jobs[::-1]


def keys(wire: Wire) -> list[str]:
    return [wire.ok("status", job=job["job"])["idempotency_key"] for job in runs(wire)]


def has_run(wire: Wire, schedule: str, times: int) -> None:
    wait_until(
        lambda: shown(wire, schedule)["runs"] >= times, explain=lambda: shown(wire, schedule)
    )


@contextmanager
def clock_put_right() -> Iterator[None]:
    """However a test sets the clock, the next one finds it as it would be."""
    wall, since = time.time(), time.monotonic()
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, wall + time.monotonic() - since)


def set_clock(seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def test_a_schedule_runs_jobs_as_its_user(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        schedule = make(alice, name="often", submit=submission("id", "-un"))
        has_run(alice, schedule, 3)
        found = shown(alice, schedule)
        assert found["failed"] == found["skipped"] == 0
        assert found["every"] == "@every 1s"
        assert "env" not in found["submit"]
        assert found["last_ns"] < found["next_ns"] == found["next_times_ns"][0]
        jobs = runs(alice)
        assert {job["user"] for job in jobs} == {"alice"}
        assert all(job["labels"] == {"schedule": "often"} for job in jobs)
        assert len(set(keys(alice))) == len(jobs)
        first = alice.ok("wait", job=jobs[0]["job"], timeout_seconds=60)
        assert first["result"]["exit_status"] == 0


def test_a_wrong_schedule_is_refused_with_its_field_and_nothing_is_kept(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"every": "61 * * * *"}, "every"),
        ({"every": "0 0 30 2 *"}, "every"),
        ({"every": "* * * *"}, "every"),
        ({"every": "@every 10ms"}, "every"),
        ({"zone": "Europe/Nowhere"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"missed": "never"}, "missed"),
        ({"overlap": "queue"}, "overlap"),
        ({"name": "a b"}, "name"),
        ({"submit": {"argv": [], "cwd": "/"}}, "submit.argv"),
        ({"submit": submission("true", cwd="/nowhere")}, "submit.cwd"),
        ({"submit": submission("true", user="root")}, "submit.user"),
        ({"submit": submission("true", queue="nowhere")}, "submit.queue"),
        ({"submit": submission("true", deadline_ns=2**62)}, "submit.deadline_ns"),
        ({"submit": submission("true", idempotency_key="k")}, "submit.idempotency_key"),
        ({"submit": submission("true", labels={"schedule": "x"})}, "submit.labels"),
        ({"submit": submission("true", after=[{"job": "abcd"}])}, "submit.after"),
    ]
    with Wire(own_daemon) as alice:
        for request, field in wrong:
            error = alice.error(
                "schedule", {"every": "@hourly", "submit": submission("true"), **request}
            )
            assert error.get("field") == field, (request, error)
        assert alice.ok("schedules")["schedules"] == []
        assert runs(alice) == []


def test_a_kill_of_runnerd_makes_no_run_another_time_and_misses_none(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        schedule = make(alice, missed="all")
        created = shown(alice, schedule)["created_ns"]
    for _ in range(4):
        with Wire(own_daemon) as alice:
            has_run(alice, schedule, shown(alice, schedule)["runs"] + 2)
        own_daemon.kill()
        own_daemon.start()
    with Wire(own_daemon) as alice:
        has_run(alice, schedule, shown(alice, schedule)["runs"] + 2)
        alice.ok("schedule_pause", schedule=schedule)
        found = shown(alice, schedule)
        made = sorted(int(key.rpartition(":")[2]) for key in keys(alice))
        # One for each second since it was made, and no second twice.
        expected = [created + n * SECOND_NS for n in range(1, len(made) + 1)]
        assert made == expected
        assert found["runs"] == len(made)


def test_what_is_missed_is_run_once_or_not_at_all(own_daemon: Daemon) -> None:
    own_daemon.start()
    with clock_put_right(), Wire(own_daemon) as alice:
        once = make(alice, "@every 10m")
        skipping = make(alice, "@every 10m", missed="skip")
        every = make(alice, "@every 10m", missed="all")
        own_daemon.kill()
        set_clock(HOUR + 300)
        own_daemon.start()
    with clock_put_right(), Wire(own_daemon) as alice:
        has_run(alice, once, 1)
        has_run(alice, every, 6)
        assert shown(alice, once)["skipped"] == 5
        wait_until(lambda: shown(alice, skipping)["skipped"] == 6)
        assert (shown(alice, skipping)["runs"], shown(alice, every)["runs"]) == (0, 6)


def test_a_clock_that_is_set_forward_and_back_runs_each_time_once(own_daemon: Daemon) -> None:
    own_daemon.start()
    with clock_put_right(), Wire(own_daemon) as alice:
        schedule = make(alice, "@every 10m", missed="all")
        set_clock(HOUR + 60)
        has_run(alice, schedule, 6)
        set_clock(-HOUR)
        following = shown(alice, schedule)["next_ns"]
        # Two looks at the clock.
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 2.2)
        assert shown(alice, schedule)["runs"] == 6
        assert following > time.time_ns() + HOUR * SECOND_NS
        set_clock(HOUR + 600)
        has_run(alice, schedule, 7)
        assert len(set(keys(alice))) == 7


def test_a_clock_that_was_wrong_by_days_is_not_waited_for(own_daemon: Daemon) -> None:
    own_daemon.start()
    with clock_put_right(), Wire(own_daemon) as alice:
        set_clock(30 * 24 * HOUR)
        schedule = make(alice)
        has_run(alice, schedule, 2)
        set_clock(-30 * 24 * HOUR)
        has_run(alice, schedule, shown(alice, schedule)["runs"] + 2)


def test_a_paused_schedule_rests_and_goes_on_from_now(own_daemon: Daemon) -> None:
    own_daemon.start()
    with clock_put_right(), Wire(own_daemon) as alice:
        schedule = make(alice, "@every 10m", paused=True, missed="all")
        assert shown(alice, schedule)["next_ns"] is None
        set_clock(HOUR)
        answer = alice.ok("schedule_resume", schedule=schedule)
        assert answer["next_ns"] > time.time_ns()
        run = alice.ok("schedule_run", schedule=schedule)["job"]
        assert [job["job"] for job in runs(alice)] == [run]
        assert shown(alice, schedule)["last_job"] == run
        alice.ok("schedule_remove", schedule=schedule)
        assert alice.error("schedule_status", schedule=schedule)["code"] == "no-such-schedule"
        assert [job["job"] for job in runs(alice)] == [run]


def test_a_run_is_passed_over_while_the_last_one_goes_on(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        schedule = make(alice, overlap="skip", submit=submission("sleep", "60"))
        wait_until(lambda: shown(alice, schedule)["skipped"] >= 2)
        assert shown(alice, schedule)["runs"] == 1
        alice.ok("stop", job=shown(alice, schedule)["last_job"], kill=True)
        has_run(alice, schedule, 2)
        alice.ok("schedule_pause", schedule=schedule)
        for job in runs(alice):
            alice.ok("stop", job=job["job"], kill=True)


def test_a_drain_starts_no_run_and_what_it_held_back_was_missed(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        schedule = make(alice)
        has_run(alice, schedule, 1)
        root.ok("drain", timeout_seconds=10)
        before = shown(alice, schedule)["runs"]
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 3)
        assert shown(alice, schedule)["runs"] == before
        root.ok("drain", cancel=True)
        has_run(alice, schedule, before + 2)
        found = shown(alice, schedule)
        assert found["skipped"] >= 1
        assert found["failed"] == 0


def test_a_run_that_is_refused_is_noted_and_the_schedule_goes_on(own_daemon: Daemon) -> None:
    own_daemon.start()
    os.mkdir("/home/alice/there", 0o777)
    with Wire(own_daemon) as alice:
        schedule = make(alice, submit=submission("true", cwd="/home/alice/there"))
        os.rename("/home/alice/there", "/home/alice/gone")
        try:
            wait_until(lambda: shown(alice, schedule)["failed"] >= 1)
            assert "/home/alice/there" in shown(alice, schedule)["last_error"]
        finally:
            os.rename("/home/alice/gone", "/home/alice/there")
        has_run(alice, schedule, shown(alice, schedule)["runs"] + 1)
        assert shown(alice, schedule)["last_error"] is None
        alice.ok("schedule_remove", schedule=schedule)
    os.rmdir("/home/alice/there")


def test_schedules_of_others_are_nobody_elses_but_an_admins(own_daemon: Daemon) -> None:
    own_daemon.start()
    with (
        Wire(own_daemon) as alice,
        Wire(own_daemon, "bob") as bob,
        Wire(own_daemon, "root") as root,
    ):
        schedule = make(alice, "@hourly", name="report")
        assert bob.ok("schedules")["schedules"] == []
        for operation in ("status", "pause", "resume", "run", "remove"):
            for reference in (schedule, schedule[:8], "report"):
                error = bob.error(f"schedule_{operation}", schedule=reference)
                assert error["code"] == "no-such-schedule"
        assert [each["schedule"] for each in root.ok("schedules")["schedules"]] == [schedule]
        run = root.ok("schedule_run", schedule="report")["job"]
        assert root.ok("status", job=run)["user"] == "alice"
        # The name is taken for alice alone; a prefix of the id will do.
        make(bob, "@hourly", name="report")
        error = alice.error(
            "schedule", {"every": "@hourly", "submit": submission("true"), "name": "report"}
        )
        assert error["field"] == "name"
        assert bob.ok("schedule_pause", schedule="report")["schedule"] != schedule
        assert alice.ok("schedule_pause", schedule=schedule[:4])["schedule"] == schedule
        assert root.error("schedule_status", schedule="nothing")["code"] == "no-such-schedule"


def test_there_are_so_many_schedules_of_one_user_and_their_list_has_pages(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        made = [make(alice, "@yearly", paused=True) for _ in range(100)]
        error = alice.error("schedule", {"every": "@hourly", "submit": submission("true")})
        assert error["code"] == "quota-exceeded"
        page = alice.ok("schedules", limit=60)
        rest = alice.ok("schedules", limit=60, after=page["next"])
        assert rest["next"] is None
        found = [each["schedule"] for each in page["schedules"] + rest["schedules"]]
        assert found == made
