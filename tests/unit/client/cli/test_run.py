"""`runctl run`: from options to the request, in this process and detached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
MIB = 1024 * 1024


def test_options_end_where_the_command_begins(submit: Callable[..., dict[str, Any]]) -> None:
    assert submit("--mem", "256M", "make", "-j2", "--mem", "5")["argv"] == [
        "make", "-j2", "--mem", "5",
    ]  # fmt: skip
    assert submit("--", "make", "--", "-j2")["argv"] == ["make", "--", "-j2"]
    assert submit("--", "-x")["argv"] == ["-x"]


def test_every_option_becomes_its_field(
    submit: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/tmp")
    asked = submit(
        "--mem", "256M", "--cpus", "1.5", "--pids", "64", "--timeout", "10m",
        "--io-read", "data:10M", "--io-write", "/tmp/data:5M", "--io-write", "/srv:a:1G/s",
        "--net", "host", "--name", "build", "--cwd", "sub/..", "--user", "1001", "make",
    )  # fmt: skip
    assert asked["limits"] == {
        "memory_max_bytes": 256 * MIB,
        "cpu_max_millicpus": 1500,
        "pids_max": 64,
        "timeout_seconds": 600.0,
        "io": [
            {
                "path": "/tmp/data",
                "read_bytes_per_second": 10 * MIB,
                "write_bytes_per_second": 5 * MIB,
            },
            {"path": "/srv:a", "write_bytes_per_second": 1024 * MIB},
        ],
    }
    assert asked["network"] == "host"
    assert asked["name"] == "build"
    # Left to the kernel: "sub" may be a link.
    assert asked["cwd"] == "/tmp/sub/.."
    assert asked["user"] == 1001
    asked = submit("--user", "bob", "--group", "100", "make")
    assert (asked["user"], asked["group"]) == ("bob", 100)
    assert submit("--group", "staff", "make")["group"] == "staff"


def test_the_defaults_are_the_callers_surroundings(submit: Callable[..., dict[str, Any]]) -> None:
    asked = submit("make")
    assert asked["cwd"] == os.getcwd()
    assert asked["limits"] == {}
    # The network too is left to the daemon, which knows what else may need one.
    assert set(asked) == {"argv", "cwd", "env", "umask", "limits"}


def test_env_goes_over_the_callers_environment(
    submit: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "1")
    monkeypatch.setenv("OTHER", "caf\udcff")
    asked = submit("--env", "MINE=2=3", "--env", "NEW=", "--env", "OTHER", "x")["env"]
    assert (asked["MINE"], asked["NEW"], asked["OTHER"]) == ("2=3", "", b"caf\xff")
    assert "PATH" in asked


def test_a_clean_environment_has_nothing_of_the_callers_but_what_is_named(
    submit: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("MINE", "1")
    for how in ("--clean-env", "--sandbox=untrusted"):
        asked = submit(how, "--env", "MINE", "--env", "X=2", "x")["env"]
        assert asked["PATH"] == "/usr/local/bin:/usr/bin:/bin"
        assert (asked["MINE"], asked["X"]) == ("1", "2")
        assert "TOKEN" not in asked


def test_env_that_is_not_set_is_refused(runctl: Runctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    status, _, err = runctl("run", "--env", "NOT_SET", "x")
    assert status == 125
    assert "'NOT_SET' given without a value" in err


def test_detached_json_is_an_object(daemon: FakeDaemon, runctl: Runctl) -> None:
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
    status, out, _ = runctl("run", "-d", "--json", "x")
    assert status == 0
    assert json.loads(out) == {"job": JOB_ID, "existing": False}


@pytest.mark.parametrize("detach", [["-d"], []])
def test_a_refused_limit_is_named_by_its_option(
    daemon: FakeDaemon, runctl: Runctl, detach: list[str]
) -> None:
    daemon.refuse(
        "submit",
        "invalid-argument",
        field="limits.memory_max_bytes",
        given="1024",
        allowed="4194304 to 1125899906842624",
    )
    status, out, err = runctl("run", *detach, "--mem", "1K", "x")
    assert (status, out) == (125, "")
    assert err == "runctl: --mem: 1 KiB given; 4 MiB to 1 PiB allowed\n"


def test_a_limit_that_cannot_be_enforced_says_the_remedy(
    daemon: FakeDaemon, runctl: Runctl
) -> None:
    daemon.refuse(
        "submit", "limit-unavailable", field="limits.io", detail="no io controller; enable it"
    )
    status, _, err = runctl("run", "--io-read", "/:1M", "x")
    assert status == 125
    assert err == "runctl: --io-read: no io controller; enable it\n"


@pytest.mark.parametrize(
    ("field", "typed", "word"),
    [
        ("limits.io[0].write_bytes_per_second", ["--io-write", "/:1"], "--io-write"),
        ("limits.io[0].write_bytes_per_second", ["--io-read", "/:1", "--io-write", "/:1"],
         "--io-write"),
        ("limits.io[0].path", ["--io-read", "/:1"], "--io-read"),
        ("limits.io[0].path", ["--io-read", "/:1", "--io-write", "/:1"], "--io-read/--io-write"),
    ],
)  # fmt: skip
def test_a_refused_rate_is_named_by_the_option_that_was_typed(
    daemon: FakeDaemon, runctl: Runctl, field: str, typed: list[str], word: str
) -> None:
    allowed = "4096 to 1125899906842624"
    daemon.refuse("submit", "invalid-argument", field=field, given="1", allowed=allowed)
    assert runctl("run", *typed, "x")[2].startswith(f"runctl: {word}: 1")


def test_an_empty_directory_is_refused_not_taken_as_this_one(
    daemon: FakeDaemon, runctl: Runctl
) -> None:
    status, _, err = runctl("run", "--cwd", "", "x")
    assert status == 125
    assert "--cwd: '' given" in err
    assert not daemon.seen


def detached(daemon: FakeDaemon, stdout: int) -> tuple[int, bytes]:
    """`runctl run -d` with that stdout: exit status and stderr."""
    daemon.answer("submit", {"job": JOB_ID, "state": "queued"})
    command = [sys.executable, "-m", "client.cli", "--socket", daemon.path, "run", "-d", "x"]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(stdout)
    return done.returncode, done.stderr


def test_an_id_that_cannot_be_printed_is_said_with_the_failure(daemon: FakeDaemon) -> None:
    assert detached(daemon, os.open("/dev/full", os.O_WRONLY)) == (
        125,
        f"runctl: job {JOB_ID} was submitted; cannot write its id to stdout: "
        "No space left on device\n".encode(),
    )


def test_an_id_that_nobody_reads_is_said_on_stderr(daemon: FakeDaemon) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    said = f"runctl: job {JOB_ID} was submitted\n".encode()
    assert detached(daemon, writer) == (141, said)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([""], "argv[0]: '' given; allowed: a command"),
        (["a", "b", "c", "x" * 10**7], "argv[3]: 10000000 bytes given; at most 131071 bytes"),
        (["--env", "A=" + "x" * 131_072, "c"], "--env (env['A']): 131074 bytes given"),
    ],
)
def test_an_impossible_command_is_refused_before_anything_is_sent(
    daemon: FakeDaemon, runctl: Runctl, arguments: list[str], text: str
) -> None:
    status, _, err = (
        runctl("run", "-d", "--", *arguments)
        if arguments[0] != "--env"
        else runctl("run", "-d", *arguments)
    )
    assert status == 125
    assert err.startswith(f"runctl: {text}")
    assert not daemon.args("submit")
