"""The library's Client: one method an operation, and what outlives a restart."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from client.api import Client
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"


def test_submit_sends_the_whole_request_and_returns_the_id(daemon: FakeDaemon) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
    with Client(daemon.path) as client:
        job = client.submit(
            ["make"],
            cwd="/tmp",
            env={"A": "1"},
            name="n",
            umask=0o77,
            network="host",
            user=5,
            limits={"pids_max": 9},
        )
    assert job == JOB_ID
    assert daemon.args("submit") == [
        {
            "argv": ["make"],
            "cwd": "/tmp",
            "env": {"A": "1"},
            "name": "n",
            "umask": 0o77,
            "network": "host",
            "user": 5,
            "limits": {"pids_max": 9},
        }
    ]


def test_a_wrong_argument_is_refused_before_anything_is_sent(daemon: FakeDaemon) -> None:
    with Client(daemon.path) as client, pytest.raises(RequestRefused, match=r"argv\[3\]"):
        client.submit(["a", "b", "c", "x" * 10**7])
    assert not daemon.seen


def test_jobs_are_listed_page_by_page(daemon: FakeDaemon) -> None:
    pages: dict[int | None, dict[str, Any]] = {
        None: {"jobs": [{"job": "a"}, {"job": "b"}], "next": 17},
        17: {"jobs": [{"job": "c"}], "next": None},
    }
    daemon.handlers["list"] = lambda s, r: s.ok(r, pages[r["args"]["before"]])
    with Client(daemon.path) as client:
        assert [job["job"] for job in client.jobs(ended=True, page=2)] == ["a", "b", "c"]
    assert daemon.args("list")[0] == {"ended": True, "limit": 2, "before": None}


def test_a_page_without_jobs_is_not_the_end_and_the_selection_goes_with_each(
    daemon: FakeDaemon,
) -> None:
    pages: dict[int | None, dict[str, Any]] = {
        None: {"jobs": [], "next": 17},
        17: {"jobs": [{"job": "c"}], "next": None},
    }
    daemon.handlers["list"] = lambda s, r: s.ok(r, pages[r["args"]["before"]])
    with Client(daemon.path) as client:
        found = client.jobs(select={"queue": "batch", "labels": {"a": None}, "user": None})
        assert [job["job"] for job in found] == ["c"]
    assert [args["select"] for args in daemon.args("list")] == [
        {"queue": "batch", "labels": {"a": None}}
    ] * 2


@pytest.mark.parametrize("answer", [{}, {"jobs": 5}, {"jobs": [], "next": 3}])
def test_a_list_that_cannot_end_or_begin_is_a_protocol_error(
    daemon: FakeDaemon, answer: dict[str, Any]
) -> None:
    daemon.answer("list", answer)
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        list(client.jobs())


def test_surroundings_are_part_of_a_submission(daemon: FakeDaemon) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
    with Client(daemon.path) as client:
        client.submit(["x"], group="staff", sandbox={"filesystem": "readonly"}, net={"name": "lab"})
    asked = daemon.args("submit")[0]
    assert asked["group"] == "staff"
    assert asked["sandbox"] == {"filesystem": "readonly"}
    assert asked["net"] == {"name": "lab"}


def test_an_update_gives_what_applies_then_and_pause_and_resume_the_state(
    daemon: FakeDaemon,
) -> None:
    daemon.answer("update", {"job": JOB_ID, "limits": {"pids_max": 5}})
    daemon.answer("pause", {"state": "paused"})
    daemon.answer("resume", {"state": "running"})
    with Client(daemon.path) as client:
        assert client.update("b", {"pids_max": 5, "cpu_weight": None}) == {"pids_max": 5}
        assert client.pause("b") == "paused"
        assert client.resume("b") == "running"
    assert daemon.args("update") == [{"job": "b", "limits": {"pids_max": 5, "cpu_weight": None}}]


def test_the_small_operations_ask_and_answer(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("status", make_job())
    daemon.answer("stop", {"state": "running"})
    daemon.answer("remove", {"job": JOB_ID})
    daemon.answer("doctor", {"server": "runnerd 9.9.9", "features": []})
    with Client(daemon.path) as client:
        assert client.status("build")["user"] == "alice"
        assert client.stop("build", grace_seconds=0, kill=True) == "running"
        assert client.stop("build") == "running"
        assert client.remove("build") == JOB_ID
        assert client.doctor()["server"] == client.hello()["server"]
    assert daemon.args("stop") == [
        {"job": "build", "grace_seconds": 0, "kill": True},
        {"job": "build", "kill": False},
    ]
    assert len(daemon.args("hello")) == 1


@pytest.mark.parametrize("op", ["submit", "stop", "remove", "update", "pause", "resume"])
def test_an_answer_without_its_value_is_a_protocol_error(daemon: FakeDaemon, op: str) -> None:
    daemon.answer(op, {})
    calls: dict[str, Callable[[Client], object]] = {
        "submit": lambda client: client.submit(["x"]),
        "stop": lambda client: client.stop(JOB_ID),
        "remove": lambda client: client.remove(JOB_ID),
        "update": lambda client: client.update(JOB_ID, {"pids_max": 5}),
        "pause": lambda client: client.pause(JOB_ID),
        "resume": lambda client: client.resume(JOB_ID),
    }
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="without"):
        calls[op](client)


def test_locate_asks_for_lines_and_times_and_gives_offsets(daemon: FakeDaemon) -> None:
    location = {"cursor": 5, "stdout": 9, "stderr": 5, "end": 12}
    daemon.answer("locate", location)
    with Client(daemon.path) as client:
        assert client.locate("x", lines=3, since_ns=1, until_ns=2, streams=[2]) == location
        assert client.locate("x", attempt=1) == location
        daemon.answer("locate", {**location, "stderr": None})
        with pytest.raises(ProtocolError, match="a location without its offsets"):
            client.locate("x")
    nothing = {"lines": None, "since_ns": None, "until_ns": None, "attempt": None}
    assert daemon.args("locate")[:2] == [
        {"job": "x", "lines": 3, "since_ns": 1, "until_ns": 2, "streams": [2], "attempt": None},
        {**nothing, "job": "x", "streams": [1, 2], "attempt": 1},
    ]


def test_a_refusal_leaves_the_connection_usable(daemon: FakeDaemon) -> None:
    daemon.refuse("status", "no-such-job")
    with Client(daemon.path) as client:
        for _ in range(2):
            with pytest.raises(RequestRefused):
                client.status("x")
    assert len(daemon.args("hello")) == 1


def test_a_restart_between_two_requests_is_not_noticed(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("status", make_job())
    with Client(daemon.path) as client:
        client.status(JOB_ID)
        daemon.stop()
        daemon.start()
        assert client.status(JOB_ID)["job"] == JOB_ID


def test_a_submission_with_a_key_is_sent_again_until_it_is_answered(daemon: FakeDaemon) -> None:
    tries = iter(range(3))

    def submit(session: Session, request: dict[str, Any]) -> None:
        number = next(tries)
        if number == 0:
            session.close()
        elif number == 1:
            session.refuse(request, "shutting-down")
        else:
            session.ok(request, {"job": JOB_ID, "state": "running", "existing": True})

    daemon.handlers["submit"] = submit
    with Client(daemon.path) as client:
        found = client.submit_once(["x"], env={}, idempotency_key="k")
    assert found == {"job": JOB_ID, "state": "running", "existing": True}
    assert [args["idempotency_key"] for args in daemon.args("submit")] == ["k"] * 3


def test_a_submission_with_a_key_gives_up_when_the_time_is_over(daemon: FakeDaemon) -> None:
    daemon.handlers["submit"] = lambda session, _request: session.close()
    with Client(daemon.path, reconnect_seconds=0.1) as client:
        with pytest.raises(ConnectionLost, match="submit it again with the same key"):
            client.submit(["x"], env={}, idempotency_key="k")
        assert len(daemon.args("submit")) > 1
        # It went for good after the submission was sent.
        daemon.stop()
        with pytest.raises(ConnectionLost, match="may have been accepted"):
            client.submit(["x"], env={}, idempotency_key="k")


def test_a_submission_with_a_key_to_nobody_was_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnavailable):
        Client(str(tmp_path / "none")).submit(["x"], env={}, idempotency_key="k")


def test_a_refusal_of_a_submission_with_a_key_is_no_absence(daemon: FakeDaemon) -> None:
    daemon.refuse("submit", "key-in-use", field="idempotency_key")
    with Client(daemon.path) as client, pytest.raises(RequestRefused, match="another command"):
        client.submit(["x"], env={}, idempotency_key="k")
    assert len(daemon.args("submit")) == 1


def test_a_submission_whose_answer_is_lost_is_not_sent_again(daemon: FakeDaemon) -> None:
    daemon.handlers["submit"] = lambda session, _request: session.close()
    with Client(daemon.path) as client, pytest.raises(ConnectionLost):
        client.submit(["x"])
    assert len(daemon.args("submit")) == 1


def test_waiting_that_begins_in_the_very_moment_of_a_restart_is_borne(
    daemon: FakeDaemon, make_job: Job
) -> None:
    greet, tries = daemon.handlers["hello"], iter(range(3))
    daemon.handlers["hello"] = lambda s, r: s.close() if next(tries) < 1 else greet(s, r)
    daemon.answer("wait", make_job())
    with Client(daemon.path) as client:
        assert client.wait(JOB_ID)["job"] == JOB_ID


def test_waiting_goes_on_after_a_restart_for_the_same_job(
    daemon: FakeDaemon, make_job: Job
) -> None:
    tries = iter(range(3))

    def wait(session: Session, request: dict[str, Any]) -> None:
        if next(tries) < 2:
            session.close()
        else:
            session.ok(request, make_job(result={"exit_status": 3}))

    daemon.handlers["wait"] = wait
    daemon.answer("status", make_job())
    heard: list[str] = []
    with Client(daemon.path, on_away=lambda _: heard.append("away")) as client:
        job = client.wait("build")
    assert job["result"] is not None
    assert job["result"]["exit_status"] == 3
    # By its full id: "build" may be another job by now.
    assert [args["job"] for args in daemon.args("wait")] == [JOB_ID] * 3
    assert heard


def test_waiting_passes_what_is_left_of_the_time(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("wait", make_job())
    with Client(daemon.path) as client:
        assert client.wait(JOB_ID, timeout_seconds=30)["state"] == "running"
    assert 29 < daemon.args("wait")[0]["timeout_seconds"] <= 30


def test_waiting_does_not_outlast_its_own_time_for_an_absent_daemon(daemon: FakeDaemon) -> None:
    daemon.handlers["wait"] = lambda session, _request: session.close()
    with Client(daemon.path) as client, pytest.raises(ConnectionLost):
        client.wait(JOB_ID, timeout_seconds=0.1)


def test_asking_without_any_time_to_wait_is_one_try(daemon: FakeDaemon) -> None:
    daemon.handlers["wait"] = lambda session, _request: session.close()
    with Client(daemon.path) as client, pytest.raises(ConnectionLost):
        client.wait(JOB_ID, timeout_seconds=0)
    assert [args["timeout_seconds"] for args in daemon.args("wait")] == [0]


def counts(running: int, *, draining: bool = True) -> dict[str, Any]:
    return {"draining": draining, "running": running, "queued": 3}


def test_a_drain_asks_for_what_was_asked_and_tells_what_there_is(daemon: FakeDaemon) -> None:
    daemon.answer("drain", counts(2))
    with Client(daemon.path) as client:
        assert client.drain(timeout_seconds=0) == counts(2)
        client.drain(stop=True, begin=False)
        client.drain(cancel=True)
    assert daemon.args("drain") == [
        {"timeout_seconds": 0, "stop": False, "begin": True},
        {"timeout_seconds": None, "stop": True, "begin": False},
        {"cancel": True},
    ]


def test_a_drain_goes_on_after_a_restart_with_what_is_left_of_its_time(daemon: FakeDaemon) -> None:
    tries = iter(range(3))

    def drain(session: Session, request: dict[str, Any]) -> None:
        if next(tries) < 2:
            session.close()
        else:
            session.ok(request, counts(0))

    daemon.handlers["drain"] = drain
    with Client(daemon.path) as client:
        assert client.drain(timeout_seconds=30, stop=True)["running"] == 0
    left = [args["timeout_seconds"] for args in daemon.args("drain")]
    assert 30 >= left[0] > left[1] > left[2] > 20


def test_a_drain_without_time_is_one_try(daemon: FakeDaemon) -> None:
    daemon.handlers["drain"] = lambda session, _request: session.close()
    with Client(daemon.path) as client, pytest.raises(ConnectionLost):
        client.drain(timeout_seconds=0)


@pytest.mark.parametrize("answer", [{}, {"draining": True, "running": "2", "queued": 3}])
def test_a_drain_that_is_answered_without_numbers_is_a_protocol_error(
    daemon: FakeDaemon, answer: dict[str, Any]
) -> None:
    daemon.answer("drain", answer)
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="without its numbers"):
        client.drain()


@pytest.mark.parametrize("call", ["wait", "logs"])
def test_a_daemon_that_was_never_there_is_not_waited_for(tmp_path: Path, call: str) -> None:
    client = Client(str(tmp_path / "none"))
    calls: dict[str, Callable[[], object]] = {
        "wait": lambda: client.wait(JOB_ID),
        "logs": lambda: next(client.logs(JOB_ID, follow=True)),
    }
    with pytest.raises(DaemonUnavailable):
        calls[call]()


def test_the_socket_is_found_in_the_environment(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNERD_SOCKET", daemon.path)
    with Client() as client:
        assert client.hello()["uid"] == 1000


def test_threads_share_a_client(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.handlers["status"] = lambda s, r: s.ok(r, make_job(job=r["args"]["job"]))
    wrong: list[str] = []

    def ask(client: Client, name: str) -> None:
        wrong.extend(name for _ in range(50) if client.status(name)["job"] != name)

    with Client(daemon.path) as client:
        threads = [threading.Thread(target=ask, args=(client, f"job{i}")) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_the_library_and_the_command_start_lean() -> None:
    """No module that costs more to import than what it is wanted for."""
    heavy = ["asyncio", "logging", "dataclasses", "json", "subprocess", "rich", "msgspec"]
    script = (
        "import sys, client.api, client.cli.ps, client.cli.run, client.cli.foreground\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {*heavy, "runner", "isolation"} & set(done.stdout.split())
