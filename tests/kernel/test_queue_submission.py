"""What is asked of the queue at submit: taken whole, or refused by field with nothing queued."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon

CONFIG = """
[network]
linger_seconds = 0
[capacity]
cpus = 2
memory = "1G"
[queues.closed]
max_running = 0
max_priority = 5
[queues.bobs]
allow = ["bob", "nobody-of-that-name"]
[quotas]
max_queued = 3
max_cpus = 1
max_memory = "512M"
[quotas.users.bob]
max_queued = 1
max_log_bytes = "64K"
"""
# One that waits until the test is over.
WAITS = {"queue": "closed"}


@pytest.fixture
def configured(own_daemon: Daemon) -> Daemon:
    own_daemon.config.write_text(CONFIG)
    own_daemon.start()
    return own_daemon


def error_of(wire: Wire, **fields: Any) -> dict[str, Any]:
    """The refusal of a job, which leaves no job behind."""
    before = len(wire.ok("list", ended=True)["jobs"])
    error: dict[str, Any] = wire.request("submit", submission("true", **fields))["error"]
    assert len(wire.ok("list", ended=True)["jobs"]) == before
    return error


def test_a_key_gives_one_job_to_many_clients_at_once_and_over_a_restart(
    configured: Daemon,
) -> None:
    asked = submission("sleep", "1000", idempotency_key="nightly/7", **WAITS)
    answers: list[dict[str, Any]] = []

    def ask() -> None:
        with Wire(configured, "root") as wire:
            answers.append(wire.ok("submit", asked))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({answer["job"] for answer in answers}) == 1
    assert sorted(answer["existing"] for answer in answers) == [False] + [True] * 7
    configured.kill()
    configured.start()
    with Wire(configured, "root") as wire:
        again = wire.ok("submit", asked)
        assert again == {"job": answers[0]["job"], "state": "queued", "existing": True}
        other = error_of(wire, idempotency_key="nightly/7")
        assert (other["code"], other["field"]) == ("key-in-use", "idempotency_key")
    with Wire(configured, "alice") as alice:
        mine = alice.ok("submit", asked)
        assert (mine["existing"], mine["job"] == again["job"]) == (False, False)


def test_a_key_is_free_again_when_its_job_is_removed(configured: Daemon) -> None:
    asked = submission("true", idempotency_key="k")
    with Wire(configured, "alice") as wire:
        first = wire.ok("submit", asked)["job"]
        wire.ok("wait", job=first)
        assert wire.ok("submit", asked) == {"job": first, "state": "ended", "existing": True}
        wire.ok("remove", job=first)
        assert wire.ok("submit", asked)["existing"] is False


def test_what_the_queue_does_not_give_is_refused_by_its_field(configured: Daemon) -> None:
    past = time.time_ns() - 10**10
    refused: list[tuple[dict[str, Any], str, str]] = [
        ({"queue": "nowhere"}, "no-such-queue", "queue"),
        ({"queue": "bobs"}, "not-permitted", "queue"),
        ({"priority": 1}, "not-permitted", "priority"),
        ({"queue": "closed", "priority": 6}, "not-permitted", "priority"),
        ({"not_before_ns": past}, "invalid-argument", "not_before_ns"),
        ({"deadline_ns": past}, "invalid-argument", "deadline_ns"),
        ({"delay_seconds": 9, "deadline_seconds": 8}, "invalid-argument", "delay_seconds"),
        ({"reserve": {"millicpus": 2001}}, "invalid-argument", "reserve.millicpus"),
        ({"reserve": {"memory_bytes": 2**30}}, "quota-exceeded", "reserve.memory_bytes"),
        ({"limits": {"memory_max_bytes": 2**30}}, "quota-exceeded", "limits.memory_max_bytes"),
        ({"after": [{"job": "none-of-mine"}]}, "no-such-job", "after[0].job"),
        ({"labels": {"no spaces": ""}}, "invalid-argument", "labels"),
    ]
    with Wire(configured, "alice") as alice:
        for fields, code, field in refused:
            error = error_of(alice, **fields)
            assert (error["code"], error["field"]) == (code, field), fields


def test_nobody_can_wait_for_anothers_job_or_learn_of_it(configured: Daemon) -> None:
    with Wire(configured, "alice") as alice, Wire(configured, "bob") as bob:
        hers = alice.ok("submit", submission("true", name="hers", **WAITS))["job"]
        for ref in (hers, hers[:8], "hers", "never-was"):
            error = error_of(bob, after=[{"job": ref}])
            assert (error["code"], error["field"]) == ("no-such-job", "after[0].job")
            assert set(error) == {"code", "field", "given"}
        twice = error_of(alice, after=[{"job": "hers"}, {"job": hers}])
        assert (twice["code"], twice["field"]) == ("invalid-argument", "after[1].job")


def test_quotas_of_queued_jobs_and_of_output_hold_for_each_user_but_root(
    configured: Daemon,
) -> None:
    with Wire(configured, "alice") as alice, Wire(configured, "bob") as bob:
        for _ in range(3):
            alice.ok("submit", submission("true", **WAITS))
        error = error_of(alice, **WAITS)
        assert error["code"] == "quota-exceeded"
        assert "quotas.max_queued" in error["detail"]
        job = bob.ok("submit", submission("head", "-c", "100000", "/dev/zero"))["job"]
        assert bob.ok("wait", job=job)["result"]["exit_status"] == 0
        error = error_of(bob)
        assert "quotas.max_log_bytes" in error["detail"]
        bob.ok("remove", job=job)
        bob.ok("submit", submission("true", **WAITS))
        assert error_of(bob, **WAITS)["code"] == "quota-exceeded"
    with Wire(configured, "root") as root:
        for _ in range(5):
            root.ok("submit", submission("true", **WAITS))


def test_a_queue_is_for_those_that_it_names_and_an_admin_may_have_any_priority(
    configured: Daemon,
) -> None:
    with Wire(configured, "bob") as bob, Wire(configured, "root") as root:
        job = bob.ok("submit", submission("true", queue="bobs"))["job"]
        assert bob.ok("wait", job=job)["result"]["exit_status"] == 0
        job = root.ok("submit", submission("true", queue="bobs", priority=1000))["job"]
        assert root.ok("wait", job=job)["result"]["exit_status"] == 0
    assert "queues.bobs.allow: there is no user nobody-of-that-name" in configured.log_text()


def test_a_job_says_all_that_was_asked_of_the_queue(configured: Daemon) -> None:
    labels = {"team/a": "night shift", "empty": ""}
    with Wire(configured, "alice") as alice:
        first = alice.ok("submit", submission("true", **WAITS))["job"]
        job = alice.ok("submit", submission(
            "true", queue="closed", priority=5, labels=labels, hold=True, deadline_seconds=5000,
            delay_seconds=100, reserve={"memory_bytes": 2**20}, idempotency_key="k",
            limits={"cpu_max_millicpus": 500, "timeout_seconds": 3},
            after=[{"job": first, "on": "any"}],
            retry={"limit": 3, "backoff_seconds": 5, "on": ["exit"]},
        ))["job"]  # fmt: skip
        configured.kill()
        configured.start()
    with Wire(configured, "alice") as alice:
        shown = alice.ok("status", job=job)
        assert (shown["queue"], shown["priority"], shown["labels"]) == ("closed", 5, labels)
        assert (shown["held_by_uid"], shown["attempt"]) == (shown["uid"], 1)
        assert shown["not_before_ns"] == shown["submitted_ns"] + 100 * 10**9
        assert shown["deadline_ns"] == shown["submitted_ns"] + 5000 * 10**9
        assert shown["reserve"] == {"millicpus": 500, "memory_bytes": 2**20}
        assert shown["after"] == [{"job": first, "step": None, "on": "any", "met": False}]
        assert (shown["retry"]["limit"], shown["retry"]["on"]) == (3, ["exit"])
        assert (shown["idempotency_key"], shown["attempts"]) == ("k", [])
        assert shown["waits_for"] == "held"
