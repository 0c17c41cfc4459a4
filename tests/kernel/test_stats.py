"""`stats` of a real daemon: the numbers are those of what happened, and who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)

if TYPE_CHECKING:
    from client.records import Stats
    from tests.kernel.harness import Daemon

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"

# The jobs of a test: their ends, and how they come to them.
ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "by itself": ("exit", submission("sh", "-c", "printf 0123456789; exit 3")),
    "killed": ("signal", submission("sh", "-c", "kill -9 $$")),
    "too long": ("timeout", submission("sleep", "60", limits={"timeout_seconds": 0.1})),
    "not there": ("launch-error", submission("no-such-command")),
    "too much": (
        "output-limit",
        submission("yes", limits={"output_max_bytes": 4096, "output_policy": "end"}),
    ),
    "late": ("deadline", submission(hold=True, deadline_seconds=0.05)),
}


def stats_of(daemon: Daemon) -> Stats:
    with daemon.client() as client:
        return client.stats()


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    names = {*before, *after}
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return {name: change for name, change in changes.items() if change}


def test_after_jobs_of_every_kind_the_numbers_are_those_of_what_happened(daemon: Daemon) -> None:
    before = stats_of(daemon)
    with Wire(daemon, "alice") as wire:
        for _, asked in ENDS.values():
            wire.ok("wait", job=wire.ok("submit", asked)["job"])
        wire.error("status", job="no-such-job")
    after = stats_of(daemon)
    assert difference(before["ends"], after["ends"]) == {reason: 1 for reason, _ in ENDS.values()}
    assert difference(before["refusals"], after["refusals"]) == {"no-such-job": 1}
    assert after["submitted"] - before["submitted"] == len(ENDS)
    # One never started.
    assert after["starts"] - before["starts"] == len(ENDS) - 1
    assert after["queue_wait"]["count"] - before["queue_wait"]["count"] == len(ENDS) - 1
    assert after["launch"]["count"] - before["launch"]["count"] == len(ENDS) - 1
    assert after["launch"]["sum_seconds"] > before["launch"]["sum_seconds"]
    assert after["log_bytes"] - before["log_bytes"] == 10 + 4096
    assert after["cpu_usec"] > before["cpu_usec"]
    assert after["jobs"]["ended"] == before["jobs"]["ended"] + len(ENDS)
    assert after["store"]["rows"] == sum(after["jobs"].values())
    assert after["store"]["bytes"] > 0
    assert after["started_ns"] == before["started_ns"]


def test_a_job_counts_while_it_runs_and_no_less_when_it_has_ended(daemon: Daemon) -> None:
    before = stats_of(daemon)
    script = f"{BURN}\nroom = bytearray(32 << 20)\nprint('ready', flush=True)\ntime.sleep(60)"
    with Wire(daemon, "alice") as wire:
        job = wire.ok("submit", submission("python3", "-c", script))["job"]
        wait_until(lambda: stats_of(daemon)["memory_bytes"] > 32 << 20)
        running = stats_of(daemon)
        assert running["cpu_usec"] - before["cpu_usec"] >= 300_000
        assert running["jobs"]["running"] == 1
        assert running["promised"]["jobs"] == 1
        wire.ok("stop", job=job, kill=True)
        wire.ok("wait", job=job)
    after = stats_of(daemon)
    assert after["cpu_usec"] >= running["cpu_usec"]
    assert after["memory_bytes"] == 0
    assert difference(before["ends"], after["ends"]) == {"stopped": 1}


def test_what_waits_is_told_by_its_reason(daemon: Daemon) -> None:
    with Wire(daemon, "alice") as wire:
        for more in ({"hold": True}, {"hold": True}, {"delay_seconds": 3600}):
            wire.ok("submit", submission(**more))
        assert stats_of(daemon)["waiting"] == {"held": 2, "time": 1}


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_member_is_not_told(daemon: Daemon, user: str) -> None:
    with Wire(daemon, user) as wire:
        assert wire.error("stats")["code"] == "not-permitted"


def test_what_only_grows_begins_anew_with_the_daemon_and_what_runs_counts_on(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with own_daemon.client() as client:
        client.wait(client.submit(["true"]))
        job = client.submit(["python3", "-c", f"{BURN}\ntime.sleep(60)"])
        wait_until(lambda: client.stats()["cpu_usec"] > 300_000)
        before = client.stats()
    own_daemon.kill()
    own_daemon.start()
    with own_daemon.client() as client:
        after = client.stats()
        assert after["started_ns"] > before["started_ns"]
        assert (after["submitted"], after["starts"], sum(after["ends"].values())) == (0, 0, 0)
        assert after["launch"]["count"] == 0
        assert (after["jobs"]["running"], after["jobs"]["ended"]) == (1, 1)
        assert after["cpu_usec"] >= 300_000
        client.stop(job, kill=True)
        client.wait(job)
        assert client.stats()["ends"]["stopped"] == 1


def test_the_gateway_is_told_and_whoever_it_acts_for_is_not(own_daemon: Daemon) -> None:
    text = own_daemon.config.read_text()
    own_daemon.config.write_text(f'{text}[gateway]\nuser = "bob"\nusers = ["alice"]\n')
    own_daemon.start()
    with Wire(own_daemon, "bob") as wire:
        assert wire.ok("stats")["connections"] == 1
    with Wire(own_daemon, "bob", greet=False) as wire:
        acting = {"user": "alice", "origin": "CN=alice"}
        wire.ok("hello", protocol=1, act_for=acting)
        assert wire.error("stats")["code"] == "not-permitted"
