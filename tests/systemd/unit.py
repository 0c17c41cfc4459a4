"""The service as an administrator has it: systemctl, the journal, its cgroups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import Any

from client.api import Client
from tests.kernel.harness import PROJECT, wait_until
from tests.kernel.inside import pids

NAME = "runnerd.service"
CGROUPS = "/sys/fs/cgroup"
CONFIG = "/etc/runnerd/config.toml"
DROP_INS = f"/etc/systemd/system/{NAME}.d"
# The only thing that the tests change: the checkout's runnerd instead of an installed one,
# which would not be compiled anew at each start.
COMMAND = f"""[Service]
ExecStart=
ExecStart={sys.executable} -m runner.main
Environment=PYTHONPATH={PROJECT} PYTHONPYCACHEPREFIX=/run/compiled
"""


class Unit:
    """examples/runnerd.service, installed. Every method that changes something waits for it."""

    cgroup = f"{CGROUPS}/system.slice/{NAME}"
    # Where jobs are to be.
    root = f"{CGROUPS}/runnerd"

    def install(self) -> None:
        """Copy it to where an administrator's units are."""
        shutil.copy(f"{PROJECT}/examples/{NAME}", f"/etc/systemd/system/{NAME}")
        os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
        self.configure("")
        self.drop_in("command", COMMAND)

    def configure(self, text: str) -> None:
        """The configuration of the next start."""
        with open(CONFIG, "w", encoding="utf-8") as file:
            file.write(text)

    def drop_in(self, name: str, text: str) -> None:
        """An administrator's own settings."""
        os.makedirs(DROP_INS, exist_ok=True)
        with open(f"{DROP_INS}/{name}.conf", "w", encoding="utf-8") as file:
            file.write(text)
        systemctl("daemon-reload")

    def clear(self) -> None:
        """No jobs and no settings; it need not run."""
        self.start()
        with Client() as client:
            for job in list(client.jobs()):
                client.stop(job["job"], kill=True)
                client.wait(job["job"])
            for job in list(client.jobs(ended=True)):
                client.remove(job["job"])
        added = set(os.listdir(DROP_INS)) - {"command.conf"}
        if not added and not os.path.getsize(CONFIG):
            return
        self.stop()
        for name in added:
            os.unlink(f"{DROP_INS}/{name}")
        self.configure("")
        systemctl("daemon-reload")

    # Life

    def start(self) -> None:
        systemctl("start", NAME)

    def stop(self) -> None:
        systemctl("stop", NAME)

    def restart(self) -> None:
        systemctl("restart", NAME)

    def kill(self) -> None:
        """SIGKILL to runnerd alone; returns when systemd has started another."""
        before = self.main_pid
        systemctl("kill", "--kill-whom=main", "--signal=KILL", NAME)
        wait_until(
            lambda: self.show("ActiveState") == "active" and self.main_pid not in {0, before},
            30,
            self.status,
        )

    # What can be seen

    def show(self, name: str) -> str:
        """A property, as `systemctl show` has it."""
        return systemctl("show", "--property", name, "--value", NAME).strip()

    @property
    def main_pid(self) -> int:
        return int(self.show("MainPID"))

    @property
    def launcher_pids(self) -> set[int]:
        """The other processes beside runnerd: both launchers."""
        return set(self.own_pids()) - {self.main_pid}

    def own_pids(self) -> list[int]:
        """Of runnerd and its launchers, where they are to be."""
        return pids(self.cgroup)

    def status(self) -> str:
        """As a person asks for it; it fails by itself for a unit that does not run."""
        done = run("systemctl", "status", "--no-pager", "--full", NAME, check=False)
        return done.stdout + done.stderr

    def journal(self) -> str:
        """What the service, and systemd about it, have said since the boot."""
        run("journalctl", "--sync")
        return run("journalctl", "--no-pager", "--output=cat", "--boot", "--unit", NAME).stdout

    def job_file(self, job: str, part: str, name: str) -> str:
        """An interface file of a job's cgroups."""
        with open(f"{self.root}/job-{job}/{part}/{name}", encoding="ascii") as file:
            return file.read().strip()

    def job_cgroups(self) -> set[str]:
        """Of all jobs, with the inode of each: one that was made again has another."""
        found = set()
        for path, _, _ in os.walk(self.root):
            if "/job-" in path:
                found.add(f"{path} {os.stat(path).st_ino}")
        return found

    def payload(self, job: str) -> list[int]:
        """The job's own processes."""
        return pids(f"{self.root}/job-{job}/payload")

    def has_record(self, job: str) -> bool:
        """Whether the job has ended, for when no runnerd can be asked."""
        return os.path.exists(f"/var/lib/runnerd/jobs/{job}/exit")


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=120)


def systemctl(*arguments: str) -> str:
    """What it says; a failure shows why."""
    done = run("systemctl", *arguments, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}{_why(arguments)}"
    return done.stdout


def _why(arguments: tuple[str, ...]) -> str:
    if NAME not in arguments:
        return ""
    return "\n" + run("journalctl", "--no-pager", "--lines=30", "--unit", NAME).stdout


def runctl(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """runctl, started; the test ends it."""
    environment = {**os.environ, "PYTHONPATH": PROJECT}
    return subprocess.Popen(
        [sys.executable, "-m", "client.cli", *arguments], env=environment, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def seconds(action: Any) -> float:
    """How long it takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began
