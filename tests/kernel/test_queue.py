"""The queue with real jobs: when, in which order, after what, and within what.

Decisions are tested as such in tests/unit/runner/scheduling; here it is what users see, and that
it holds when runnerd is killed.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_drain import configure, state_of
from tests.kernel.test_survival import log_of, result_of
from tests.load import account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.harness import Daemon

# Where alice and bob both get to.
GATES = "/home/gates"
GIB = 1024**3
# The guest's one CPU takes 0.17 s for a job; scripts/load does 10,000 of them.
JOBS = int(os.environ.get("RUNNERD_TEST_JOBS", "250"))


@contextmanager
def gates() -> Iterator[Callable[[str], None]]:
    """What is called opens the gate of that name, which jobs of `gated` wait for."""
    os.mkdir(GATES)
    # Each job adds its line, whoever's it is.
    with open(f"{GATES}/order", "wb") as file:
        os.fchmod(file.fileno(), 0o666)

    def open_it(name: str) -> None:
        with open(f"{GATES}/{name}", "wb"):
            pass

    try:
        yield open_it
    finally:
        for name in os.listdir(GATES):
            os.unlink(f"{GATES}/{name}")
        os.rmdir(GATES)


def gated(gate: str, status: int = 0, **more: Any) -> dict[str, Any]:
    """A job that waits for its gate and exits with the status."""
    script = f"until [ -e {GATES}/{gate} ]; do sleep 0.02; done; exit {status}"
    return submission("sh", "-c", script, **more)


def stamped(line: str, **more: Any) -> dict[str, Any]:
    """A job that adds a line to a file: the order of the lines is that of the jobs."""
    return submission("sh", "-c", f"echo {line} >> {GATES}/order", **more)


def order() -> list[str]:
    with open(f"{GATES}/order", encoding="ascii") as file:
        return file.read().split()


def submit(wire: Wire, request: dict[str, Any], **more: Any) -> str:
    job: str = wire.ok("submit", {**request, **more})["job"]
    return job


def causes(wire: Wire, job: str) -> list[str]:
    return [because["cause"] for because in wire.ok("why", job=job)["because"]]


def reaches(wire: Wire, job: str, state: str) -> None:
    wait_until(lambda: state_of(wire, job) == state, explain=lambda: wire.ok("status", job=job))


def reason_of(wire: Wire, job: str) -> str:
    reason: str = wire.ok("wait", job=job, timeout_seconds=60)["result"]["reason"]
    return reason


def running(wire: Wire) -> list[str]:
    jobs = wire.ok("list")["jobs"]
    return [job["job"] for job in jobs if job["state"] in ("starting", "running")]


# --- capacity ---


def test_no_more_is_promised_than_there_is(own_daemon: Daemon) -> None:
    configure(own_daemon, "[capacity]\ncpus = 2\n")
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice:
        jobs = [submit(alice, gated(f"g{n}", limits={"cpu_max_millicpus": 800})) for n in range(3)]
        reaches(alice, jobs[0], "running")
        reaches(alice, jobs[1], "running")
        assert causes(alice, jobs[2]) == ["cpus"]
        (because,) = alice.ok("why", job=jobs[2])["because"]
        assert (because["needs"], because["free"]) == (800, 400)
        # What asks for nothing is promised nothing.
        reaches(alice, submit(alice, gated("g0")), "running")
        open_it("g1")
        reaches(alice, jobs[2], "running")
        open_it("g0")
        open_it("g2")


def test_a_job_as_large_as_the_machine_is_not_starved_by_small_ones(own_daemon: Daemon) -> None:
    configure(own_daemon, '[capacity]\nmemory = "1G"\n')
    own_daemon.start()
    stream = threading.Event()
    small = {"memory_max_bytes": GIB // 4}
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:

        def small_ones() -> None:
            # The stream never has a moment in which nothing of it waits.
            with Wire(own_daemon, "bob") as other:
                while not stream.is_set():
                    waiting = other.ok("queues")["own"]["queued"]
                    for _ in range(6 - waiting):
                        submit(other, submission("sleep", "0.3", limits=small))

        thread = threading.Thread(target=small_ones)
        thread.start()
        try:
            wait_until(lambda: len(running(bob)) >= 3)
            large = submit(alice, submission("true", limits={"memory_max_bytes": GIB}))
            assert alice.ok("wait", job=large, timeout_seconds=60)["state"] == "ended"
        finally:
            stream.set()
            thread.join()


def test_a_limit_that_grows_takes_more_of_the_promise_or_is_refused(own_daemon: Daemon) -> None:
    configure(own_daemon, "[capacity]\ncpus = 2\n")
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice:
        first = submit(alice, gated("g", limits={"cpu_max_millicpus": 1000}))
        second = submit(alice, gated("g", limits={"cpu_max_millicpus": 500}))
        reaches(alice, first, "running")
        reaches(alice, second, "running")
        refused = alice.error("update", job=second, limits={"cpu_max_millicpus": 1500})
        assert refused["code"] == "limit-unavailable", refused
        assert alice.ok("status", job=second)["limits"]["cpu_max_millicpus"] == 500
        alice.ok("update", job=second, limits={"cpu_max_millicpus": 1000})
        third = submit(alice, gated("g", limits={"cpu_max_millicpus": 100}))
        assert causes(alice, third) == ["cpus"]
        alice.ok("update", job=first, limits={"cpu_max_millicpus": 900})
        reaches(alice, third, "running")
        open_it("g")


# --- order ---


def one_at_a_time(daemon: Daemon, more: str = "") -> None:
    configure(daemon, f"[jobs]\nmax_running = 1\n{more}")
    daemon.start()


def test_priorities_moves_and_fair_shares_decide_the_order(own_daemon: Daemon) -> None:
    one_at_a_time(own_daemon)
    with gates() as open_it, Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        reaches(alice, submit(alice, gated("first")), "running")
        jobs = {name: submit(alice, stamped(name)) for name in ("a1", "a2", "a3", "a4")}
        jobs["low"] = submit(alice, stamped("low"), priority=-5)
        jobs["b1"] = submit(bob, stamped("b1"))
        jobs["b2"] = submit(bob, stamped("b2"))
        alice.ok("move", job=jobs["a4"], top=True)
        alice.ok("move", job=jobs["a3"], before=jobs["a2"])
        open_it("first")
        for name, job in jobs.items():
            assert reason_of(bob if name[0] == "b" else alice, job) == "exit", name
        found = order()
        assert [name for name in found if name[0] == "a"] == ["a4", "a1", "a3", "a2"]
        assert [name for name in found if name[0] == "b"] == ["b1", "b2"]
        # By turns: bob, who has had nothing so far, does not wait for all that alice has.
        assert found.index("b1") <= 1, found
        assert found.index("b2") <= 3, found
        assert found[-1] == "low"


def test_nobody_moves_a_job_past_those_of_others(own_daemon: Daemon) -> None:
    one_at_a_time(own_daemon)
    with gates() as open_it, Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        reaches(alice, submit(alice, gated("g")), "running")
        mine, other = submit(alice, gated("g")), submit(bob, gated("g"))
        assert alice.error("move", job=mine, before=other)["code"] == "no-such-job"
        assert bob.error("move", job=mine, top=True)["code"] == "no-such-job"
        for op in ("hold", "release", "retry", "why"):
            assert bob.error(op, job=mine)["code"] == "no-such-job"
        refused = alice.error("submit", submission("true", priority=1))
        assert (refused["code"], refused["field"]) == ("not-permitted", "priority")
        open_it("g")


def test_a_job_that_is_held_waits_and_who_held_it_says_who_releases(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        held = submit(alice, submission("true"), hold=True)
        assert causes(alice, held) == ["held"]
        own_daemon.kill()
        own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        assert causes(alice, held) == ["held"]
        alice.ok("release", job=held)
        assert reason_of(alice, held) == "exit"
        held = submit(alice, submission("true"), delay_seconds=3600)
        root.ok("hold", job=held)
        assert alice.error("release", job=held)["code"] == "not-permitted"
        assert alice.ok("stop", job=held)["state"] == "queued"
        assert reason_of(alice, held) == "stopped"
        assert alice.error("hold", job=held)["code"] == "job-state"


# --- queues ---


QUEUES = """[queues.batch]
max_running = 1
priority = -1
[queues.staff]
allow = ["bob"]
max_priority = 10
"""


def test_queues_have_a_cap_a_pause_and_users(own_daemon: Daemon) -> None:
    configure(own_daemon, QUEUES)
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        first = submit(alice, gated("g"), queue="batch")
        reaches(alice, first, "running")
        second = submit(alice, gated("g"), queue="batch")
        assert causes(alice, second) == ["queue-cap"]
        reaches(alice, submit(alice, gated("g")), "running")
        assert alice.error("submit", submission("true", queue="none"))["code"] == "no-such-queue"
        refused = alice.error("submit", submission("true", queue="staff"))
        assert (refused["code"], refused["field"]) == ("not-permitted", "queue")
        with Wire(own_daemon, "bob") as bob:
            job = submit(bob, submission("true"), queue="staff", priority=10)
            assert reason_of(bob, job) == "exit"
        assert alice.error("queue", name="batch", paused=True)["code"] == "not-permitted"
        root.ok("queue", name="batch", paused=True, max_running=2)
        own_daemon.kill()
        own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        queues = {queue["name"]: queue for queue in alice.ok("queues")["queues"]}
        assert (queues["batch"]["paused"], queues["batch"]["max_running"]) == (True, 2)
        assert (queues["batch"]["queued"], queues["batch"]["running"]) == (1, 1)
        assert [queues[name]["allowed"] for name in ("default", "staff")] == [True, False]
        assert causes(alice, second) == ["queue-paused"]
        root.ok("queue", name="batch", paused=False)
        reaches(alice, second, "running")
        open_it("g")
        assert [reason_of(alice, job) for job in (first, second)] == ["exit", "exit"]


def test_a_queue_that_is_gone_keeps_its_jobs_until_they_are_moved(own_daemon: Daemon) -> None:
    configure(own_daemon, "[queues.old]\nmax_running = 0\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, submission("true"), queue="old")
    own_daemon.stop()
    configure(own_daemon, "")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        assert causes(alice, job) == ["no-queue"]
        alice.ok("move", job=job, queue="default")
        assert reason_of(alice, job) == "exit"


def test_quotas_hold_back_or_refuse_one_user_alone(own_daemon: Daemon) -> None:
    configure(
        own_daemon,
        "[quotas]\nmax_running = 1\nmax_queued = 2\n[quotas.users.bob]\nmax_running = 5\n",
    )
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        reaches(alice, submit(alice, gated("g")), "running")
        waiting = submit(alice, gated("g"))
        assert causes(alice, waiting) == ["quota-running"]
        submit(alice, gated("g"))
        refused = alice.error("submit", gated("g"))
        assert (refused["code"], refused["allowed"]) == ("quota-exceeded", refused["allowed"])
        for _ in range(2):
            reaches(bob, submit(bob, gated("g")), "running")
        open_it("g")
        assert reason_of(alice, waiting) == "exit"


# --- times ---


def test_a_job_starts_when_its_time_has_come_and_not_before(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        before = time.time_ns()
        job = submit(alice, submission("true"), not_before_ns=before + 1_500_000_000)
        later = submit(alice, submission("true"), delay_seconds=3600)
        assert causes(alice, job) == causes(alice, later) == ["time"]
        started = alice.ok("wait", job=job, timeout_seconds=60)["started_ns"]
        assert started >= before + 1_500_000_000
        assert state_of(alice, later) == "queued"
        for field, value in (("not_before_ns", before - 60 * 10**9), ("deadline_ns", 1)):
            refused = alice.error("submit", submission("true", **{field: value}))
            assert (refused["code"], refused["field"]) == ("invalid-argument", field)
        assert alice.ok("stop", job=later)["state"] == "queued"


def test_a_clock_that_is_set_counts_within_seconds(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = submit(alice, submission("true"), delay_seconds=3600)
        assert causes(alice, job) == ["time"]
        offset = 3601
        time.clock_settime(time.CLOCK_REALTIME, time.time() + offset)
        try:
            wait_until(lambda: state_of(alice, job) == "ended")
        finally:
            time.clock_settime(time.CLOCK_REALTIME, time.time() - offset)


def test_a_deadline_ends_a_job_that_waits_and_one_that_runs(own_daemon: Daemon) -> None:
    one_at_a_time(own_daemon)
    with gates() as open_it, Wire(own_daemon) as alice:
        runs = submit(alice, submission("sleep", "100"), deadline_seconds=2)
        waits = submit(alice, submission("true"), deadline_seconds=1)
        assert reason_of(alice, waits) == "deadline"
        ended = alice.ok("wait", job=runs, timeout_seconds=60)
        assert (ended["result"]["reason"], ended["result"]["exit_status"]) == ("deadline", 124)
        assert ended["ended_ns"] - ended["submitted_ns"] < 10 * 10**9
        open_it("unused")


# --- after what ---


def test_jobs_come_after_others_as_they_were_asked_to(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice:
        good, bad = submit(alice, gated("g")), submit(alice, gated("g", 3))
        fan_in = submit(alice, submission("true"), after=[{"job": good}, {"job": bad, "on": "any"}])
        failed = submit(alice, submission("true"), after=[{"job": bad, "on": "fail"}])
        never = submit(alice, submission("true"), after=[{"job": bad}])
        chain = submit(alice, submission("true"), after=[{"job": never}])
        clean_up = submit(alice, submission("true"), after=[{"job": chain, "on": "any"}])
        reaches(alice, submit(alice, gated("g"), after=[{"job": good, "on": "started"}]), "running")
        assert causes(alice, fan_in) == ["dependency"]
        open_it("g")
        assert [reason_of(alice, job) for job in (fan_in, failed, clean_up)] == ["exit"] * 3
        assert [reason_of(alice, job) for job in (never, chain)] == ["dependency"] * 2
        detail = alice.ok("status", job=never)["result"]["detail"]
        assert bad[:8] in detail, detail
        # Submitted after the fact.
        late = submit(alice, submission("true"), after=[{"job": chain}])
        assert reason_of(alice, late) == "dependency"
        assert reason_of(alice, submit(alice, submission("true"), after=[{"job": good}])) == "exit"


def test_a_dependency_on_what_is_not_ones_own_is_refused_and_nothing_is_queued(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        other = submit(bob, submission("true"))
        before = len(alice.ok("list", ended=True)["jobs"])
        for ref in (other, "00000000-0000-4000-8000-000000000000", "no-such-name"):
            refused = alice.error("submit", submission("true", after=[{"job": ref}]))
            assert (refused["code"], refused["field"]) == ("no-such-job", "after[0].job"), refused
        assert len(alice.ok("list", ended=True)["jobs"]) == before
        assert reason_of(bob, other) == "exit"


def test_dependencies_hold_over_a_runnerd_that_is_killed(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates() as open_it:
        with Wire(own_daemon) as alice:
            bad = submit(alice, gated("g", 1))
            chain = [bad]
            for _ in range(20):
                chain.append(submit(alice, submission("true"), after=[{"job": chain[-1]}]))
            good = submit(alice, submission("true"), after=[{"job": bad, "on": "fail"}])
            reaches(alice, bad, "running")
        own_daemon.kill()
        open_it("g")
        wait_until(lambda: os.path.exists(f"{own_daemon.state_dir}/jobs/{bad}/exit"))
        own_daemon.start()
        with Wire(own_daemon) as alice:
            assert reason_of(alice, good) == "exit"
            assert {reason_of(alice, job) for job in chain[1:]} == {"dependency"}


# --- once ---


def test_one_key_is_one_job_for_two_clients_at_once_and_over_a_restart(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    request = submission("echo", "once", idempotency_key="build-17")

    # Who connects is this process's word, and so one at a time; what they ask is at once.
    with ExitStack() as opened, ThreadPoolExecutor(8) as pool:
        wires = [opened.enter_context(Wire(own_daemon)) for _ in range(16)]
        answers = list(pool.map(lambda wire: wire.ok("submit", request), wires))
    assert len({answer["job"] for answer in answers}) == 1
    assert [answer["existing"] for answer in answers].count(False) == 1
    job = answers[0]["job"]
    assert result_of(own_daemon, job)["exit_code"] == 0
    own_daemon.kill()
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        assert alice.ok("submit", request) == {"job": job, "state": "ended", "existing": True}
        assert log_of(own_daemon, job) == b"once\n"
        changed = submission("echo", "twice", idempotency_key="build-17")
        assert alice.error("submit", changed)["code"] == "key-in-use"
        assert bob.ok("submit", request)["job"] != job
        alice.ok("remove", job=job)
        assert alice.ok("submit", request)["job"] != job


# --- many ---


def test_many_are_stopped_at_once_and_only_those_that_are_meant(own_daemon: Daemon) -> None:
    one_at_a_time(own_daemon)
    with gates() as open_it, Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        runs = submit(alice, gated("g"), labels={"kind": "a"})
        reaches(alice, runs, "running")
        mine = [submit(alice, submission("true"), name=f"n-{n}", labels={"kind": "a"})
                for n in range(30)]  # fmt: skip
        others = [submit(alice, gated("g"), labels={"kind": "b"}),
                  submit(bob, gated("g"), labels={"kind": "a"})]  # fmt: skip
        counted = alice.ok("stop_many", select={"labels": {"kind": "a"}}, dry_run=True)
        assert (counted["jobs"], counted["queued"], counted["running"]) == (31, 30, 1)
        refused = alice.error("stop_many", select={"labels": {"kind": "a"}}, expect=30)
        assert state_of(alice, mine[0]) == "queued", refused
        stopped = alice.ok("stop_many", select={"name": "n-*"}, expect=30)
        assert stopped["queued"] == 30
        assert {state_of(alice, job) for job in mine} == {"ended"}
        assert {reason_of(alice, job) for job in mine} == {"stopped"}
        assert state_of(alice, runs) == "running"
        listed = alice.ok("list", select={"labels": {"kind": "b"}})["jobs"]
        assert [job["job"] for job in listed] == others[:1]
        open_it("g")
        assert reason_of(alice, others[0]) == "exit"


def test_what_happens_is_told_once_and_in_order_over_a_restart(own_daemon: Daemon) -> None:
    own_daemon.start()
    seen: list[Any] = []
    with own_daemon.client() as client:
        events = client.events(since=0, follow=True)
        ended = threading.Event()

        def listen() -> None:
            for event in events:
                seen.append(event)
                if event.get("kind") == "finish" and event.get("job") == last[0]:
                    break
            ended.set()

        last = [""]
        thread = threading.Thread(target=listen)
        thread.start()
        jobs = []
        with Wire(own_daemon) as alice:
            jobs += [submit(alice, submission("true")) for _ in range(10)]
            held = submit(alice, submission("true"), hold=True)
        own_daemon.kill()
        own_daemon.start()
        with Wire(own_daemon) as alice:
            for job in jobs:
                assert reason_of(alice, job) == "exit"
            last[0] = held
            alice.ok("release", job=held)
        assert ended.wait(30)
        thread.join()
    numbers = [event["seq"] for event in seen]
    assert numbers == list(range(1, len(numbers) + 1))
    for job in jobs:
        kinds = [event["kind"] for event in seen if event["job"] == job]
        # One that ran while runnerd was away ends without a word of its start.
        assert (kinds[:2], kinds[-1]) == (["submit", "launch"], "finish")
        assert kinds.count("finish") == 1
    with Wire(own_daemon, "bob") as bob:
        assert bob.ok("events", since=0)["next"] >= len(numbers)


def test_hundreds_of_jobs_queued_at_once_are_all_done_once(own_daemon: Daemon) -> None:
    configure(own_daemon, "[jobs]\nmax_running = 8\n")
    own_daemon.start()
    limits = {"memory_max_bytes": 64 * 1024**2, "pids_max": 16}

    def ask(_number: int) -> str:
        wire = wires.pop()
        try:
            return submit(wire, submission("true"), limits=limits)
        finally:
            wires.append(wire)

    wires = [Wire(own_daemon) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            jobs = list(pool.map(ask, range(JOBS)))
        wait_until(lambda: not wires[0].ok("list", limit=1)["jobs"], 10 + JOBS * 0.5)
        with own_daemon.client() as root:
            account.all_ran_once(root, jobs)
        applied = [wires[0].ok("status", job=job)["limits"] for job in jobs]
        assert all(each.items() >= limits.items() for each in applied)
    finally:
        for wire in wires:
            wire.__exit__()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 5000), ("labels", {"": "x"}), ("labels", {"a": "\x1b"}),
        ("after", [{"job": "x" * 200}]), ("delay_seconds", -1), ("deadline_seconds", 0),
        ("retry", {"limit": 0}), ("retry", {"limit": 3, "on": ["stopped"]}),
        ("reserve", {"millicpus": -1}), ("idempotency_key", "a b"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_field_and_nothing_is_queued(
    daemon: Daemon, field: str, value: object
) -> None:
    with Wire(daemon) as alice:
        refused = alice.error("submit", submission("true", **{field: value}))
        assert refused["code"] == "invalid-argument"
        assert refused["field"].split(".")[0].split("[")[0] == field
        assert alice.ok("list", ended=True)["jobs"] == []
