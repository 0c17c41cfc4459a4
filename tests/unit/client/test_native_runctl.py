"""The native `runctl run` against a daemon of the test's own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from glob import glob
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import protocol, submission
from client.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Script = Callable[["Daemon"], None]

_JOB: Final = "0123456789abcdef"
_PATIENCE: Final = 20.0
_HANDED_OVER: Final = 77
_OURS: Final = 125

_ROOT: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
_SANITIZERS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Stands for the Python runctl: says what it was called with.
_PYTHON: Final = """#!/bin/sh
echo "$*" >"$0.called"
echo "python: $*"
exit 77
"""


@pytest.fixture(scope="session")
def runctl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the program; what it hands over to exits with 77."""
    directory = tmp_path_factory.mktemp("runctl")
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or "gcc"]
    sources = glob(os.path.join(_ROOT, "client", "native", "*.c"))
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", '-DRUNNERD_VERSION="test"']
    command = [*compiler, *flags, *sources, "-o", str(directory / "runctl")]
    built = subprocess.run([*command, *_SANITIZERS], capture_output=True, check=False)
    if built.returncode:
        # Where the sanitizers do not link.
        subprocess.run(command, check=True)
    python = directory / "runctl-python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    return str(directory / "runctl")


class Daemon:
    """Takes one connection and does with it what a test says; keeps every request."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.settimeout(_PATIENCE)
        self.requests: list[dict[str, Any]] = []
        self.is_followed = threading.Event()
        self._thread = threading.Thread(target=lambda: None)

    def serve(self, script: Script) -> None:
        """Play this once somebody comes."""
        self._thread = threading.Thread(target=self._play, args=(script,))
        self._thread.start()

    def _play(self, script: Script) -> None:
        self._peer, _ = self._listener.accept()
        self._peer.settimeout(_PATIENCE)
        with self._peer:
            script(self)

    def close(self) -> None:
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        self._listener.close()

    def take(self) -> dict[str, Any]:
        """The next request."""
        length = protocol.frame_length(self._read(protocol.HEADER.size))
        self.requests.append(protocol.decode_body(self._read(length)))
        return self.requests[-1]

    def gone(self) -> None:
        """Wait until the client has closed its end."""
        with suppress(ConnectionResetError):
            self._peer.recv(1)

    def say(self, **message: Any) -> None:
        self._peer.sendall(protocol.encode_frame(message))

    def say_half(self, **message: Any) -> None:
        self._peer.sendall(protocol.encode_frame(message)[:-1])

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += (more := self._peer.recv(size - len(data)))
            assert more, "the client closed its end"
        return data

    def accept(self) -> None:
        """Greet, take the submission, and the request that follows it."""
        self.say(id=self.take()["id"], ok={"protocol": 1})
        self.say(id=self.take()["id"], ok={"job": _JOB, "state": "queued"})
        assert self.take()["op"] == "logs"
        self.is_followed.set()

    def send(self, seq: int, offset: int, *runs: tuple[int, bytes]) -> None:
        """One event of output."""
        data = b"".join(run for _, run in runs)
        listed = [[stream, len(run), 1] for stream, run in runs]
        self.say(id=3, seq=seq, event={"offset": offset, "runs": listed, "data": data})

    def end(self, status: int = 0, **figures: Any) -> None:
        """The job has ended."""
        result = {"reason": "exit", "exit_status": status, "oom_kills": 0, "pids_max_hits": None,
                  "log_dropped_bytes": 0, "denied": None, **figures}  # fmt: skip
        self.say(id=3, ok={"cursor": 0, "status": {"attempt": 1, "result": result}})


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    served = Daemon(str(tmp_path / "socket"))
    yield served
    served.close()


def _run(
    runctl: str, tmp_path: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [runctl, "--socket", str(tmp_path / "socket"), "run", *arguments],
        env=env, capture_output=True, timeout=_PATIENCE, check=False, cwd=tmp_path,
    )  # fmt: skip


def _start(runctl: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [runctl, "--socket", str(tmp_path / "socket"), "run", "x"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _handed_over(tmp_path: Path, cursor: int) -> str:
    return f"python: --socket {tmp_path / 'socket'} take-over {_JOB} 1 {cursor}\n"


def test_a_job_is_submitted_copied_and_its_status_ours(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        served.send(1, 0, (1, b"out\n"), (2, b"err\n"))
        served.send(2, 8, (1, b"more\n"))
        served.end(3)

    daemon.serve(script)
    done = _run(runctl, tmp_path, "--", "make", "-j2")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\nmore\n", b"err\n")


def test_the_requests_are_those_of_the_client_library(
    runctl: str, tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        served.end()

    daemon.serve(script)
    env = {"PATH": "/bin", "NAME": "v=1", "EMPTY": "", "WORD": "schön"}
    _run(runctl, tmp_path, "--name=n", "--mem", "256M", "echo", "ä", "\udcff", env=env)
    monkeypatch.chdir(tmp_path)
    wanted = submission.build_submission(
        ["echo", "ä", b"\xff"],
        env=env, name="n", limits={"memory_max_bytes": parse_size("256M")},
    )  # fmt: skip
    hello, submit, logs = daemon.requests
    assert hello["args"].keys() == {"protocol", "client"}
    assert _as_bytes(submit["args"]) == _as_bytes(wanted)
    assert logs["args"] == {"job": _JOB, "cursor": 0, "follow": True, "credit": 16}


def _as_bytes(value: Any) -> Any:
    """Text as the daemon takes it: a str and its bytes are the same."""
    if isinstance(value, str):
        return protocol.to_bytes(value)
    if isinstance(value, dict):
        return {_as_bytes(key): _as_bytes(item) for key, item in value.items()}
    return [_as_bytes(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"], ["run"], ["run", "-d", "true"], ["run", "--mem", "1.5G", "true"], ["--version"], [],
        ["run", "--mem", "0", "true"], ["run", "--name", "-x", "true"], ["run", "--name"],
        ["run", "--", ""], ["--socket"], ["--socket", "", "run", "true"], ["run", "--nam", "x"],
        ["run", "--mem", "99999999999G", "true"], ["run", "--cwd", "/", "true"],
        ["run", "--mem", "9007199254740992", "true"], ["run", "--name", "b!"],
        ["run", "--name", "b!", "--mem", "1G", "true"], ["run", "--mem", "0", "--name", "b", "x"],
    ],
)  # fmt: skip
def test_whatever_is_not_plain_is_the_python_runctls(runctl: str, arguments: list[str]) -> None:
    done = subprocess.run([runctl, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (_HANDED_OVER, f"python: {' '.join(arguments)}\n")


@pytest.mark.parametrize("size", ["1", "4096", "16K", "256M", "2G", "3T"])
def test_sizes_are_read_as_the_python_runctl_reads_them(
    runctl: str, tmp_path: Path, daemon: Daemon, size: str
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        served.end()

    daemon.serve(script)
    _run(runctl, tmp_path, "--mem", size, "x")
    assert daemon.requests[1]["args"]["limits"] == {"memory_max_bytes": parse_size(size)}


def test_without_a_daemon_the_python_runctl_says_so(runctl: str, tmp_path: Path) -> None:
    done = _run(runctl, tmp_path, "true")
    assert done.returncode == _HANDED_OVER
    assert done.stdout.endswith(b" run true\n")


@pytest.mark.parametrize("refused", [1, 2])
def test_a_refusal_is_asked_for_again_by_the_python_runctl(
    runctl: str, tmp_path: Path, daemon: Daemon, refused: int
) -> None:
    def script(served: Daemon) -> None:
        for number in range(1, refused + 1):
            request = served.take()
            kind = {"error": {"code": "not-permitted"}} if number == refused else {"ok": {}}
            served.say(id=request["id"], **kind)

    daemon.serve(script)
    done = _run(runctl, tmp_path, "true")
    assert (done.returncode, done.stdout.endswith(b" run true\n")) == (_HANDED_OVER, True)


def test_who_is_turned_away_before_all_was_sent_hears_why_from_the_python_runctl(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    daemon.serve(lambda served: served.say(id=0, error={"code": "not-permitted"}))
    # More than a socket holds: it is still being sent when the other end is closed.
    done = _run(runctl, tmp_path, *["x" * 100_000] * 9)
    assert done.returncode == _HANDED_OVER


def test_a_signal_before_a_refusal_ends_it_as_if_it_had_not_waited(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    taken, sent = threading.Event(), threading.Event()

    def script(served: Daemon) -> None:
        served.say(id=served.take()["id"], ok={})
        request = served.take()
        taken.set()
        sent.wait(_PATIENCE)
        served.say(id=request["id"], error={"code": "too-many-requests"})

    daemon.serve(script)
    process = _start(runctl, tmp_path)
    assert taken.wait(_PATIENCE)
    process.send_signal(signal.SIGTERM)
    sent.set()
    out, _ = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, out) == (-signal.SIGTERM, b"")


@pytest.mark.parametrize("answers", [0, 1])
def test_an_answer_that_never_came_is_not_asked_for_twice(
    runctl: str, tmp_path: Path, daemon: Daemon, answers: int
) -> None:
    def script(served: Daemon) -> None:
        for _ in range(answers):
            served.say(id=served.take()["id"], ok={})
        served.take()

    daemon.serve(script)
    done = _run(runctl, tmp_path, "true")
    assert done.returncode == _OURS
    assert b"may have been accepted" in done.stderr
    assert done.stdout == b""


def _output_then(act: Script) -> Script:
    def script(served: Daemon) -> None:
        served.accept()
        served.send(1, 0, (1, b"four"))
        act(served)

    return script


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda d: d.say(id=3, seq=2, event={"gap_bytes": 3, "offset": 7}), id="a gap"),
        pytest.param(lambda d: d.say(id=3, seq=2, event={"attempt": 2, "offset": 0}), id="attempt"),
        pytest.param(lambda d: d.send(2, 9, (1, b"later")), id="a hole"),
        pytest.param(lambda d: d.send(3, 4, (1, b"later")), id="a number left out"),
        pytest.param(lambda d: d.say(id=3, error={"code": "shutting-down"}), id="an error"),
        pytest.param(lambda d: d.say(id=3, seq=2, event={"offset": 4, "runs": [[1, 9, 1]],
                                                         "data": b"short"}), id="runs too long"),
        pytest.param(lambda _: None, id="the daemon has gone"),
        pytest.param(lambda d: d.end(reason="oom"), id="an end worth a word"),
        pytest.param(lambda d: d.end(oom_kills=1), id="killed processes"),
        pytest.param(lambda d: d.end(pids_max_hits=2), id="refused forks"),
        pytest.param(lambda d: d.end(log_dropped_bytes=5), id="dropped output"),
        pytest.param(lambda d: d.end(denied=[["ptrace", 1]]), id="denied calls"),
    ],
)  # fmt: skip
def test_whatever_is_unusual_goes_on_in_the_python_runctl_from_the_next_byte(
    runctl: str, tmp_path: Path, daemon: Daemon, act: Script
) -> None:
    daemon.serve(_output_then(act))
    done = _run(runctl, tmp_path, "true")
    assert done.returncode == _HANDED_OVER
    assert done.stdout.decode() == "four" + _handed_over(tmp_path, 4)
    assert done.stderr == b""


def test_another_attempt_that_comes_with_the_end_is_not_over(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    result = {"reason": "exit", "exit_status": 1}
    daemon.serve(
        _output_then(lambda d: d.say(id=3, ok={"status": {"attempt": 2, "result": result}}))
    )
    assert _run(runctl, tmp_path, "true").returncode == _HANDED_OVER


def test_a_signal_goes_to_the_python_runctl_as_a_signal(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        served.gone()

    daemon.serve(script)
    process = _start(runctl, tmp_path)
    assert daemon.is_followed.wait(_PATIENCE)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=_PATIENCE)
    # Blocked and pending: the shell that stands for the Python runctl does not die of it.
    assert (process.returncode, out.decode()) == (_HANDED_OVER, _handed_over(tmp_path, 0))


def test_a_signal_that_is_ignored_stays_ignored(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    go_on = threading.Event()

    def script(served: Daemon) -> None:
        served.accept()
        go_on.wait(_PATIENCE)
        served.end()

    daemon.serve(script)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = _start(runctl, tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert daemon.is_followed.wait(_PATIENCE)
    process.send_signal(signal.SIGHUP)
    go_on.set()
    process.communicate(timeout=_PATIENCE)
    assert process.returncode == 0


def test_who_insists_while_the_daemon_is_silent_is_let_go(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    taken = threading.Event()

    def script(served: Daemon) -> None:
        served.say(id=served.take()["id"], ok={})
        served.take()
        taken.set()
        served.gone()

    daemon.serve(script)
    process = _start(runctl, tmp_path)
    assert taken.wait(_PATIENCE)
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    out, err = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, out) == (_OURS, b"")
    assert b"may have been accepted" in err


def test_who_is_left_in_the_middle_of_a_frame_goes_on_in_the_python_runctl(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        served.say_half(id=3, seq=1, event={"offset": 0, "runs": [[1, 1, 1]], "data": b"x"})
        served.gone()

    daemon.serve(script)
    process = _start(runctl, tmp_path)
    assert daemon.is_followed.wait(_PATIENCE)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, out.decode()) == (_HANDED_OVER, _handed_over(tmp_path, 0))


def test_a_reader_that_goes_away_is_told_of_by_the_python_runctl(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    daemon.serve(_output_then(Daemon.gone))
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.Popen(
        [runctl, "--socket", str(tmp_path / "socket"), "run", "x"],
        stdout=write_end, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(write_end)
    _, err = process.communicate(timeout=_PATIENCE)
    assert err == b""
    with open(f"{os.path.dirname(runctl)}/runctl-python.called") as file:
        called = file.read()
    assert called.endswith(f"take-over {_JOB} 1 0\n")


def test_credit_is_given_for_what_was_written(runctl: str, tmp_path: Path, daemon: Daemon) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        for number in range(8):
            served.send(number + 1, number, (1, b"x"))
        assert served.take() == {"id": 3, "op": "credit", "args": {"events": 8}}
        served.end()

    daemon.serve(script)
    done = _run(runctl, tmp_path, "true")
    assert (done.returncode, done.stdout) == (0, b"x" * 8)


@pytest.mark.parametrize(("state", "status"), [("queued", _HANDED_OVER), ("running", 0)])
def test_a_late_start_is_explained_and_a_silent_job_is_not(
    runctl: str, tmp_path: Path, daemon: Daemon, state: str, status: int
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        request = served.take()
        assert (request["op"], request["args"]) == ("status", {"job": _JOB})
        served.say(id=request["id"], ok={"state": state})
        if state == "running":
            served.end()

    daemon.serve(script)
    assert _run(runctl, tmp_path, "true").returncode == status


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(garbage=st.binary(max_size=200))
def test_no_garbage_of_a_daemon_is_taken_for_an_end(
    runctl: str, tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    directory = tmp_path_factory.mktemp("garbage")
    served = Daemon(str(directory / "socket"))

    def script(daemon: Daemon) -> None:
        daemon.accept()
        daemon._peer.sendall(protocol.HEADER.pack(len(garbage)) + garbage)

    served.serve(script)
    try:
        done = _run(runctl, directory, "x")
    finally:
        served.close()
    assert (done.returncode, done.stderr) == (_HANDED_OVER, b"")


# Gateways: all that is asked here is whether one may be meant.


def _plain(
    runctl: str, tmp_path: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment}
    command = [runctl, *words, "run", "true"]
    return subprocess.run(
        command, env=env, capture_output=True, timeout=_PATIENCE, check=False, cwd=tmp_path
    )


def _choose_default(base: Path) -> None:
    (base / "runnerd").mkdir(parents=True)
    (base / "runnerd" / "default-context").write_text("prod\n")


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME"])
def test_with_a_default_context_it_is_left_to_python(
    runctl: str, tmp_path: Path, variable: str
) -> None:
    base = tmp_path / "base"
    _choose_default(base / ".config" if variable == "HOME" else base)
    done = _plain(runctl, tmp_path, **{variable: str(base)})
    assert (done.returncode, done.stdout) == (_HANDED_OVER, b"python: run true\n")


@pytest.mark.parametrize("words", [("--context", "prod"), ("--context=prod",)])
def test_a_context_that_is_named_is_left_to_python(
    runctl: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = _plain(runctl, tmp_path, *words, RUNNERD_SOCKET=str(tmp_path / "none"))
    said = f"python: {' '.join(words)} run true\n"
    assert (done.returncode, done.stdout.decode()) == (_HANDED_OVER, said)


def test_a_context_of_the_environment_is_left_to_python(
    runctl: str, tmp_path: Path, daemon: Daemon
) -> None:
    del daemon
    socket_path = str(tmp_path / "socket")
    done = _plain(runctl, tmp_path, RUNCTL_CONTEXT="prod", RUNNERD_SOCKET=socket_path)
    assert (done.returncode, done.stdout) == (_HANDED_OVER, b"python: run true\n")


@pytest.mark.parametrize("is_option", [False, True])
def test_a_socket_that_is_given_counts_more_than_a_default_context(
    runctl: str, tmp_path: Path, daemon: Daemon, *, is_option: bool
) -> None:
    def script(served: Daemon) -> None:
        served.accept()
        served.end(3)

    _choose_default(tmp_path / ".config")
    daemon.serve(script)
    path = str(tmp_path / "socket")
    words, environment = (("--socket", path), {}) if is_option else ((), {"RUNNERD_SOCKET": path})
    assert _plain(runctl, tmp_path, *words, RUNCTL_CONTEXT="", **environment).returncode == 3
