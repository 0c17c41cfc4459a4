"""Hooks with real jobs: as their owner, with limits, tried again, through kills and a full host."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from client.logstream import LogChunk
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

ALICE = 4001
PLACE = "/home/alice/told"
_BOUNDED = "[network]\nlinger_seconds = 0\n[jobs]\nmax_running = 2\n"


@pytest.fixture(autouse=True)
def place() -> Iterator[None]:
    """A directory of alice's, for what her hooks write."""
    os.mkdir(PLACE, 0o700)
    os.chown(PLACE, ALICE, ALICE)
    try:
        yield
    finally:
        shutil.rmtree(PLACE)


def hook(script: str, *events: str, **more: Any) -> dict[str, Any]:
    """A line of sh for some events."""
    return {"on": list(events) or ["ended"], "argv": ["sh", "-c", script], **more}


def appends(name: str = "events", what: str = "$RUNNERD_HOOK_EVENT") -> str:
    """One write, so that hooks at once do not mix."""
    return f'echo "{what}" >>{PLACE}/{name}'


def lines(name: str = "events") -> list[str]:
    try:
        with open(f"{PLACE}/{name}", encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def submit(wire: Wire, *argv: str, **more: Any) -> str:
    job: str = wire.ok("submit", submission(*argv, **more))["job"]
    return job


def runs(wire: Wire) -> list[dict[str, Any]]:
    """Every job that a hook is run as, the oldest first."""
    jobs: list[dict[str, Any]] = wire.ok("list", ended=True, limit=1000)["jobs"]
    return [job for job in jobs[::-1] if job["queue"] == "hooks"]


def settled(wire: Wire, count: int) -> list[dict[str, Any]]:
    """The hooks' jobs once there are so many and all of them have ended."""

    def has_all() -> bool:
        found = runs(wire)
        return len(found) == count and all(job["state"] == "ended" for job in found)

    wait_until(has_all, explain=lambda: runs(wire))
    return runs(wire)


def has_told(event: str) -> None:
    wait_until(lambda: lines()[-1] == event, explain=lines)


def some_more(name: str, most: int) -> None:
    """Return when another line was written, or all are there."""
    before = len(lines(name))
    wait_until(lambda: len(lines(name)) > before or len(lines(name)) == most)


class Web:
    """A server that answers as it is told to, the last status again and again."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[dict[str, Any]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                outer.got.append(json.loads(self.rfile.read(size)))
                self.send_response(statuses[min(len(outer.got), len(statuses)) - 1])
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://user:hunter2@127.0.0.1:{self.server.server_port}/x?token=hunter3"


@contextmanager
def web(*statuses: int) -> Iterator[Web]:
    made = Web(*statuses)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def test_a_command_is_run_as_the_jobs_user_with_limits_and_is_told_what_has_happened(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    facts = f"id -un >{PLACE}/who; pwd >>{PLACE}/who; umask >>{PLACE}/who; env >{PLACE}/env"
    with Wire(own_daemon) as alice:
        job = submit(
            alice, "sh", "-c", "exit 3", name="build", cwd=PLACE, umask=0o027,
            hooks=[hook(facts, "fail", memory_max_bytes=2**26, timeout_seconds=20),
                   hook(appends(), "ok")],
        )  # fmt: skip
        shown = alice.ok("status", job=job)["hooks"]
        assert [(each["on"], each["command"], each["host"]) for each in shown] == [
            (["fail"], "sh", None), (["ok"], "sh", None)
        ]  # fmt: skip
        (run,) = settled(alice, 1)
        assert run["result"]["exit_status"] == 0
        assert (run["name"], run["labels"]) == ("hook.build.fail", {"hook": job[:8]})
        ran, never = (each["last"] for each in alice.ok("status", job=job)["hooks"])
        assert (ran["job"], ran["state"], ran["result"]) == (run["job"], "ended", run["result"])
        assert never is None
        assert (run["user"], run["submitted_by_uid"], run["uid"]) == ("alice", ALICE, ALICE)
        limits = alice.ok("status", job=run["job"])["limits"]
        assert limits["memory_max_bytes"] == 2**26
        assert (limits["pids_max"], limits["timeout_seconds"]) == (64, 20)
        ended_ns = alice.ok("status", job=job)["ended_ns"]
    assert lines("who") == ["alice", PLACE, "0027"]
    told = dict(line.partition("=")[::2] for line in lines("env") if "RUNNERD_HOOK" in line)
    time = told.pop("RUNNERD_HOOK_TIME")
    assert time.endswith(f".{ended_ns // 1000 % 1_000_000:06d}Z")
    assert told == {
        "RUNNERD_HOOK_EVENT": "fail", "RUNNERD_HOOK_JOB": job, "RUNNERD_HOOK_NAME": "build",
        "RUNNERD_HOOK_STATE": "ended", "RUNNERD_HOOK_REASON": "exit",
        "RUNNERD_HOOK_EXIT_STATUS": "3", "RUNNERD_HOOK_ATTEMPT": "1",
        "RUNNERD_HOOK_JOBS": "", "RUNNERD_HOOK_FAILED": "",
    }  # fmt: skip
    # What is for an end that went well was not run.
    assert lines() == []


def test_each_change_is_told_once_and_in_order(own_daemon: Daemon) -> None:
    own_daemon.start()
    every = ["started", "paused", "resumed", "retry", "ended"]
    with Wire(own_daemon) as alice:
        job = submit(
            alice, "sh", "-c", "test $RUNNERD_ATTEMPT -gt 1 && exit 0; sleep 2; exit 1",
            retry={"limit": 1}, hooks=[hook(appends(), *every), hook(appends(), "ok")],
        )  # fmt: skip
        wait_until(lambda: lines() == ["started"])
        for operation, event in (("pause", "paused"), ("resume", "resumed")):
            alice.ok(operation, job=job)
            has_told(event)
        alice.ok("wait", job=job, timeout_seconds=60)
        names = [run["name"].rpartition(".")[2] for run in settled(alice, 7)]
    assert names == ["started", "paused", "resumed", "retry", "started", "ended", "ok"]
    assert sorted(lines()) == sorted(names)


def test_a_hook_that_fails_is_tried_again(own_daemon: Daemon) -> None:
    own_daemon.start()
    twice = f"{appends('tries', '$RUNNERD_ATTEMPT')}; test $RUNNERD_ATTEMPT = 2"
    with Wire(own_daemon) as alice:
        submit(alice, "true", hooks=[hook(twice), hook("false", retries=0)])
        good, bad = settled(alice, 2)
        assert (good["attempt"], good["result"]["exit_status"]) == (2, 0)
        assert (bad["attempt"], bad["result"]["exit_status"]) == (1, 1)
    assert lines("tries") == ["1", "2"]


def test_a_web_address_is_told_until_it_has_understood(own_daemon: Daemon) -> None:
    own_daemon.start()
    with web(500, 200) as there, Wire(own_daemon) as alice:
        job = submit(alice, "sh", "-c", "exit 3", name="build",
                     hooks=[{"on": ["ended"], "url": there.address}])  # fmt: skip
        (run,) = settled(alice, 1)
        assert (run["attempt"], run["result"]["exit_status"]) == (2, 0)
        assert "hunter" not in str(run["argv"])
        (shown,) = alice.ok("status", job=job)["hooks"]
        assert (shown["on"], shown["command"], shown["host"]) == (["ended"], None, "127.0.0.1")
        assert shown["last"]["job"] == run["job"]
        first, again = there.got
        time = first.pop("time")
        assert time.endswith("Z")
        assert again == {**first, "time": time}
        assert first == {
            "event": "ended", "job": job, "name": "build", "state": "ended", "reason": "exit",
            "exit_status": 3, "attempt": 1, "jobs": None, "failed": None,
        }  # fmt: skip
    with own_daemon.client() as client, client.logs(run["job"], attempt=1) as log:
        said = b"".join(item.data for item in log if isinstance(item, LogChunk))
    assert said.endswith(b"/x answered 500\n")
    assert b"hunter" not in said


def test_no_hook_is_lost_or_run_twice_by_kills_of_runnerd(own_daemon: Daemon) -> None:
    own_daemon.start()
    tell = hook(appends("ids", "$RUNNERD_HOOK_JOB"), "ended")
    with Wire(own_daemon) as alice:
        jobs = [submit(alice, "sleep", f"{n % 4 / 2}", hooks=[tell]) for n in range(16)]
    for _ in range(4):
        some_more("ids", 16)
        own_daemon.kill()
        own_daemon.start()
    with Wire(own_daemon) as alice:
        settled(alice, 16)
    assert sorted(lines("ids")) == sorted(jobs)


def test_a_host_full_of_endless_jobs_runs_hooks_and_hooks_keep_no_job_waiting(
    own_daemon: Daemon,
) -> None:
    own_daemon.config.write_text(_BOUNDED)
    own_daemon.start()
    with Wire(own_daemon, "bob") as bob, Wire(own_daemon) as alice:
        endless = [submit(bob, "sleep", "1000") for _ in range(2)]
        wait_until(lambda: all(bob.ok("status", job=job)["state"] == "running" for job in endless))
        waiting = submit(alice, "true", hooks=[hook(appends(), "fail")])
        alice.ok("stop", job=waiting)
        wait_until(lambda: lines() == ["fail"])
        # As many as there may be of alice, and more: bob's next job has its slot all the same.
        slow = [hook("sleep 1000", "ended", retries=0) for _ in range(8)]
        alice.ok("stop", job=submit(alice, "true", hooks=slow))
        wait_until(lambda: sum(run["state"] == "running" for run in runs(alice)) == 4)
        submitted = submit(bob, "true", hooks=[])
        bob.ok("stop", job=endless[0], kill=True)
        assert bob.ok("wait", job=submitted, timeout_seconds=60)["result"]["exit_status"] == 0
        told = submit(bob, "true", hooks=[hook("true")])
        bob.ok("wait", job=told, timeout_seconds=60)
        settled(bob, 1)
        queues = {queue["name"]: queue for queue in bob.ok("queues")["queues"]}
        assert queues["hooks"]["running"] == 4
        assert bob.ok("queues")["promised"]["jobs"] == 1


def test_nobody_puts_a_job_into_the_queue_of_hooks(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        job = submit(alice, "true", hold=True)
        for wire in (alice, root):
            error = wire.error("submit", submission("true", queue="hooks"))
            assert (error["code"], error["field"]) == ("not-permitted", "queue")
            error = wire.error("move", job=job, queue="hooks")
            assert (error["code"], error["field"]) == ("not-permitted", "queue")


def test_a_hook_that_is_refused_is_an_event_and_the_next_one_is_run(own_daemon: Daemon) -> None:
    own_daemon.start()
    os.mkdir(f"{PLACE}/there", 0o755)
    os.chown(f"{PLACE}/there", ALICE, ALICE)
    with Wire(own_daemon) as alice:
        since = alice.ok("events")["next"]
        job = submit(alice, "sh", "-c", f"rmdir {PLACE}/there", cwd=f"{PLACE}/there",
                     hooks=[hook(appends(), "ended")])  # fmt: skip
        alice.ok("wait", job=job, timeout_seconds=60)
        submit(alice, "true", hooks=[hook(appends("next"), "ended")])
        wait_until(lambda: lines("next") == ["ended"])
    with own_daemon.client() as client, client.events(since=since) as stream:
        (event,) = [each for each in stream if "gap" not in each and each["kind"] == "hook"]
    assert event["job"] == job
    assert event["data"]["event"] == "ended"
    assert f"{PLACE}/there" in str(event["data"]["refused"])
    assert lines() == []


def test_an_array_and_a_flow_tell_once_when_all_of_their_jobs_have_ended(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    told = appends("groups", "$RUNNERD_HOOK_EVENT $RUNNERD_HOOK_NAME $RUNNERD_HOOK_GROUP")
    with Wire(own_daemon) as alice:
        script = "test $RUNNERD_ARRAY_INDEX != 3"
        many = submission("sh", "-c", script, name="many", hooks=[hook(told, "ok", "fail")])
        array = alice.ok("submit_array", submit=many, array={"ranges": [(0, 9, 1)]})["group"]
        wait_until(lambda: lines("groups") == [f"fail many {array}"])
        steps = [
            {"name": "first", "submit": submission("true")},
            {"name": "last", "submit": submission("true"), "needs": [{"step": "first"}]},
        ]
        packed = [msgpack.packb(step, use_bin_type=True) for step in steps]
        asked = {"name": "two", "steps": packed, "hooks": [hook(told, "ok", "fail")]}
        flow = alice.ok("submit_flow", asked)["group"]
        wait_until(lambda: lines("groups")[1:] == [f"ok two {flow}"])
        alice.ok("wait_group", group=array, timeout_seconds=60)
        settled(alice, 2)
        error = alice.error(
            "submit_array", array={"ranges": [(0, 1, 1)]},
            submit=submission("true", hooks=[hook("true", "started")]),
        )  # fmt: skip
        assert error["field"] == "submit.hooks[0].on[0]"
