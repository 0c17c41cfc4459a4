"""The session of README, "From other machines", typed as it stands there by a user."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import PROJECT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

PROGRAMS = {"runner-gateway": "gateway.program", "runctl": "client.cli"}
READY = "Both work."


def session() -> tuple[list[str], list[str]]:
    """The two commands that set it up, and what is typed then."""
    text = Path(PROJECT, "README.md").read_text(encoding="utf-8")
    part = text.partition("### From other machines\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", part.replace("\\\n        ", ""), flags=re.MULTILINE)
    lines = [[line.strip() for line in block.splitlines()] for block in blocks]
    at = next(number for number, block in enumerate(lines) if "runner-gateway init" in block[0])
    return lines[at], lines[at + 1]


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Iterator[Shell]:
    """A shell of alice's with the programs of the checkout, and a home of her own."""
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    found = Shell(daemon, tmp_path)
    yield found
    found.close()


class Shell:
    def __init__(self, daemon: Daemon, base: Path) -> None:
        self.home = base / "home"
        self.home.mkdir()
        shutil.chown(self.home, "alice", "alice")
        programs = base / "bin"
        programs.mkdir()
        for name, module in PROGRAMS.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
            program.chmod(0o755)
        self._how = daemon._as_user("alice", str(self.home), {
            "HOME": str(self.home), "PATH": f"{programs}:{os.environ['PATH']}",
            "RUNNER_GATEWAY_SOCKET": daemon.socket, "USER": "alice",
        })  # fmt: skip
        self.said = base / "serve.log"
        self._server: subprocess.Popen[bytes] | None = None

    def serve(self, line: str) -> None:
        with open(self.said, "wb") as log:
            self._server = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {line}"], **self._how, stdout=log, stderr=log
            )

    def run(self, lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-ec", lines], **self._how, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    def close(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            assert self._server.wait(20) == 0, self.said.read_text()


def test_two_commands_set_it_up_and_run_a_job_through_both_and_then_curl_and_runctl_do(
    shell: Shell,
) -> None:
    (init, serve), then = session()
    made = shell.run(init)
    assert made.returncode == 0, made.stderr
    shell.serve(serve.partition("#")[0])
    wait_until(lambda: READY in shell.said.read_text(), 50, explain=shell.said.read_text)
    # The client of gRPC comes from the network: tests/unit/gateway/rpc types that line.
    typed = [line for line in then if "buf" not in line]
    assert len(typed) == len(then) - 1
    done = shell.run("\n".join(typed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("hello") >= 4
    assert '"exit_code":0' in done.stdout
