"""Jobs that are tried again: each attempt runs once, with a log and a result of its own.

And what nobody wants any more is not tried again: a stop, a deadline. Over crashes of runnerd too.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from client.logstream import LogChunk
from runner import records
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_survival import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

MIB = 1024 * 1024
SECOND_NS = 10**9
FAILS = "echo attempt $RUNNERD_ATTEMPT; exit 3"
HOLD = "held = bytearray({} * 1024 * 1024); print('held', flush=True)"
IGNORES = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def alice(daemon: Daemon) -> Iterator[Wire]:
    with Wire(daemon, "alice") as wire:
        yield wire


def submit(wire: Wire, script: str, **more: Any) -> str:
    job: str = wire.ok("submit", submission("sh", "-c", script, **more))["job"]
    return job


def status_of(wire: Wire, job: str) -> Any:
    return wire.ok("status", job=job)


def wait_for(wire: Wire, job: str, state: str, attempt: int = 1) -> None:
    def is_there() -> bool:
        found = status_of(wire, job)
        return (found["state"], found["attempt"]) == (state, attempt)

    wait_until(is_there, explain=lambda: status_of(wire, job))


def output_of(wire: Wire, job: str, **which: Any) -> bytes:
    """What an attempt has written."""
    wire.send({"id": 4_000_000_000, "op": "logs", "args": {"job": job, "credit": 1024, **which}})
    data = b""
    while "event" in (message := wire.receive() or {}):
        data += message["event"].get("data", b"")
    assert "ok" in message, message
    return data


def outputs_of(wire: Wire, job: str) -> list[bytes]:
    numbers = range(1, status_of(wire, job)["attempt"] + 1)
    return [output_of(wire, job, attempt=number) for number in numbers]


def attempt_directory(daemon: Daemon, job: str, attempt: int) -> str:
    path = f"{daemon.state_dir}/jobs/{job}"
    return path if attempt == 1 else f"{path}/attempt-{attempt}"


def spec_of(daemon: Daemon, job: str, attempt: int) -> dict[str, Any]:
    with open(f"{attempt_directory(daemon, job, attempt)}/spec", "rb") as file:
        return records.unpack(file.read())


def kill_monitor(daemon: Daemon, job: str) -> None:
    with open(f"{daemon.cgroup_root}/job-{job}/monitor/cgroup.procs", encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGKILL)


# --- retries ---


def test_a_job_that_succeeds_the_third_time_has_three_logs_and_three_results(
    daemon: Daemon, alice: Wire
) -> None:
    script = 'echo attempt $RUNNERD_ATTEMPT; echo $RUNNERD_JOB; test "$RUNNERD_ATTEMPT" = 3'
    job = submit(alice, script, retry={"limit": 5})
    assert result_of(daemon, job)["exit_code"] == 0
    found = status_of(alice, job)
    assert (found["state"], found["attempt"]) == ("ended", 3)
    assert [each["attempt"] for each in found["attempts"]] == [1, 2]
    for each in found["attempts"]:
        assert (each["result"]["reason"], each["result"]["exit_code"]) == ("exit", 1)
        assert each["result"]["log_bytes"] == len(f"attempt N\n{job}\n")
        assert found["submitted_ns"] < each["started_ns"] <= each["ended_ns"]
    assert outputs_of(alice, job) == [b"attempt %d\n%s\n" % (n, job.encode()) for n in (1, 2, 3)]
    assert output_of(alice, job).startswith(b"attempt 3")
    refused = alice.error("logs", job=job, attempt=4)
    assert (refused["code"], refused["field"], refused["allowed"]) == (
        "invalid-argument", "attempt", "1 to 3",
    )  # fmt: skip
    assert sorted(os.listdir(attempt_directory(daemon, job, 1))) == [
        "attempt-2", "attempt-3", "control", "exit", "log", "spec",
    ]  # fmt: skip
    alice.ok("remove", job=job)
    wait_until(lambda: not os.path.exists(attempt_directory(daemon, job, 1)))


def test_a_job_that_never_succeeds_ends_after_its_retries(daemon: Daemon, alice: Wire) -> None:
    job = submit(alice, FAILS, retry={"limit": 2})
    assert result_of(daemon, job)["exit_code"] == 3
    assert outputs_of(alice, job) == [b"attempt 1\n", b"attempt 2\n", b"attempt 3\n"]


def test_without_a_policy_and_for_other_reasons_there_is_one_attempt(
    daemon: Daemon, alice: Wire
) -> None:
    plain = submit(alice, FAILS)
    other = submit(alice, FAILS, retry={"limit": 3, "on": ["oom", "lost"]})
    for job in (plain, other):
        assert result_of(daemon, job)["exit_code"] == 3
        assert status_of(alice, job)["attempt"] == 1


def test_the_wait_before_each_retry_is_twice_the_one_before(daemon: Daemon, alice: Wire) -> None:
    job = submit(alice, FAILS, retry={"limit": 3, "backoff_seconds": 0.3})
    result_of(daemon, job)
    found = status_of(alice, job)
    ends = [each["ended_ns"] for each in found["attempts"]]
    starts = [each["started_ns"] for each in [*found["attempts"][1:], found]]
    waits = [(start - end) / 1e9 for start, end in zip(starts, ends, strict=True)]
    assert all(wait >= least for wait, least in zip(waits, (0.3, 0.6, 1.2), strict=True)), waits
    assert waits[2] < 6


def test_after_an_oom_a_job_gets_more_memory_up_to_the_bound(daemon: Daemon, alice: Wire) -> None:
    rule = {"reason": "oom", "memory_factor": 1.5, "memory_max_bytes": 100 * MIB}
    jobs = {
        size: alice.ok(
            "submit",
            submission(
                "python3", "-c", HOLD.format(size),
                limits={"memory_max_bytes": 48 * MIB, "memory_swap_max_bytes": 0},
                retry={"limit": 3, "rules": [rule]},
            ),
        )["job"]
        for size in (60, 200)
    }  # fmt: skip
    assert result_of(daemon, jobs[60])["exit_code"] == 0
    assert result_of(daemon, jobs[200])["reason"] == "oom"
    limits = {
        size: [
            spec_of(daemon, job, attempt)["limits"]["memory_max_bytes"] // MIB
            for attempt in range(1, status_of(alice, job)["attempt"] + 1)
        ]
        for size, job in jobs.items()
    }
    assert limits[60] in ([48, 72], [48, 72, 100])
    assert limits[200] == [48, 72, 100, 100]
    found = status_of(alice, jobs[200])
    assert found["reserve"]["memory_bytes"] == 100 * MIB
    # What the kernel read back of the last attempt.
    assert found["limits"]["memory_max_bytes"] == 100 * MIB


def test_an_attempt_whose_monitor_is_killed_is_lost_and_tried_again(
    daemon: Daemon, alice: Wire
) -> None:
    script = "echo attempt $RUNNERD_ATTEMPT; test $RUNNERD_ATTEMPT = 2 || sleep 1000"
    job = submit(alice, script, retry={"limit": 1, "on": ["lost"]})
    wait_for(alice, job, "running")
    wait_until(lambda: output_of(alice, job) == b"attempt 1\n")
    kill_monitor(daemon, job)
    assert result_of(daemon, job)["exit_code"] == 0
    assert [each["result"]["reason"] for each in status_of(alice, job)["attempts"]] == ["lost"]
    assert outputs_of(alice, job) == [b"attempt 1\n", b"attempt 2\n"]


def test_a_command_that_cannot_be_run_is_tried_again_where_that_was_asked(
    daemon: Daemon, alice: Wire
) -> None:
    asked = submission("/nowhere/command", retry={"limit": 2, "on": ["launch-error"]})
    job = alice.ok("submit", asked)["job"]
    result = result_of(daemon, job)
    assert (result["reason"], result["exit_status"]) == ("launch-error", 127)
    assert status_of(alice, job)["attempt"] == 3


# --- stops ---


def test_a_stop_of_an_attempt_is_the_end(daemon: Daemon, alice: Wire) -> None:
    job = submit(alice, "echo ready; sleep 1000", retry={"limit": 5, "on": ["exit", "signal"]})
    wait_until(lambda: output_of(alice, job) == b"ready\n")
    alice.ok("stop", job=job)
    assert result_of(daemon, job)["reason"] == "stopped"
    assert status_of(alice, job)["attempt"] == 1


def test_a_stop_between_two_attempts_is_instant_and_the_end(daemon: Daemon, alice: Wire) -> None:
    job = submit(alice, FAILS, retry={"limit": 5, "backoff_seconds": 1000})
    wait_for(alice, job, "queued", 2)
    assert alice.ok("stop", job=job)["state"] in ("queued", "ended")
    found = status_of(alice, job)
    assert (found["state"], found["result"]["reason"]) == ("ended", "stopped")
    assert outputs_of(alice, job) == [b"attempt 1\n", b""]
    assert output_of(alice, job) == b"attempt 1\n"


def test_a_stop_whose_job_fails_by_itself_or_is_lost_is_the_end_all_the_same(
    own_daemon: Daemon,
) -> None:
    """The mark of the stop is on disk: nothing in memory says so after the crash."""
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, IGNORES, retry={"limit": 5, "on": ["exit", "signal", "lost"]})
        wait_until(lambda: output_of(alice, job) == b"ready\n")
        alice.ok("stop", job=job, grace_seconds=1000)
    own_daemon.kill()
    kill_monitor(own_daemon, job)
    own_daemon.start()
    assert result_of(own_daemon, job)["reason"] == "lost"
    with Wire(own_daemon) as alice:
        assert status_of(alice, job)["attempt"] == 1


# --- by hand ---


def test_by_hand_an_ended_job_runs_once_more_and_keeps_what_was(
    daemon: Daemon, alice: Wire
) -> None:
    job = submit(alice, FAILS, retry={"limit": 1})
    result_of(daemon, job)
    assert alice.ok("retry", job=job) == {"job": job, "state": "queued", "attempt": 3}
    result_of(daemon, job)
    found = status_of(alice, job)
    assert found["attempt"] == 4
    assert outputs_of(alice, job) == [b"attempt %d\n" % number for number in range(1, 5)]
    with Wire(daemon, "bob") as bob:
        assert bob.error("retry", job=job)["code"] == "no-such-job"
    going = submit(alice, "sleep 1000")
    assert alice.error("retry", job=going)["code"] == "job-state"


# --- crashes ---


def test_a_kill_of_runnerd_between_two_attempts_changes_nothing(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, FAILS, retry={"limit": 1, "backoff_seconds": 2})
        wait_for(alice, job, "queued", 2)
        due_ns = status_of(alice, job)["not_before_ns"]
    own_daemon.kill()
    own_daemon.start()
    assert result_of(own_daemon, job)["exit_code"] == 3
    with Wire(own_daemon) as alice:
        assert status_of(alice, job)["started_ns"] >= due_ns
        assert outputs_of(alice, job) == [b"attempt 1\n", b"attempt 2\n"]


def test_what_ends_while_runnerd_is_away_is_tried_again_when_it_is_back(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        script = "echo attempt $RUNNERD_ATTEMPT; sleep 2; test $RUNNERD_ATTEMPT = 3"
        job = submit(alice, script, retry={"limit": 9})
    for attempt in (1, 2):
        with Wire(own_daemon) as alice:
            wait_for(alice, job, "running", attempt)
        own_daemon.kill()
        record = f"{attempt_directory(own_daemon, job, attempt)}/exit"
        wait_until(partial(os.path.exists, record))
        own_daemon.start()
    assert result_of(own_daemon, job)["exit_code"] == 0
    with Wire(own_daemon) as alice:
        assert outputs_of(alice, job) == [b"attempt 1\n", b"attempt 2\n", b"attempt 3\n"]


def test_whenever_runnerd_is_killed_each_attempt_runs_once_and_none_too_many(
    own_daemon: Daemon,
) -> None:
    retries = 12
    own_daemon.start()
    with Wire(own_daemon) as alice:
        jobs = [submit(alice, FAILS, retry={"limit": retries}) for _ in range(3)]
    chance = random.Random(5)
    for _ in range(8):
        # Some point or other between two steps.
        time.sleep(chance.uniform(0.0, 0.4))
        own_daemon.kill()
        own_daemon.start()
    for job in jobs:
        assert result_of(own_daemon, job, 60)["exit_code"] == 3
    with Wire(own_daemon) as alice:
        for job in jobs:
            found = status_of(alice, job)
            reasons = [each["result"]["reason"] for each in found["attempts"]]
            assert (found["attempt"], reasons) == (retries + 1, ["exit"] * retries)
            assert outputs_of(alice, job) == [
                b"attempt %d\n" % number for number in range(1, retries + 2)
            ]


# --- deadlines ---


def in_seconds(seconds: float) -> int:
    return time.time_ns() + round(seconds * SECOND_NS)


def test_a_job_that_runs_is_ended_at_its_deadline_and_not_tried_again(
    daemon: Daemon, alice: Wire
) -> None:
    retry = {"limit": 3, "on": ["signal", "timeout", "exit"]}
    began = time.monotonic()
    job = submit(alice, "echo begun; sleep 1000", deadline_ns=in_seconds(2), retry=retry)
    result = result_of(daemon, job)
    assert 1.5 < time.monotonic() - began < 8
    assert (result["reason"], result["exit_status"], result["signal"]) == ("deadline", 124, 15)
    assert status_of(alice, job)["attempt"] == 1
    assert output_of(alice, job) == b"begun\n"


def test_a_deadline_gives_the_grace_and_no_more(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nstop_grace_seconds = 1.5\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        polite = submit(alice, "trap 'echo ending; exit 5' TERM; sleep 1000 & wait",
                        deadline_ns=in_seconds(2))  # fmt: skip
        stubborn = submit(alice, IGNORES, deadline_ns=in_seconds(2))
        results = [result_of(own_daemon, job) for job in (polite, stubborn)]
        assert [each["reason"] for each in results] == ["deadline", "deadline"]
        assert (results[0]["exit_code"], results[1]["signal"]) == (5, 9)
        assert output_of(alice, polite) == b"ending\n"


def test_a_paused_job_is_ended_at_its_deadline_and_goes_on_into_its_grace(
    daemon: Daemon, alice: Wire
) -> None:
    job = submit(alice, "trap 'echo ending; exit 5' TERM; echo ready; sleep 1000 & wait",
                 deadline_ns=in_seconds(3))  # fmt: skip
    wait_until(lambda: output_of(alice, job) == b"ready\n")
    alice.ok("pause", job=job)
    result = result_of(daemon, job)
    assert (result["reason"], result["exit_code"]) == ("deadline", 5)
    assert output_of(alice, job) == b"ready\nending\n"


@pytest.mark.parametrize("paused", [False, True])
def test_a_deadline_holds_while_runnerd_is_away(own_daemon: Daemon, *, paused: bool) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, "sleep 1000", deadline_ns=in_seconds(3))
        wait_for(alice, job, "running")
        if paused:
            alice.ok("pause", job=job)
    own_daemon.kill()
    wait_until(partial(os.path.exists, f"{attempt_directory(own_daemon, job, 1)}/exit"))
    own_daemon.start()
    assert result_of(own_daemon, job)["reason"] == "deadline"


@contextmanager
def clock_set_forward(seconds: float) -> Iterator[None]:
    """The host's clock of the day; what it should have been is kept by one that nobody sets."""
    before = time.clock_gettime(time.CLOCK_REALTIME) - time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, before + time.monotonic() + seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, before + time.monotonic())


def test_a_clock_that_is_set_counts_for_a_deadline(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, "sleep 1000", deadline_ns=in_seconds(3600))
        wait_for(alice, job, "running")
        own_daemon.kill()
        with clock_set_forward(7200):
            wait_until(partial(os.path.exists, f"{attempt_directory(own_daemon, job, 1)}/exit"))
    own_daemon.start()
    assert result_of(own_daemon, job)["reason"] == "deadline"


def test_a_retry_that_would_come_after_the_deadline_is_none(daemon: Daemon, alice: Wire) -> None:
    retry = {"limit": 3, "backoff_seconds": 1000}
    job = submit(alice, FAILS, deadline_ns=in_seconds(500), retry=retry)
    assert result_of(daemon, job)["exit_code"] == 3


# --- following ---


@pytest.fixture
def gate() -> Iterator[Path]:
    """A file that the first attempt of `printing` waits for once it has printed a line."""
    path = Path("/home/gate")
    yield path
    path.unlink()


def expected(attempts: int, lines: int) -> dict[int, bytes]:
    return {
        attempt: b"".join(b"%d of %d\n" % (line, attempt) for line in range(1, lines + 1))
        for attempt in range(1, attempts + 1)
    }


def printing(gate: Path, attempts: int, lines: int, pause: str = "") -> str:
    """Each attempt prints its lines; the last one succeeds."""
    line = 'echo "$i of $RUNNERD_ATTEMPT"'
    wait = f"until [ $RUNNERD_ATTEMPT != 1 -o -e {gate} ]; do sleep 0.05; done"
    loop = f"while [ $i -lt {lines} ]; do i=$((i+1)); {line}; {pause} done"
    return f"i=1; {line}; {wait}; {loop}; test $RUNNERD_ATTEMPT = {attempts}"


def test_who_follows_is_given_every_byte_of_every_attempt(
    daemon: Daemon, alice: Wire, gate: Path
) -> None:
    retry = {"limit": 9, "backoff_seconds": 0.2, "backoff_max_seconds": 0.2}
    job = submit(alice, printing(gate, 4, 20_000), retry=retry)
    found: dict[int, bytes] = {}
    with daemon.client() as client, client.logs(job, follow=True) as stream:
        for batch in stream.batches():
            for item in batch:
                assert isinstance(item, LogChunk), item
                have = found.setdefault(stream.attempt, b"")
                assert item.offset == len(have)
                found[stream.attempt] = have + item.data
                gate.touch()
        assert stream.status is not None
        assert stream.status["state"] == "ended"
        assert (stream.attempt, stream.cursor) == (4, len(found[4]))
    assert found == expected(4, 20_000)
    with daemon.client() as client:
        # From a place in the second attempt on, and of that one alone.
        for goes_on in (True, False):
            later = client.logs(job, attempt=2, cursor=100, goes_on=goes_on)
            data = b"".join(item.data for item in later if isinstance(item, LogChunk))
            assert data == found[2][100:] + (found[3] + found[4] if goes_on else b"")


def test_who_follows_misses_and_repeats_nothing_when_runnerd_is_killed(
    own_daemon: Daemon, gate: Path
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, printing(gate, 6, 40, "sleep 0.01;"), retry={"limit": 9})
    follower = own_daemon.spawn_runctl("logs", "-f", job, user="alice")
    assert follower.stdout is not None
    assert select.select([follower.stdout], [], [], 20)[0]
    gate.touch()
    for attempt in (1, 3, 4):
        log = Path(attempt_directory(own_daemon, job, attempt), "log", f"{0:020}.log")
        wait_until(partial(is_longer, log, 50))
        own_daemon.kill()
        own_daemon.start()
    stdout, stderr = follower.communicate(timeout=60)
    assert stdout == b"".join(expected(6, 40).values()), stderr
    assert follower.returncode == 0, stderr


def is_longer(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size
