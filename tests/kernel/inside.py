"""Jobs by the client library, for tests that ask what one sees, does and leaves.

runctl's own start takes longer than such a job; what a user types is tested in test_run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from client import protocol
from client.logstream import LogChunk
from tests.kernel.harness import STATE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.api import Client
    from client.records import JobResult, JobStatus, Limits, Logs, Net, Network, Sandbox
    from tests.kernel.harness import Daemon

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Options(TypedDict, total=False):
    """What else a submission may say: see `Client.submit`."""

    cwd: str
    env: dict[str, str]
    umask: int
    network: Network | None
    net: Net
    limits: Limits
    logs: Logs
    sandbox: Sandbox


class Ended(NamedTuple):
    """A job after its end, with all of its output."""

    status: JobStatus
    stdout: bytes
    stderr: bytes

    @property
    def result(self) -> JobResult:
        assert self.status["result"] is not None
        return self.status["result"]

    @property
    def text(self) -> str:
        """What it said, for an assertion's message and for `in`."""
        return (self.stdout + self.stderr).decode(errors="replace")


def submit(client: Client, *argv: str, user: str = "alice", **options: Unpack[Options]) -> str:
    """Submit as root on behalf of a user; the id."""
    given: Options = {"cwd": "/", "env": {"PATH": PATH}, "umask": 0o022, **options}
    return client.submit(list(argv), user=user, **given)


def output(client: Client, job: str) -> tuple[bytes, bytes]:
    """Everything that was written until the job's end, stdout and stderr."""
    streams: dict[int, list[bytes]] = {protocol.STDOUT: [], protocol.STDERR: []}
    with client.logs(job, follow=True) as log:
        for item in log:
            assert isinstance(item, LogChunk), item
            streams[item.stream].append(item.data)
    return b"".join(streams[protocol.STDOUT]), b"".join(streams[protocol.STDERR])


def run(daemon: Daemon, *argv: str, user: str = "alice", **options: Unpack[Options]) -> Ended:
    """Run a command to its end."""
    with daemon.client() as client:
        job = submit(client, *argv, user=user, **options)
        stdout, stderr = output(client, job)
        return Ended(client.status(job), stdout, stderr)


def run_shell(
    daemon: Daemon, script: str, user: str = "alice", **options: Unpack[Options]
) -> Ended:
    """Run lines of sh to their end."""
    return run(daemon, "sh", "-c", script, user=user, **options)


def run_python(
    daemon: Daemon, program: str, user: str = "alice", **options: Unpack[Options]
) -> Ended:
    """Run a Python program to its end."""
    return run(daemon, *python(program), user=user, **options)


def ask_python(
    daemon: Daemon, program: str, user: str = "alice", **options: Unpack[Options]
) -> Any:
    """What a Python program, run as a job, prints as JSON."""
    ended = run_python(daemon, program, user, **options)
    assert ended.result["exit_status"] == 0, ended.text
    return json.loads(ended.stdout)


def python(program: str) -> list[str]:
    """The command for a Python program; nothing but the standard library."""
    return [sys.executable, "-I", "-S", "-c", program]


def wait_for_output(client: Client, job: str, wanted: bytes) -> None:
    """Return when the job has written this much and no more is on its way to us."""
    with client.logs(job, follow=True) as log:
        seen = b""
        for item in log:
            assert isinstance(item, LogChunk), item
            seen += item.data
            if wanted in seen:
                return
    raise AssertionError(f"the job ended without {wanted!r}: {seen!r}")


def payload_cgroup(daemon: Daemon, job: str) -> str:
    """Where the processes of a job are."""
    return f"{daemon.cgroup_root}/job-{job}/payload"


def pids(cgroup: str) -> list[int]:
    """The processes in a cgroup, as the host numbers them; none when there is no such cgroup."""
    try:
        with open(f"{cgroup}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file]
    except FileNotFoundError:
        return []


def wait_for_pids(cgroup: str, count: int) -> list[int]:
    """The processes of a cgroup as soon as there are so many."""
    found: list[int] = []

    def look() -> bool:
        found[:] = pids(cgroup)
        return len(found) == count

    wait_until(look, explain=lambda: found)
    return found


def wait_for_command(daemon: Daemon, job: str, name: str, other_than: int = 0) -> int:
    """The host's number of a job's process, once it executes what it was asked to."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [
            pid
            for pid in pids(payload_cgroup(daemon, job))
            if pid != other_than and command_name(pid) == name
        ]
        return bool(found)

    wait_until(look)
    return found[0]


def command_name(pid: int) -> str:
    """What a process calls itself; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
            return file.read().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):  # ESRCH when it ends between open and read
        return ""


def is_alive(pid: int) -> bool:
    """Whether the host has this process; a zombie has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def status_fields(text: str) -> dict[str, str]:
    """The lines of a /proc/PID/status (proc(5))."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def job_cgroups(daemon: Daemon) -> list[str]:
    """The cgroups of jobs that there are."""
    return [name for name in os.listdir(daemon.cgroup_root) if name.startswith("job-")]


def on_host(*command: str) -> str:
    """What a program says outside of every job, run as root; it must succeed."""
    program = shutil.which(command[0]) or command[0]
    return subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=True
    ).stdout


@contextmanager
def directory_on_disk(owner: int) -> Iterator[str]:
    """A directory of a user's on the guest's ext4 disk."""
    path = f"{STATE}/of-a-user"
    os.mkdir(path)
    os.chown(path, owner, owner)
    try:
        yield path
    finally:
        shutil.rmtree(path)
