"""The runnerd that is tortured: started, killed and started again, and its processes found.

One thread at a time decides whether it runs (`trouble.DaemonTrouble`, before and after it the
session); everybody may look for its processes, by what the kernel says now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

from client.api import Client
from client.errors import ClientError
from tests.kernel.harness import PROJECT, Daemon
from tests.torture import wishes
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_NAME: Final = "torture"
_CONFIG: Final = """
[jobs]
max_running = {running}
stop_grace_seconds = 0.5

[capacity]
cpus = {cpus}
memory = "{mib}M"

[queues.default]
max_priority = {top}
[queues.narrow]
max_running = {narrow}
priority = 1
max_priority = {top}
[queues.low]
priority = -1
max_priority = {top}
[queues.late]
max_running = {late}
max_priority = {top}

[quotas.users.bob]
max_running = {bob}
max_cpus = {bob_cpus}

[network]
linger_seconds = 0
"""


class Victim(Daemon):
    """A `Daemon` with places that are the same in each life."""

    def __init__(self, base: Path, life: int, running: int) -> None:
        super().__init__(base)
        self.socket = f"/run/{_NAME}/runnerd.sock"
        self.state_dir = f"/var/lib/runnerd/{_NAME}"
        self.cgroup_root = f"/sys/fs/cgroup/{_NAME}"
        text = _CONFIG.format(
            running=running, bob=max(1, running // 2), bob_cpus=wishes.BOB_MILLICPUS / 1000,
            cpus=wishes.CAPACITY_MILLICPUS / 1000, mib=wishes.CAPACITY_MIB,
            top=wishes.TOP_PRIORITY, narrow=wishes.NARROW_MOST, late=wishes.LATE_MOST,
        )  # fmt: skip
        self.config.write_text(text, encoding="utf-8")
        self.log = base / f"runnerd-{life}.log"
        self.starts = 0
        self.starts_in_vain = 0

    # Its life

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.starts += 1

    def bring_up(self, *, may_fail: Callable[[], bool] = lambda: False) -> None:
        """Have it answer, starting it as often as `may_fail` excuses that it ends.

        Raises DifferenceError when it ends without an excuse, or does not answer.
        """
        deadline = time.monotonic() + _START_SECONDS
        excused = may_fail()
        while not self._is_up():
            excused = excused or may_fail()
            if self.running:
                if time.monotonic() > deadline:
                    raise DifferenceError(f"it does not answer: {self.last_words()}")
            elif self.starts and self._process is not None and not excused:
                raise DifferenceError(f"it ended by itself: {self.last_words()}")
            else:
                self.starts_in_vain += self._process is not None
                excused = may_fail()
                self.launch()
            time.sleep(_POLL_SECONDS)

    def _is_up(self) -> bool:
        if not self.running:
            return False
        try:
            with Client(self.socket) as client:
                client.hello()
        except ClientError:
            return False
        return True

    def terminate(self) -> None:
        """SIGTERM; it must end well. Raises DifferenceError."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DifferenceError(f"SIGTERM does not end it: {self.last_words()}") from None
        self._process = None
        if status != 0:
            raise DifferenceError(f"SIGTERM ended it with {status}: {self.last_words()}")

    def end_at_once(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self.kill()

    def has_ended(self) -> bool:
        """Whether it ended though nobody ended it."""
        return self._process is not None and self._process.poll() is not None

    def last_words(self) -> str:
        """The end of its log, and what it ended with."""
        status = None if self._process is None else self._process.poll()
        return f"status {status}; {self.log_text()[-1500:]}"

    # Its processes

    def daemon_pids(self) -> list[int]:
        """Runnerd itself, if it runs."""
        process = self._process
        return [process.pid] if process is not None and process.poll() is None else []

    def launcher_pids(self) -> list[int]:
        """Its launchers: children of that name."""
        found = []
        for pid in self.daemon_pids():
            for child in _children(pid):
                with contextlib.suppress(OSError), open(f"/proc/{child}/comm", "rb") as file:
                    if file.read().startswith(b"runnerd-launch"):
                        found.append(child)
        return found

    def monitor_pids(self, job: str) -> list[int]:
        """The monitor of a job, by its cgroup."""
        path = f"{self.cgroup_root}/job-{job}/monitor/cgroup.procs"
        try:
            with open(path, encoding="ascii") as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def runctl_process(self, *args: str, user: str, stdout: Any, stderr: Any) -> Any:
        """A runctl of a user's that writes to these files."""
        return subprocess.Popen(
            self._runctl_command(args), **self._as_user(user, "/", None),
            stdout=stdout, stderr=stderr,
        )  # fmt: skip


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def send(number: int, find: Callable[[], list[int]]) -> list[int]:
    """Signal the processes that `find` gives, and no other that took over a number since."""
    sent = []
    for pid in find():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in find():
                signal.pidfd_send_signal(pidfd, number)
                sent.append(pid)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)
    return sent
