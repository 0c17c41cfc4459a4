"""The output of a command in a job: in order, with credit, with signals, and never half told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client import protocol
from client.api import Client
from client.errors import ConnectionLost, ProtocolError, RequestRefused
from client.execstream import ExecChunk
from client.logstream import WINDOW_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Runctl = Callable[..., tuple[int, str, str]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
RESULT: dict[str, Any] = {"exit_code": 7, "signal": None, "exit_status": 7, "detail": None}


def serve(daemon: FakeDaemon, events: list[Any], end: object = RESULT) -> None:
    daemon.handlers["signal"] = lambda _session, _request: None

    def run(session: Session, request: dict[str, Any]) -> None:
        for seq, event in enumerate(events, 1):
            session.event(request, seq, event)
        session.ok(request, end)

    daemon.handlers["exec"] = run


def test_chunks_come_in_their_order_then_the_result(daemon: FakeDaemon) -> None:
    serve(daemon, [{"stream": 1, "data": b"out"}, {"stream": 2, "data": b"\xff"}])
    with Client(daemon.path) as client:
        with client.exec(JOB_ID, ["ls", b"\xff"], env={"A": "b"}, cwd="/tmp") as stream:
            assert [stream.result] == [None]
            assert list(stream) == [ExecChunk(1, b"out"), ExecChunk(2, b"\xff")]
            assert stream.result == RESULT
        with client.exec(JOB_ID, ["ls"], clean_env=True) as stream:
            list(stream)
    assert daemon.args("exec") == [
        {
            "job": JOB_ID, "argv": ["ls", b"\xff"], "env": {"A": "b"}, "clean_env": False,
            "cwd": "/tmp", "credit": WINDOW_EVENTS,
        },
        {"job": JOB_ID, "argv": ["ls"], "env": {}, "clean_env": True, "credit": WINDOW_EVENTS},
    ]  # fmt: skip
    # The connection was used again.
    assert len(daemon.args("hello")) == 1


def test_credit_is_granted_for_what_was_used(daemon: FakeDaemon) -> None:
    serve(daemon, [{"stream": 1, "data": b"x"}] * WINDOW_EVENTS)
    with Client(daemon.path) as client, client.exec(JOB_ID, ["yes"]) as stream:
        for _ in range(WINDOW_EVENTS // 2):
            next(stream)
        assert daemon.args("credit") == []
        next(stream)
        assert daemon.wait_for("credit") == {"events": WINDOW_EVENTS // 2}


def test_signals_go_to_the_command_also_those_that_came_before_it_began(
    daemon: FakeDaemon,
) -> None:
    serve(daemon, [{"stream": 1, "data": b"x"}])
    with Client(daemon.path) as client, client.exec(JOB_ID, ["yes"]) as stream:
        stream.signal(2)
        next(stream)
        stream.signal(15)
        assert daemon.wait_for("signal") == {"signal": 2}
        assert daemon.wait_for("signal", 2) == {"signal": 15}
        assert list(stream) == []
        # It has ended: nobody is told.
        stream.signal(9)
    assert len(daemon.args("signal")) == 2


def test_a_signal_in_the_middle_of_a_frame_waits_for_its_end(daemon: FakeDaemon) -> None:
    serve(daemon, [{"stream": 1, "data": b"x"}])
    with Client(daemon.path) as client, client.exec(JOB_ID, ["yes"]) as stream:
        next(stream)
        sent: list[str] = []

        class Connection:
            @staticmethod
            def notify(_request: int, op: str, _args: dict[str, Any]) -> None:
                sent.append(f"begin {op}")
                if op == "credit":
                    stream.signal(2)
                sent.append(f"end {op}")

        real, stream._connection = stream._connection, Connection()  # type: ignore[assignment]
        stream._notify("credit", {"events": 1})
        stream._connection = real
        assert sent == ["begin credit", "end credit", "begin signal", "end signal"]


@pytest.mark.parametrize(
    "event",
    [{}, {"stream": 3, "data": b""}, {"stream": 1, "data": "text"}, {"data": b""}, [1], None],
)
def test_an_event_of_another_form_is_a_protocol_error(daemon: FakeDaemon, event: Any) -> None:
    serve(daemon, [event])
    with Client(daemon.path) as client, client.exec(JOB_ID, ["ls"]) as stream:
        with pytest.raises(ProtocolError):
            next(stream)
        assert stream.result is None


@pytest.mark.parametrize("end", [{}, [], {"exit_status": "0"}, None])
def test_an_end_without_a_status_is_a_protocol_error(daemon: FakeDaemon, end: object) -> None:
    serve(daemon, [], end)
    with (
        Client(daemon.path) as client,
        client.exec(JOB_ID, ["ls"]) as stream,
        pytest.raises(ProtocolError),
    ):
        next(stream)


def test_a_daemon_that_goes_is_not_waited_for_because_the_command_has_gone_with_it(
    daemon: FakeDaemon,
) -> None:
    def run(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, {"stream": 1, "data": b"x"})
        session.close()

    daemon.handlers["exec"] = run
    with Client(daemon.path) as client, client.exec(JOB_ID, ["ls"]) as stream:
        next(stream)
        with pytest.raises(ConnectionLost):
            next(stream)
    assert len(daemon.args("exec")) == 1


@pytest.mark.parametrize(
    ("argv", "options", "field"),
    [
        ([], {}, "argv"),
        ("ls", {}, "argv"),
        (["a\0"], {}, "argv[0]"),
        (["ls"], {"cwd": "\0"}, "cwd"),
        (["ls"], {"env": {"": "x"}}, "env['']"),
        (["x" * protocol.MAX_ARGUMENT_BYTES] * 9, {}, "argv and env"),
    ],
)
def test_what_can_be_no_command_is_refused_before_anything_is_sent(
    daemon: FakeDaemon, argv: Any, options: Any, field: str
) -> None:
    with Client(daemon.path) as client, pytest.raises(RequestRefused) as caught:
        client.exec(JOB_ID, argv, **options)
    assert (caught.value.code, caught.value.field) == ("invalid-argument", field)
    assert daemon.seen == []


# runctl


def test_runctl_writes_what_comes_and_exits_as_the_command(
    daemon: FakeDaemon, runctl: Runctl
) -> None:
    serve(daemon, [{"stream": 1, "data": b"out"}, {"stream": 2, "data": b"err"}])
    assert runctl("exec", "build", "--", "ls", "-l") == (7, "out", "err")
    assert daemon.args("exec")[0]["argv"] == ["ls", "-l"]
    assert daemon.args("exec")[0]["job"] == "build"


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["build", "ls", "-l"], ["ls", "-l"]),
        (["--", "build", "ls"], ["ls"]),
        (["build", "--", "--", "x"], ["--", "x"]),
        (["build", "ls", "--", "--env"], ["ls", "--", "--env"]),
    ],
)
def test_options_end_where_the_job_is_named(
    daemon: FakeDaemon, runctl: Runctl, words: list[str], argv: list[str]
) -> None:
    serve(daemon, [])
    assert runctl("exec", *words)[0] == 7
    assert daemon.args("exec")[0]["argv"] == argv


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build"], "Missing argument"),
        (["build", "--"], "no command given"),
        (["--cwd", "here", "build", "ls"], "an absolute path in the job is allowed"),
        (["--env", "=x", "build", "ls"], "NAME=VALUE or NAME is allowed"),
    ],
)
def test_what_cannot_be_read_is_refused(
    daemon: FakeDaemon, runctl: Runctl, words: list[str], said: str
) -> None:
    status, out, err = runctl("exec", *words)
    assert (status, out) == (125, "")
    assert said in err
    assert daemon.args("exec") == []


def test_settings_are_laid_over_and_a_clean_environment_is_the_jobs_users(
    daemon: FakeDaemon,
    runctl: Runctl,
    make_job: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve(daemon, [])
    daemon.answer("status", make_job(user="root"))
    monkeypatch.setenv("MINE", "m")
    runctl("exec", "--env", "A=1", "--env", "MINE", "build", "env")
    assert daemon.args("exec")[0]["env"] == {"A": "1", "MINE": "m"}
    assert daemon.args("exec")[0]["clean_env"] is False
    runctl("exec", "--clean-env", "--env", "A=1", "build", "env")
    asked = daemon.args("exec")[1]
    assert asked["clean_env"] is True
    assert asked["job"] == JOB_ID
    assert (asked["env"]["USER"], asked["env"]["A"]) == ("root", "1")
    assert "MINE" not in asked["env"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"exit_code": None, "exit_status": 127, "detail": "ls: not found in PATH"},
         "runctl: ls: not found in PATH\n"),
        ({"exit_code": None, "signal": 9, "exit_status": 137, "detail": "it ended with its job"},
         "runctl: ls: it ended with its job\n"),
        ({"exit_code": None, "signal": 9, "exit_status": 137}, ""),
    ],
)  # fmt: skip
def test_what_the_status_leaves_open_is_said(
    daemon: FakeDaemon, runctl: Runctl, result: dict[str, Any], said: str
) -> None:
    serve(daemon, [], {**RESULT, **result})
    assert runctl("exec", "build", "ls") == (result["exit_status"], "", said)


def test_a_refusal_names_the_job(daemon: FakeDaemon, runctl: Runctl) -> None:
    daemon.refuse("exec", "job-state", field="job", given="paused", detail="it is paused")
    assert runctl("exec", "build", "ls") == (125, "", "runctl: build: it is paused\n")
    daemon.refuse("exec", "invalid-argument", field="cwd", given="'x'", allowed="a path")
    assert runctl("exec", "build", "ls")[2].startswith("runctl: --cwd: 'x' given")
