"""How runctl ends, whatever happens: 125 for its own failures, one line, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from client.api import Client
from client.cli import VERBS, main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

COMMAND = [sys.executable, "-W", "error", "-m", "client.cli"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(runctl: Runctl, verb: str) -> None:
    status, out, _ = runctl(verb, "--help")
    assert status == 0
    assert f"runctl {verb}" in out


def test_help_lists_every_verb(runctl: Runctl) -> None:
    status, out, _ = runctl("-h")
    assert status == 0
    assert set(VERBS) <= set(out.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["--frobnicate"],
        ["ps", "--frobnicate"],
        ["ps", "-n", "0"],
        ["ps", "unwanted"],
        ["status"],
        ["stop"],
        ["stop", "--grace", "-1", "x"],
        ["logs", "--cursor", "-1", "x"],
        ["run"],
        ["run", "--mem", "12Q", "x"],
        ["run", "--net", "vlan", "x"],
        ["run", "--timeout", "-5", "x"],
        ["run", "--io-read", "10M", "x"],
        ["run", "--env", "=x", "x"],
        ["run", "--json", "x"],
    ],
)
def test_wrong_usage_is_125_with_clicks_text(
    runctl: Runctl, daemon: FakeDaemon, arguments: list[str]
) -> None:
    status, out, err = runctl(*arguments)
    assert status == 125
    assert err.startswith("Usage: runctl")
    assert not out
    assert not daemon.seen


@pytest.mark.parametrize("verb", ["ps", "doctor", "status x", "logs -f x", "stop x", "wait x",
                                  "rm x", "run x", "run -d x"])  # fmt: skip
def test_an_absent_daemon_is_one_line_and_125(
    runctl: Runctl, daemon: FakeDaemon, verb: str
) -> None:
    daemon.stop()
    status, out, err = runctl(*verb.split())
    assert (status, out) == (125, "")
    assert err.count("\n") == 1
    assert err.startswith("runctl: runnerd is not running")


def test_a_refusal_names_the_job_that_was_asked_for(runctl: Runctl, daemon: FakeDaemon) -> None:
    for op in ("status", "remove"):
        daemon.refuse(op, "no-such-job")
    for verb in ("status", "rm", "stop", "wait"):
        status, _, err = runctl(verb, "nope")
        assert status == 125
        assert err == "runctl: nope: no job of yours matches; `runctl ps --all` lists them\n"


def test_a_job_that_is_not_utf8_is_refused_in_words(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, _, err = runctl("status", "caf\udcff")
    assert status == 125
    assert "'caf\\udcff' given; allowed: text in UTF-8" in err
    assert not daemon.args("status")


def test_a_cursor_beyond_64_bits_is_refused_in_words(runctl: Runctl) -> None:
    status, _, err = runctl("logs", "--cursor", str(2**70), "3f2a")
    assert status == 125
    assert f"Invalid value for '--cursor': '{2**70}' given" in err


def test_a_defect_is_one_line_and_a_traceback_only_when_asked(
    runctl: Runctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Client, **_: object) -> None:
        raise LookupError("oh\x1b no")

    monkeypatch.setattr(Client, "jobs", broken)
    status, _, err = runctl("ps")
    assert status == 125
    assert err == ("runctl: a defect: LookupError: oh\\x1b no (RUNCTL_DEBUG=1 shows where)\n")
    monkeypatch.setenv("RUNCTL_DEBUG", "1")
    status, _, err = runctl("ps")
    assert status == 125
    assert "Traceback" in err


def test_ctrl_c_is_130_and_silent(runctl: Runctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: Client, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "jobs", interrupted)
    assert runctl("ps") == (130, "", "")


def test_a_daemon_that_speaks_something_else_is_named(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.handlers["hello"] = lambda session, _: session.sock.sendall(b"HTTP/1.0 400\r\n\r\n")
    status, _, err = runctl("ps")
    assert status == 125
    assert "does not speak runnerd's protocol" in err


def run_command(
    daemon: FakeDaemon, *arguments: str, stdout: int = subprocess.PIPE
) -> tuple[int, bytes]:
    done = subprocess.run(
        [*COMMAND, "--socket", daemon.path, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "verb", [["ps"], ["ps", "--json"], ["logs", "3f2a"], ["logs", "x", "--json"]]
)
def test_a_reader_that_is_gone_ends_it_quietly(
    daemon: FakeDaemon, make_job: Job, verb: list[str]
) -> None:
    daemon.answer("list", {"jobs": [make_job()] * 500, "next": None})

    def logs(session: Session, request: dict[str, Any]) -> None:
        event = {"offset": 0, "runs": [[1, 3, 0]], "data": b"abc"}
        session.event(request, 1, event)
        session.ok(request, {"cursor": 3, "status": make_job()})

    daemon.handlers["logs"] = logs
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run_command(daemon, *verb, stdout=writer) == (141, b"")
    finally:
        os.close(writer)


def test_a_full_disk_is_said(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("list", {"jobs": [make_job()], "next": None})
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        status, err = run_command(daemon, "ps", stdout=full)
    finally:
        os.close(full)
    assert status == 125
    assert err == b"runctl: cannot write to stdout: No space left on device\n"


@pytest.mark.parametrize("arguments", [["ps"], ["ps", "--json"], ["--help"], ["logs", "3f2a"]])
def test_output_that_cannot_be_written_is_never_a_success(
    daemon: FakeDaemon, make_job: Job, arguments: list[str]
) -> None:
    daemon.answer("list", {"jobs": [make_job()], "next": None})

    def logs(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, {"offset": 0, "runs": [[1, 3, 0]], "data": b"abc"})
        session.ok(request, {"cursor": 3, "status": make_job()})

    daemon.handlers["logs"] = logs
    line = f"exec {' '.join(COMMAND)} --socket {daemon.path} {' '.join(arguments)} "
    for how, reason in (
        (">&-", b"Bad file descriptor"),
        (">/dev/full", b"No space left on device"),
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", line + how], stderr=subprocess.PIPE, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (
            125, b"runctl: cannot write to stdout: " + reason + b"\n",
        )  # fmt: skip


def test_an_empty_socket_is_refused_not_taken_as_the_usual_one(runctl: Runctl) -> None:
    status, _, err = runctl("--socket", "", "ps")
    assert status == 125
    assert "--socket: '' given" in err


def test_closed_descriptors_do_not_become_the_socket(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("status", make_job())
    script = f"exec {' '.join(COMMAND)} --socket {daemon.path} status 3f2a <&- >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", script], timeout=30, check=False)
    assert done.returncode == 125
    assert [request["op"] for request in daemon.seen] == ["hello", "status"]


def test_a_locale_without_the_letters_is_no_error(daemon: FakeDaemon, make_job: Job) -> None:
    daemon.answer("list", {"jobs": [make_job(name="é\u6f22")], "next": None})
    done = subprocess.run(
        [*COMMAND, "--socket", daemon.path, "ps"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert b"\\xe9\\u6f22" in done.stdout


def test_the_socket_may_come_from_the_environment(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNNERD_SOCKET", daemon.path)
    with pytest.raises(SystemExit) as exit_:
        main(["version"])
    assert exit_.value.code == 0
    assert "runnerd 9.9.9" in capfd.readouterr().out
