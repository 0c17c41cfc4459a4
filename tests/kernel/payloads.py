"""Runs one spec through both payloads, the Python one and the native one, without a daemon.

Each as the child of a pid 1 of its own, in the same cgroup, with descriptors of the same kinds.
What the command wrote, the report of the set-up and the wait status come back.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from isolation.network.loopback import make_namespace
from isolation.payload import SetupFailure, parse_report
from runner import records
from runner.native_jobs import is_plain, native_fields
from tests.kernel.harness import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

JOB = "00000000-0000-4000-8000-000000000001"
ALICE = 4001
GROUPS = [4001, 50]

_NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NATIVE = os.path.join(PROJECT, "runner", "native")
_DRIVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "payload_driver.c")

# What payload_driver.c does, for the other payload: in words of runner.run_loop.
_PYTHON = """
import os, signal, sys
from isolation import payload, syscalls
from isolation.payload import Command, Setup, Streams
from isolation.syscalls import CloneFlags
from runner import records
directory, cgroup, output, *entered = map(int, sys.argv[1:])
seccomp, network = (None if number < 0 else number for number in entered)
spec = records.read(directory, "spec", 1 << 20)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
pid, _ = syscalls.clone3(CloneFlags.NEWPID, cgroup, signal.SIGCHLD)
if pid:
    os._exit(os.waitpid(pid, 0)[1] != 0)
read, write = os.pipe2(os.O_CLOEXEC)
null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
pid, _ = syscalls.clone3(CloneFlags(0), cgroup, signal.SIGCHLD)
if pid == 0:
    names = ("argv", "env", "cwd", "umask", "uid", "gid", "groups")
    limits = spec["limits"]
    setup = Setup(
        network, None, None, seccomp, spec["sandbox"], limits.get("scratch_max_bytes"),
        limits.get("rlimits", {}), {}, None,
    )
    streams = Streams(null, output, output, write)
    payload.execute(Command(*(spec[name] for name in names)), streams, setup)
os.close(write)
report = b""
while data := os.read(read, 4096):
    report += data
_, status = os.waitpid(pid, 0)
print(report.hex(), status, flush=True)
os._exit(0)
"""


class Ran(NamedTuple):
    """How one run went. `report` None: the command was executed."""

    output: str
    report: SetupFailure | None
    status: int


class Payloads:
    """Both of them, in one cgroup. `directory` is the job's, root's alone; it is written to."""

    def __init__(self, directory: Path, cgroup: str) -> None:
        self._directory = directory
        self._cgroup = cgroup
        self._driver = str(directory / "driver")
        _compile(self._driver)

    def both(
        self, spec: dict[str, Any], program: bytes | None = None, before: tuple[str, ...] = ()
    ) -> tuple[Ran, Ran]:
        """Python's and the native one's. `before` is a command that executes the two."""
        assert is_plain(spec)
        (self._directory / "spec").write_bytes(records.pack(spec))
        python = [*before, sys.executable, "-c", _PYTHON]
        return self._run(python, spec, program), self._run([*before, self._driver], spec, program)

    def _run(self, command: list[str], spec: dict[str, Any], program: bytes | None) -> Ran:
        opened = [
            os.open(self._directory, os.O_RDONLY),
            os.open(self._cgroup, os.O_RDONLY),
            os.open(self._directory / "output", _NEW, 0o600),
        ]
        os.fchown(opened[-1], spec["uid"], spec["gid"])
        entered = [
            -1 if program is None else _file_of(program),
            -1 if spec["network"] == "host" else make_namespace(),
        ]
        try:
            said = _call(command, _request(spec, entered), [*opened, *entered])
            return _ran(said, os.pread(opened[-1], 1 << 22, 0))
        finally:
            for fd in (*opened, *(fd for fd in entered if fd >= 0)):
                os.close(fd)


def _compile(driver: str) -> None:
    names = sorted(name for name in os.listdir(_NATIVE) if name.endswith(".c"))
    # The program's own main is there.
    sources = [os.path.join(_NATIVE, name) for name in names if name != "launch.c"]
    sources.append(os.path.join(PROJECT, "client", "native", "pack.c"))
    flags = ["-std=gnu11", "-O2", "-static", "-I", _NATIVE]
    command = [os.environ.get("CC", "cc"), *flags, _DRIVER, *sources, "-lm", "-o", driver]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _file_of(program: bytes) -> int:
    fd = os.memfd_create("program", os.MFD_CLOEXEC)
    os.write(fd, program)
    return fd


def _request(spec: dict[str, Any], entered: list[int]) -> bytes:
    names = ["job_dir", "log_dir", "control", "job_cgroup", "monitor_cgroup", "payload_cgroup"]
    present = zip(("seccomp", "network"), entered, strict=True)
    return records.pack({
        "seq": 1, "kind": "monitor", "job": JOB, "files": {}, "ids": None,
        "handles": [*names, *(name for name, fd in present if fd >= 0)],
        "native": native_fields(spec, own_network=False), "sync_begin": True,
    })  # fmt: skip


def _call(command: list[str], request: bytes, fds: list[int]) -> bytes:
    done = subprocess.run(
        [*command, *map(str, fds)],
        input=request, capture_output=True, check=False, cwd=PROJECT, timeout=60,
        pass_fds=[fd for fd in fds if fd >= 0],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ran(said: bytes, output: bytes) -> Ran:
    report, status = said.split(b" ")
    return Ran(
        output.decode("utf-8", "backslashreplace"),
        parse_report(bytes.fromhex(report.decode())),
        int(status),
    )


# What differs from one run to the next, and means nothing


def settled(text: str) -> str:
    """An observation without what no two jobs have in common: ids of mounts and processes."""
    mounts = re.compile(r"^(\d+) (\d+) (\d+:\d+) ", re.MULTILINE)
    text = mounts.sub(_Numbers().mount, text)
    # Its links count the processes of the whole machine.
    text = re.sub(r"^(d\S+) +\d+ (.* /proc)$", r"\1 \2", text, flags=re.MULTILINE)
    return re.sub(_PASSING, "", text, flags=re.MULTILINE)


_PASSING = r"^(Pid|PPid|Tgid|Ngid|NStgid|NSpid|NSpgid|Vm|Rss|Hugetlb|.*ctxt_switches|TracerPid).*\n"


class _Numbers:
    """Numbers in the order in which they are first seen, which is that of their making."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def mount(self, found: re.Match[str]) -> str:
        """The beginning of a line of mountinfo: its id, its parent's, its device."""
        shown = [self._of("mount " + found[1]), self._of("mount " + found[2]), self._of(found[3])]
        return "{} {} {} ".format(*shown)

    def _of(self, name: str) -> int:
        return self._seen.setdefault(name, len(self._seen))
