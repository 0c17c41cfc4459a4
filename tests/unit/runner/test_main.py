"""The command: what it says when it cannot start, and that it then ends with 1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import pytest

from client import protocol

ROOT = Path(__file__).parents[3]
# Imported while its files can be read, then somebody who is not root.
PROGRAM = """
import os, sys
from runner.main import main
if os.geteuid() == 0 and sys.argv.pop(1) == "drop":
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
sys.argv[0] = "runnerd"
main()
"""


def runnerd(*arguments: str, as_who: str = "drop") -> tuple[int, str, str]:
    # `drain` imports its part late, and somebody else may not be able to read the checkout.
    who = "me" if "drain" in arguments else as_who
    first = [who] if os.geteuid() == 0 else []
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *first, *arguments],
        capture_output=True, check=False, cwd=ROOT, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return tmp_path / "config.toml"


def test_without_root_it_says_that_it_needs_it_and_why(config: Path) -> None:
    config.write_text("")
    status, out, err = runnerd("--config", str(config))
    assert (status, out) == (1, "")
    assert err.startswith("runnerd: cannot start: it must be started as root")
    assert "sudo" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[jobs]\nmax_runing = 3\n", "config.toml:2: jobs.max_runing: unknown key"),
        ("[jobs]\nmax_running = 0\n", "config.toml:2: jobs.max_running: "),
        ("socket = \n", "config.toml:1: not TOML"),
    ],
)
def test_a_wrong_configuration_is_refused_by_file_line_and_key(
    config: Path, text: str, message: str
) -> None:
    config.write_text(text)
    status, _, err = runnerd("--config", str(config))
    assert status == 1
    assert err.startswith("runnerd: cannot start: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    status, _, err = runnerd("--config", str(tmp_path / "absent.toml"))
    assert status == 1
    assert "absent.toml: cannot be read: " in err


@pytest.mark.parametrize(
    ("option", "value"), [("--socket", "/" + "x" * 200), ("--state-dir", ""), ("--cgroup-root", "")]
)
def test_a_wrong_option_is_refused_by_its_name(config: Path, option: str, value: str) -> None:
    config.write_text("")
    status, _, err = runnerd("--config", str(config), option, value)
    assert status == 1
    assert err.startswith(f"runnerd: cannot start: {option}: ")


def test_an_unknown_option_is_refused_as_every_command_refuses_it() -> None:
    status, _, err = runnerd("--bogus", as_who="me")
    assert status == 2
    assert "--bogus" in err


def test_version_and_help_need_no_configuration() -> None:
    from client import __version__

    assert runnerd("--version", as_who="me") == (0, f"runnerd {__version__}\n", "")
    status, out, _ = runnerd("--help", as_who="me")
    assert status == 0
    for option in ("--config", "--socket", "--state-dir", "--cgroup-root"):
        assert option in out


def test_a_mistake_is_told_before_the_daemons_heavy_parts_are_imported(tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "main()\n",
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'pyroute2', 'sqlite3', 'cgroupspy'} & set(sys.modules)))\n",
    )
    first = ["drop"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [sys.executable, "-c", program, *first, "--config", str(tmp_path / "absent")],
        capture_output=True, check=False, cwd=ROOT, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "[]\n")


# runnerd drain


class Wire(threading.Thread):
    """A daemon that is only a socket: greets, and answers each `drain` with the next answer."""

    def __init__(self, path: Path, *answers: dict[str, object] | None) -> None:
        super().__init__(daemon=True)
        self.asked: list[dict[str, object]] = []
        self._answers = list(answers)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        path.chmod(0o666)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.close()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                with self._listener.accept()[0] as sock, sock.makefile("rwb") as file:
                    self._serve(file)

    def _serve(self, file: IO[bytes]) -> None:
        while header := file.read(4):
            request = protocol.decode_body(file.read(protocol.frame_length(header)))
            if request["op"] == "hello":
                reply: dict[str, object] = {"ok": {"protocol": 1}}
            elif (answer := self._next(request)) is None:
                return
            else:
                reply = answer
            file.write(protocol.encode_frame({"id": request["id"], **reply}))
            file.flush()

    def _next(self, request: dict[str, Any]) -> dict[str, object] | None:
        """What to say; None hangs up, and when nothing is left nobody ever answers."""
        assert request["op"] == "drain"
        self.asked.append(request["args"])
        if not self._answers:
            threading.Event().wait()
        return self._answers.pop(0)


def counts(running: int, queued: int = 0, *, draining: bool = True) -> dict[str, object]:
    return {"ok": {"draining": draining, "running": running, "queued": queued}}


@pytest.fixture
def path(config: Path) -> Path:
    return config.parent / "sock"


def test_a_drain_waits_for_what_runs_and_says_what_is_kept(path: Path) -> None:
    with Wire(path, counts(2, 3), counts(0, 3)) as wire:
        status, out, err = runnerd("drain", "--socket", str(path))
    assert (status, out) == (0, "")
    assert err.splitlines() == [
        f"runnerd drain: {line}"
        for line in (
            (
                "no more jobs are taken or started; 2 jobs run, 3 are queued; "
                "waiting for those that run"
            ),
            "drained: no job runs; 3 queued jobs are kept until `runnerd drain --cancel`",
        )
    ]
    # Committed first, so that whatever becomes of the wait it is known to hold.
    assert wire.asked == [
        {"timeout_seconds": 0, "stop": False, "begin": True},
        {"timeout_seconds": None, "stop": False, "begin": False},
    ]  # fmt: skip


def test_with_nothing_that_runs_there_is_no_wait(path: Path) -> None:
    with Wire(path, counts(0)) as wire:
        status, _, err = runnerd("--socket", str(path), "drain")
    assert (status, len(wire.asked)) == (0, 1)
    assert "drained: no job runs" in err


def test_jobs_that_run_at_the_deadline_are_counted_and_the_status_is_1(path: Path) -> None:
    with Wire(path, counts(2), counts(1)) as wire:
        status, _, err = runnerd("drain", "--timeout", "1m", "--socket", str(path))
    assert status == 1
    assert "waiting, at most 1 min" in err
    assert "1 job still runs" in err
    assert 59 < float(str(wire.asked[1]["timeout_seconds"])) <= 60


def test_a_stop_says_when_it_comes(path: Path) -> None:
    with Wire(path, counts(2), counts(0)) as wire:
        status, _, err = runnerd("drain", "--timeout", "5", "--stop", "--socket", str(path))
    assert (status, wire.asked[1]["stop"]) == (0, True)
    assert "at most 5 s, then they are stopped" in err


def test_a_drain_that_somebody_cancels_meanwhile_is_not_a_success(path: Path) -> None:
    with Wire(path, counts(2), counts(2, draining=False)):
        status, _, err = runnerd("drain", "--socket", str(path))
    assert status == 1
    assert "somebody cancelled the draining" in err


def test_cancelling_takes_jobs_again(path: Path) -> None:
    with Wire(path, counts(1, 0, draining=False)) as wire:
        status, _, err = runnerd("drain", "--cancel", "--socket", str(path))
    assert (status, wire.asked) == (0, [{"cancel": True}])
    assert "jobs are taken and started again; 1 job runs, none is queued" in err


def test_a_restart_of_the_daemon_meanwhile_is_waited_for(path: Path) -> None:
    with Wire(path, counts(1), None, counts(0)) as wire:
        status, _, err = runnerd("drain", "--socket", str(path))
    assert (status, len(wire.asked)) == (0, 3)
    assert "runnerd is away" in err
    assert "runnerd is back" in err


def test_who_may_not_is_told_so_with_125(path: Path) -> None:
    refused: dict[str, object] = {"error": {"code": "not-permitted", "detail": "only root"}}
    with Wire(path, refused):
        status, _, err = runnerd("drain", "--socket", str(path))
    assert (status, err) == (125, "runnerd drain: only root\n")


def test_nobody_at_the_socket_is_125_and_one_line(path: Path) -> None:
    status, _, err = runnerd("drain", "--socket", str(path))
    assert status == 125
    assert err.startswith("runnerd drain: ")
    assert len(err.splitlines()) == 1


def test_the_socket_is_the_one_that_is_configured(config: Path, path: Path) -> None:
    config.write_text(f'socket = "{path}"\n')
    with Wire(path, counts(0)) as wire:
        assert runnerd("--config", str(config), "drain")[0] == 0
    assert len(wire.asked) == 1


def test_a_configuration_that_cannot_be_read_is_not_the_end(config: Path, path: Path) -> None:
    config.write_text("socket =\n")
    status, _, err = runnerd("--config", str(config), "drain")
    assert status == 125
    assert "config.toml:1: not TOML" in err
    assert "--socket needs no configuration" in err
    with Wire(path, counts(0)):
        assert runnerd("--config", str(config), "drain", "--socket", str(path))[0] == 0


@pytest.mark.parametrize(
    "options",
    [("--cancel", "--stop"), ("--cancel", "--timeout", "1"), ("--timeout", "soon"), ("extra",)],
)
def test_what_contradicts_itself_is_wrong_usage(options: tuple[str, ...]) -> None:
    status, _, err = runnerd("drain", *options, as_who="me")
    assert status == 2
    assert "Usage: " in err


def test_an_interrupted_wait_says_that_the_daemon_goes_on_draining(path: Path) -> None:
    first = ["me"] if os.geteuid() == 0 else []
    command = [sys.executable, "-c", PROGRAM, *first, "drain", "--socket", str(path)]
    # The second one is never answered.
    with Wire(path, counts(1)) as wire:
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting for those that run" in process.stderr.readline()
        deadline = time.monotonic() + 20
        while len(wire.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "runnerd goes on draining" in err
    assert "Traceback" not in err


def test_a_verb_does_not_import_the_daemon(path: Path) -> None:
    program = PROGRAM.replace(
        "main()\n",
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'pyroute2', 'sqlite3', 'cgroupspy', 'runner.daemon'}"
        " & set(sys.modules)))\n",
    )
    first = ["me"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [sys.executable, "-c", program, *first, "drain", "--socket", str(path)],
        capture_output=True, check=False, cwd=ROOT, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (125, "[]\n")


LIBRARIES = """
import sys
from runner.main import _asyncio_alone
assert _asyncio_alone() is sys.modules["asyncio"]
import runner.daemon
with open("/proc/self/maps") as file:
    maps = file.read()
print([name for name in ("libssl", "libcrypto") if name in maps])
import hashlib, hmac, secrets
print(hashlib.sha256(b"").hexdigest()[:8], len(secrets.token_bytes(3)))
import ssl
print(ssl.PROTOCOL_TLS_CLIENT.name)
"""


def test_the_daemon_holds_no_tls_and_who_needs_it_finds_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIBRARIES], capture_output=True, check=False, cwd=ROOT, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[]", "e3b0c442 3", "PROTOCOL_TLS_CLIENT"], done.stderr
