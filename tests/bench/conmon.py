"""conmon, the peer of our monitor: one container under it, started by hand as podman does.

conmon has crun create the container, which then waits to be started: so a turn can begin when
everything but the program is ready.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tests.bench import spawning
from tests.bench.peers import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.stage import Stage

_SECONDS: Final = 20.0
NEEDED: Final = ("conmon", "crun")


def why_not() -> str:
    """What it lacks on this machine; empty when it can be used."""
    lacking = [name for name in missing() if name in NEEDED]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Monitored:
    """A container under a conmon, created and not started."""

    def __init__(self, stage: Stage, name: str, argv: Sequence[str], log_size: int) -> None:
        self.name = name
        self.directory = stage.directory("conmon")
        bundle = stage.peers.bundle(name, argv)
        pidfile = f"{self.directory}/pid"
        words = [
            "conmon", "--sync", "--cid", name, "--cuuid", name, "--name", name,
            "--runtime", shutil.which("crun") or "crun", "--bundle", bundle,
            "--container-pidfile", pidfile, "--log-path", f"k8s-file:{self.directory}/log",
            "--log-size-max", str(log_size), "--exit-dir", self.directory,
            "--socket-dir-path", self.directory, "--log-level", "error",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._await(pidfile)

    def _await(self, pidfile: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not os.path.exists(pidfile) or os.path.getsize(pidfile) == 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self._said()
                self.end()
                raise spawning.CommandError(f"conmon does not create a container: {said}")
            time.sleep(0.005)

    def _said(self) -> str:
        if self.process.poll() is None or self.process.stderr is None:
            return "no answer"
        return " ".join(self.process.stderr.read().split())[-200:]

    def start(self) -> None:
        """Let the program begin."""
        spawning.timed(["crun", "start", self.name])

    def run(self) -> float:
        """Seconds from then until conmon has ended, with the log on the disk as it leaves it."""
        began = time.perf_counter()
        self.start()
        self.process.wait(600)
        return time.perf_counter() - began

    def end(self) -> None:
        """Remove the container, its conmon and its log."""
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["crun", "delete", "--force", self.name],
                check=False, capture_output=True, timeout=_SECONDS,
            )  # fmt: skip
        try:
            self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)
