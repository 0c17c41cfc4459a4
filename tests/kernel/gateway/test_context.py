"""runctl on another machine, as far as it can tell: contexts, TLS, and a real runnerd behind."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import PROJECT, RUNCTL, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kernel.gateway.harness import RunningGateway

    Runctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of somebody with a home of his own, and no socket of runnerd's."""
    return {
        "HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": PROJECT,
        "LANG": "C.UTF-8", "A_TOKEN": "secret",
    }  # fmt: skip


@pytest.fixture
def runctl(environment: dict[str, str], tmp_path: Path, gateway: RunningGateway) -> Runctl:
    """Runs it to its end; there is a context `prod`, of alice's."""

    def run(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUNCTL, *words], env=environment, cwd=tmp_path, stdin=stdin, capture_output=True,
            encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip

    ca, certificate, key = gateway.files("alice")
    address = f"localhost:{gateway.rest_port}"
    made = run("context", "add", "prod", address, "--ca", ca, "--cert", certificate, "--key", key)
    assert made.returncode == 0, made.stderr
    return run


@contextmanager
def started(environment: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    """Runctl while it runs; whatever happens, it does not stay."""
    with subprocess.Popen(
        [*RUNCTL, *words], env=environment, cwd="/", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def rest(process: subprocess.Popen[str]) -> str:
    """Its output to its end: `communicate` would leave out what is buffered here."""
    assert process.stdout is not None
    out = process.stdout.read()
    process.wait(30)
    return out


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_context_says_whom_the_gateway_takes_us_for(runctl: Runctl) -> None:
    told = runctl("context", "test", "prod")
    assert told.returncode == 0, told.stderr
    assert "acting as  alice" in told.stdout
    assert "runnerd:user:alice" in told.stdout


def test_a_job_runs_there_and_ends_here(runctl: Runctl) -> None:
    ran = runctl("--context", "prod", "run", "--", "sh", "-c", "id -un; pwd; echo no >&2; exit 7")
    assert (ran.returncode, ran.stdout) == (7, "alice\n/home/alice\n"), ran.stderr
    assert "no\n" in ran.stderr


def test_nothing_of_the_local_shell_goes_along_unless_it_is_asked_for(runctl: Runctl) -> None:
    ran = runctl("--context", "prod", "run", "--env", "X=1", "env")
    assert "A_TOKEN" not in ran.stdout
    assert "X=1\n" in ran.stdout
    assert "HOME=/home/alice\n" in ran.stdout
    ran = runctl("--context", "prod", "run", "--env", "A_TOKEN", "env")
    assert "A_TOKEN=secret\n" in ran.stdout


def test_the_default_context_is_used_until_local_is_chosen(
    runctl: Runctl, gateway: RunningGateway
) -> None:
    assert runctl("context", "use", "prod").returncode == 0
    ran = runctl("run", "echo", "hi")
    assert (ran.returncode, ran.stdout) == (0, "hi\n"), ran.stderr
    here = runctl("--socket", gateway.daemon.socket, "run", "id", "-u")
    assert here.stdout == "0\n"
    assert runctl("context", "use", "local").returncode == 0
    ran = runctl("run", "echo", "hi")
    assert ran.returncode == 125
    assert "runnerd is not running" in ran.stderr


def test_exec_and_wait_work_through_it(runctl: Runctl) -> None:
    job = runctl("--context", "prod", "run", "-d", "sleep", "60").stdout.strip()
    said = runctl("--context", "prod", "exec", job, "sh", "-c", "echo inside; exit 3")
    assert (said.returncode, said.stdout) == (3, "inside\n"), said.stderr
    assert runctl("--context", "prod", "stop", "--grace", "0", job).returncode == 0
    waited = runctl("--context", "prod", "wait", job)
    assert waited.returncode != 0
    shown = runctl("--context", "prod", "status", job)
    assert "alice" in shown.stdout
    events = runctl("--context", "prod", "events", "--since", "0", "--job", job)
    assert "finish" in events.stdout


def test_a_signal_reaches_the_command_of_an_exec(
    runctl: Runctl, environment: dict[str, str]
) -> None:
    job = runctl("--context", "prod", "run", "-d", "sleep", "60").stdout.strip()
    script = "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    words = ("--context", "prod", "exec", job, "bash", "-c", script)
    with started(environment, *words) as process:
        assert first_line(process) == "ready\n"
        process.send_signal(signal.SIGINT)
        out = rest(process)
    assert (process.returncode, out) == (9, "got it\n")
    runctl("--context", "prod", "stop", "--grace", "0", job)


def test_ctrl_c_stops_a_job_in_the_foreground(runctl: Runctl, environment: dict[str, str]) -> None:
    del runctl
    words = ("--context", "prod", "run", "sh", "-c", "echo up; sleep 60")
    with started(environment, *words) as process:
        assert first_line(process) == "up\n"
        process.send_signal(signal.SIGINT)
        rest(process)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_log_is_followed_through_restarts_of_the_gateway_and_of_runnerd(
    runctl: Runctl, environment: dict[str, str], gateway: RunningGateway
) -> None:
    script = "i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); echo $i; sleep 0.05; done; echo end"
    job = runctl("--context", "prod", "run", "-d", "sh", "-c", script).stdout.strip()
    with started(environment, "--context", "prod", "logs", "-f", job) as process:
        assert first_line(process) == "1\n"
        port = gateway.rest_port
        gateway.stop()
        gateway.start("--listen", f"127.0.0.1:{port}")
        gateway.daemon.kill()
        gateway.daemon.start()
        # In the job's own /tmp.
        ended = runctl("--context", "prod", "exec", job, "touch", "/tmp/end")
        # The job may have ended by then, and touch with it.
        assert ended.returncode in (0, 137), ended.stderr
        numbers = rest(process).splitlines()
    assert process.returncode == 0
    assert numbers[-1] == "end"
    assert numbers[:-1] == [str(number) for number in range(2, len(numbers) + 1)]


def test_a_submission_with_a_key_is_made_once(runctl: Runctl) -> None:
    first = runctl("--context", "prod", "run", "-d", "--key", "once", "true").stdout
    assert runctl("--context", "prod", "run", "-d", "--key", "once", "true").stdout == first


def test_a_flow_is_read_here_and_runs_there(runctl: Runctl, tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(
        '[steps.a]\ncommand = "pwd"\n[steps.b]\ncommand = "id -un"\nneeds = "a"\n'
    )
    ran = runctl("--context", "prod", "flow", "run", "-f", "f.toml")
    assert ran.returncode == 0, ran.stderr
    shown = runctl("--context", "prod", "logs", "f.a")
    assert shown.stdout == "/home/alice\n", shown.stderr


def test_who_may_only_look_is_told_so(runctl: Runctl, gateway: RunningGateway) -> None:
    ca, certificate, key = gateway.files("bob")
    files = ("--ca", ca, "--cert", certificate, "--key", key)
    runctl("context", "add", "bobs", f"localhost:{gateway.rest_port}", *files)
    assert runctl("--context", "bobs", "ps").returncode == 0
    refused = runctl("--context", "bobs", "run", "true")
    assert refused.returncode == 125
    assert "submit" in refused.stderr


def test_a_revoked_certificate_is_said_to_be_revoked(
    runctl: Runctl, gateway: RunningGateway
) -> None:
    assert gateway.command("pki", "issue", "--user", "trudy").returncode == 0
    ca, certificate, key = gateway.files("trudy")
    files = ("--ca", ca, "--cert", certificate, "--key", key)
    runctl("context", "add", "trudys", f"localhost:{gateway.rest_port}", *files)
    assert gateway.command("pki", "revoke", "trudy").returncode == 0
    told: list[str] = []

    def is_said() -> bool:
        told[:] = [runctl("context", "test", "trudys").stderr]
        return "it was revoked; ask whoever runs it" in told[0]

    wait_until(is_said, explain=lambda: told)
