"""Where everything is measured: directories, cgroups, the floors, a runnerd of its own.

The benchmark runs in a mount namespace of its own (`command`), in which cgroup v2 is at
/sys/fs/cgroup for everybody and /run is empty: peers may mount and write there as they like, the
machine keeps nothing of it. What lies outside of it is one directory on the disk and one cgroup;
whoever made the namespace removes both.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from client.api import Client
from client.errors import ClientError
from tests.bench.floors import Floors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.peers import Peers

PROJECT: Final = Path(__file__).resolve().parents[2]
CGROUPS: Final = "/sys/fs/cgroup"
RUN: Final = "/run/bench"
TRUE: Final = "/bin/true"
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 60.0
# Room for everything that a figure starts at once.
_CONFIGURATION: Final = """\
required_controllers = [{controllers}]
[jobs]
max_running = {running}
default_pids_max = {pids}
[capacity]
cpus = 1024
[retention]
max_jobs = 1000000
"""


class Stage:
    """What every figure has at hand: `disk`, where everybody's files are, cgroup and peers.

    `programs` is a directory that a container sees too, whose root is the machine's tree.
    """

    def __init__(
        self, disk: str, programs: str, cgroup: str, peers: Peers, limits: Sequence[str] = ()
    ) -> None:
        self.disk = disk
        self.cgroup = cgroup
        self.peers = peers
        # FILE=VALUE of the kernel, in the lane; empty where it has no controllers.
        self.limits = tuple(limits)
        self.floors = Floors(programs)
        self._count = 0

    def directory(self, name: str) -> str:
        """A new one on the disk."""
        self._count += 1
        path = f"{self.disk}/{name}-{self._count}"
        os.makedirs(path)
        return path

    @contextmanager
    def daemon(self, *, running: int = 4000, segment_bytes: int | None = None) -> Iterator[Daemon]:
        """A runnerd with nothing in it, ended and its jobs killed when it is left."""
        self._count += 1
        one = Daemon(self, self._count, running, segment_bytes)
        one.start()
        try:
            yield one
        finally:
            one.end()


class Daemon:
    """One runnerd on a state directory, a socket and a cgroup of its own."""

    def __init__(self, stage: Stage, number: int, running: int, segment: int | None) -> None:
        self.socket = f"{RUN}/runnerd-{number}.sock"
        self.state = f"{stage.disk}/state-{number}"
        self.cgroup = f"{stage.cgroup}/runnerd-{number}"
        self._log = f"{stage.disk}/runnerd-{number}.log"
        self._config = f"{stage.disk}/config-{number}.toml"
        text = _CONFIGURATION.format(
            controllers='"cpu", "io", "memory", "pids"' if stage.limits else "",
            pids=4096 if stage.limits else 0,
            running=running,
        )
        if segment is not None:
            text += f"[logs]\nsegment_bytes = {segment}\n"
        Path(self._config).write_text(text, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of runnerd itself."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError with the end of its log."""
        words = [sys.executable, "-m", "runner.main", "--config", self._config]
        words += ["--socket", self.socket, "--state-dir", self.state, "--cgroup-root", self.cgroup]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stderr=log, cwd=PROJECT, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"runnerd does not start: {self.last_words()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.doctor()
        except ClientError:
            return False
        return True

    def client(self) -> Client:
        """A client of it, without patience."""
        return Client(self.socket, reconnect_seconds=0)

    def last_words(self) -> str:
        """The end of its log."""
        lines = Path(self._log).read_text(encoding="utf-8", errors="replace").splitlines()
        return " / ".join(lines[-3:])

    def cpu_seconds(self) -> float:
        """CPU time of all its threads, ended ones too. clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def resident_bytes(self) -> int:
        """Its RSS. proc_pid_statm(5)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def monitors(self) -> list[int]:
        """The pids of its jobs' monitors."""
        found = []
        for path in Path(self.cgroup).glob("job-*/monitor/cgroup.procs"):
            with suppress(FileNotFoundError):
                found += [int(word) for word in path.read_text(encoding="ascii").split()]
        return found

    def end(self) -> None:
        """Kill its jobs, let it end, remove what it had."""
        self.stop()
        remove_cgroups(self.cgroup)
        shutil.rmtree(self.state, ignore_errors=True)

    def stop(self) -> None:
        """Kill its jobs and let it end; `start` starts another one on what it leaves."""
        if self._process is not None and self._process.poll() is None:
            kill_cgroups(self.cgroup)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def kill_cgroups(root: str) -> None:
    """Every process of the jobs below it. cgroups(7), `cgroup.kill`."""
    for path in Path(root).glob("job-*/cgroup.kill"):
        with suppress(OSError):
            path.write_text("1", encoding="ascii")


def remove_cgroups(root: str, *, seconds: float = 10.0) -> None:
    """A cgroup with all below it, its processes killed. Raises RuntimeError when it stays."""
    deadline = time.monotonic() + seconds
    while os.path.isdir(root):
        with suppress(OSError):
            Path(f"{root}/cgroup.kill").write_text("1", encoding="ascii")
        for directory, _names, _files in os.walk(root, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{root} cannot be removed: processes are left in it")
        time.sleep(0.005)
