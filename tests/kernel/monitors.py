"""Runs one spec under both monitors, the Python one and the native one, without a daemon.

Each is asked for by a launch request, as runnerd asks, and gets a directory and cgroups as runnerd
makes them. The exit record and the log come back.
"""

from __future__ import annotations

import array
import os
import select
import socket
import subprocess
import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from isolation.cgroups.tree import CgroupTree, JobCgroup, JobLimits
from isolation.network.loopback import make_namespace
from runner import native_program, records
from runner.handles import Handles
from runner.jobdirs import JobDirectories
from runner.launcher_client import python_command
from runner.logs import format as log_format
from runner.native_jobs import is_plain, native_fields
from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ("python", "native")
SECONDS = 30
_CONTROLLERS = ("cpu", "memory", "pids", "io")


class Ended(NamedTuple):
    """What is left of a job: its exit record, its output by stream, the names in its log."""

    record: dict[str, Any]
    output: dict[int, bytes]
    names: list[str]


class Running:
    """A job that runs: what a test does to it meanwhile."""

    def __init__(
        self, job_id: str, cgroup: JobCgroup, payload_path: str, directories: JobDirectories
    ) -> None:
        self.id, self.cgroup, self.directories = job_id, cgroup, directories
        self.payload_path = payload_path

    def says(self, word: bytes) -> None:
        """Wait until it has written this."""
        wait_until(lambda: word in output(self.directories.log_path(self.id)).get(1, b""))

    def update(self, limits: dict[str, Any]) -> None:
        """Other limits from now on."""
        self.directories.write_limits(self.id, limits)
        self.directories.send(self.id, records.CONTROL_UPDATE)

    def is_frozen(self) -> bool:
        """Whether all of it stands still: cgroup.events."""
        with open(f"{self.payload_path}/cgroup.events", encoding="ascii") as file:
            return "frozen 1" in file.read()


class Monitors:
    """Both launchers, and the places of their jobs below `directory` and the cgroup `root`."""

    def __init__(self, directory: Path, root: str) -> None:
        self._tree = CgroupTree(root)
        self._tree.prepare(_CONTROLLERS)
        self.directories = JobDirectories(str(directory))
        native_program.check(native_program.PATH)
        self._launchers = {
            "python": _Launcher(python_command),
            "native": _Launcher(lambda fd: [native_program.PATH, str(fd)]),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for launcher in self._launchers.values():
            launcher.close()
        self.directories.close()
        os.rmdir(self._tree.root)

    def run(
        self,
        kind: str,
        spec: dict[str, Any],
        meanwhile: Callable[[Running], object] = bool,
        *,
        limits: JobLimits | None = None,
        sync_begin: bool = True,
        before: Callable[[str, str], object] = lambda _directory, _payload_cgroup: None,
    ) -> Ended:
        """One job from its launch to its exit record. `before` may spoil its places."""
        job_id = str(uuid.uuid4())
        fields = {**spec, "job": job_id}
        assert is_plain(fields)
        with ExitStack() as opened:
            files = self.directories.create(job_id, records.pack(fields))
            opened.callback(files.close)
            cgroup = self._tree.create_job(job_id)
            opened.callback(cgroup.remove)
            opened.callback(cgroup.kill)
            cgroup.apply(limits or JobLimits())
            fds = cgroup.open_fds()
            opened.callback(fds.close)
            payload_path = f"{self._tree.root}/job-{job_id}/payload"
            before(os.path.join(self.directories.path, job_id), payload_path)
            network = make_namespace() if spec["network"] == "none" else None
            if network is not None:
                opened.callback(os.close, network)
            handles = Handles(*files, *fds, network=network)
            launcher = self._launchers[kind]
            monitor = launcher.launch(job_id, handles, fields, sync_begin=sync_begin)
            opened.callback(os.close, monitor)
            meanwhile(Running(job_id, cgroup, payload_path, self.directories))
            _wait_for(monitor)
            return self._ended(job_id)

    def _ended(self, job_id: str) -> Ended:
        log = self.directories.log_path(job_id)
        record = self.directories.read_exit(job_id)
        assert record is not None
        return Ended(record, output(log), sorted(os.listdir(log)))


class _Launcher:
    """A launcher process, of either kind, and our end of its socket."""

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                command(fd), pass_fds=[fd], stdin=subprocess.DEVNULL, cwd="/", env={}
            )
        self._socket.settimeout(SECONDS)

    def launch(
        self, job_id: str, handles: Handles, spec: dict[str, Any], *, sync_begin: bool
    ) -> int:
        """A pidfd of the job's monitor."""
        request = {
            "seq": 1, "kind": records.LAUNCH_MONITOR, "job": job_id, "files": {}, "ids": None,
            "handles": list(handles.present()),
            "native": native_fields(spec, own_network=False), "sync_begin": sync_begin,
        }  # fmt: skip
        fds = array.array("i", handles.present().values())
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        self._socket.sendmsg([records.pack(request)], rights)
        data, received, _, _ = socket.recv_fds(self._socket, 4096, 1)
        assert received, records.unpack(data)
        return received[0]

    def close(self) -> None:
        """It ends when nobody is there any more."""
        self._socket.close()
        assert self._process.wait(SECONDS) == 0


def _wait_for(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + SECONDS
    assert poll.poll((deadline - time.monotonic()) * 1000), "the monitor does not end"


def output(log: str) -> dict[int, bytes]:
    """What the log holds, by stream."""
    found: dict[int, list[bytes]] = {}
    starts = sorted(int(name[:-4]) for name in os.listdir(log) if name.endswith(".log"))
    for start in starts:
        names = (log_format.log_name(start), log_format.index_name(start))
        data, index = (_content(f"{log}/{name}") for name in names)
        for record in log_format.visible_records(index, start):
            piece = data[record.offset - start : record.end - start]
            found.setdefault(record.stream, []).append(piece)
    return {stream: b"".join(pieces) for stream, pieces in found.items()}


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
