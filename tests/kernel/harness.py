"""A real runnerd with places of its own, and runctl as any user."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from client.api import Client
from client.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Who runs plain jobs, "native" or "python": `--launcher` of tests/kernel/conftest.py.
launcher = "native"
# The guest's disk: on tmpfs the pages of a log would be charged to its monitor.
STATE = "/var/lib/runnerd"
_PYTHON = "native_launcher = false\n"
_numbers = itertools.count(1)


def wait_until(
    condition: Callable[[], bool], seconds: float = 30, explain: Callable[[], object] = str
) -> None:
    """Return when the condition holds; fail with the explanation when it does not in time.

    In less than a minute: the daemon looks at much once a minute, whether it was told or not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {explain()}")
        time.sleep(0.02)


def _kind_of(pid: str) -> str | None:
    """Of a child of runnerd's; None for one that is no launcher (yet), or has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            name = file.read()
        program = os.readlink(f"/proc/{pid}/exe")
    except FileNotFoundError:
        return None
    if name != "runnerd-launch\n":
        return None
    return "native" if os.path.basename(program) == "runnerd-launch" else "python"


# As it was installed beside the interpreter, its native front included; else from the sources.
_INSTALLED = os.path.join(os.path.dirname(sys.executable), "runctl")
RUNCTL = (_INSTALLED,) if os.path.exists(_INSTALLED) else (sys.executable, "-m", "client.cli")


class Daemon:
    """One runnerd: its socket, state directory, cgroup root, configuration and log."""

    def __init__(self, base: Path) -> None:
        name = f"t{os.getpid()}-{next(_numbers)}"
        self.base = base
        self.socket = f"/run/{name}/runnerd.sock"
        self.state_dir = f"{STATE}/{name}"
        self.cgroup_root = f"/sys/fs/cgroup/{name}"
        self.config = base / "config.toml"
        # What private networks need of the host goes with the last of them.
        self.config.write_text("[network]\nlinger_seconds = 0\n")
        self.log = base / "runnerd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Whatever happened in the test: no process and no cgroup of ours stays."""
        if self._process is not None:
            self.kill()
        with contextlib.suppress(OSError):
            for name in os.listdir(self.cgroup_root):
                path = f"{self.cgroup_root}/{name}/cgroup.kill"
                with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:
                    file.write("1")
        wait_until(self._remove_cgroups, explain=lambda: os.listdir(self.cgroup_root))
        shutil.rmtree(self.state_dir, ignore_errors=True)
        shutil.rmtree(os.path.dirname(self.socket), ignore_errors=True)

    def _remove_cgroups(self) -> bool:
        for path, _, _ in os.walk(self.cgroup_root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        return not os.path.exists(self.cgroup_root)

    # The process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Of one that has ended by itself."""
        assert self._process is not None
        return self._process.poll()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def command(self, *options: str) -> list[str]:
        return [
            sys.executable, "-m", "runner.main", "--config", str(self.config),
            "--socket", self.socket, "--state-dir", self.state_dir,
            "--cgroup-root", self.cgroup_root, *options,
        ]  # fmt: skip

    def start(self, wanted: str | None = None, used: str | None = None) -> None:
        """Start it and wait until it takes connections.

        Plain jobs go to the launcher that is `wanted`, and it is the one that is `used`, unless
        the test says so.
        """
        wanted = wanted or launcher
        self._choose_launcher(wanted)
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=PROJECT, stderr=log, stdout=log)
        # Hearing the end of the log would not do: the last start's line is in it, too.
        wait_until(self._answers, explain=self.log_text)
        with self.client() as client:
            found = client.doctor()["launcher"]
        assert found["kind"] == (used or wanted), found

    def _choose_launcher(self, wanted: str) -> None:
        """Whatever else the test has written there."""
        text = self.config.read_text().removeprefix(_PYTHON)
        self.config.write_text(_PYTHON + text if wanted == "python" else text)

    def _answers(self) -> bool:
        assert self.running, self.log_text()
        try:
            with Client(self.socket) as client:
                client.doctor()
        except ClientError:
            return False
        return True

    def launchers(self) -> dict[str, int]:
        """The pids of its launchers, "python" and "native", as far as they run."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            kinds = {_kind_of(pid): int(pid) for pid in file.read().split()}
        return {kind: pid for kind, pid in kinds.items() if kind is not None}

    def launcher_other_than(self, kind: str, gone: int) -> int:
        """The pid of the launcher that runs instead of one that was killed."""
        wait_until(lambda: self.launchers().get(kind, gone) != gone)
        return self.launchers()[kind]

    def stop(self) -> None:
        """SIGTERM; it must end well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0, self.log_text()
        self._process = None

    def kill(self) -> None:
        """SIGKILL to the daemon alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # Clients

    def client(self) -> Client:
        return Client(self.socket)

    def runctl(
        self,
        *args: str,
        user: str = "root",
        cwd: str = "/",
        env: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run runctl to its end as a user. Text out; bytes that are no UTF-8 are escaped."""
        return subprocess.run(
            self._runctl_command(args), **self._as_user(user, cwd, env),
            capture_output=True, encoding="utf-8", errors="backslashreplace", timeout=timeout,
            check=False,
        )  # fmt: skip

    def spawn_runctl(
        self, *args: str, user: str = "root", cwd: str = "/", **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start runctl and leave it running; the test ends it."""
        return subprocess.Popen(
            self._runctl_command(args), **self._as_user(user, cwd, None),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def _runctl_command(self, args: tuple[str, ...]) -> list[str]:
        return [*RUNCTL, "--socket", self.socket, *args]

    def _as_user(self, user: str, cwd: str, env: dict[str, str] | None) -> dict[str, Any]:
        entry = pwd.getpwnam(user)
        own = {
            "HOME": entry.pw_dir, "USER": user, "PATH": os.environ["PATH"], "PYTHONPATH": PROJECT,
            "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        groups = os.getgrouplist(user, entry.pw_gid)
        return {
            "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups,
            "cwd": cwd, "env": {**own, **(env or {})}, "stdin": subprocess.DEVNULL,
        }  # fmt: skip

    # Jobs

    def forget_all_jobs(self) -> None:
        """Kill what runs and remove every job, so that the next test begins with none."""
        with self.client() as client:
            for job in list(client.jobs(ended=False)):
                client.stop(job["job"], kill=True)
                client.wait(job["job"])
            for job in list(client.jobs(ended=True)):
                client.remove(job["job"])
