"""The tour itself: one runnerd, three jobs, every claim checked, everything taken away again.

Runs as root; the jobs are those of an ordinary user. What it shows are the commands that a
reader would type. What it checks, it asks runnerd through the Python client.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from client.api import Client
from client.errors import ClientError
from tour.host import cgroup_root, submitter
from tour.shell import Done, announce, run_as, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.records import JobResult
    from tour.source import Program

BIN = Path(sys.executable).parent
BUILD_MEMORY = 256 << 20
START_SECONDS = 30.0
STOP_SECONDS = 20.0
LOG_LINES = 5
OOM_STATUS = 137


class Unexpected(Exception):  # noqa: N818 - the word for it
    """Something was not as it should be. The text says what."""


class CannotStart(Exception):  # noqa: N818
    """runnerd refused to start here; in its own words."""


class Session:
    """One tour. `work` is an empty directory of root that is removed afterwards."""

    def __init__(self, work: Path, program: Program) -> None:
        self._work = work
        self._program = program
        self._user = submitter(BIN / "runctl")
        self._socket = work / "runnerd.sock"
        self._log = work / "runnerd.log"
        self._cgroup_root = cgroup_root()
        self._controllers = self._controllers_of_all()
        self._build = work / "build"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._pids: list[tuple[int, str]] = []

    def run(self) -> None:
        """Show and check everything. Raises Unexpected or CannotStart; cleans up in any case."""
        # For runctl to pass through; what is secret in it is closed by itself.
        self._work.chmod(0o755)
        try:
            self._start_runnerd()
            self._unpack()
            followed = self._build_it()
            self._try_it()
            self._exceed_memory()
            self._list()
            self._read_log_again(followed)
            self._show_record()
            self._stop_runnerd()
        finally:
            self._clean_up()
        self._prove_nothing_is_left()

    # The steps

    def _start_runnerd(self) -> None:
        say("runnerd starts, with places of its own")
        config = self._work / "config.toml"
        config.write_text(
            f'socket = "{self._socket}"\n'
            f'state_dir = "{self._work}/state"\n'
            f'cgroup_root = "{self._cgroup_root}"\n'
            f'group = "{self._user.group}"\n'
        )
        announce("#", f"cat {config}")
        print(config.read_text(), end="")
        announce("#", f"runnerd --config {config} &")
        with self._log.open("wb") as log:
            # A Ctrl-C is ours first: runnerd is stopped when its jobs are.
            self._daemon = subprocess.Popen(
                [BIN / "runnerd", "--config", config],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._await_runnerd()
        print(self._log.read_text(), end="")

    def _await_runnerd(self) -> None:
        assert self._daemon is not None  # noqa: S101
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._daemon.poll() is not None:
                raise _why_it_ended(self._log.read_text())
            if time.monotonic() > deadline:
                raise Unexpected(f"runnerd does not answer:\n{self._log.read_text()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with Client(str(self._socket)) as client:
                return bool(client.hello()["server"])
        except ClientError:
            return False

    def _unpack(self) -> None:
        user = self._user
        say(f"The program: {self._program.title}")
        print(f"The commands after `$` are those of the user {user.name}, with")
        announce("$", f"export RUNNERD_SOCKET={self._socket}")
        if user.uid == 0:
            print("(No ordinary user can reach this checkout, so root it is.)")
        self._build.mkdir()
        os.chown(self._build, user.uid, user.gid)
        # Only root may read where it was fetched to.
        archive = self._work / Path(self._program.archive).name
        archive.write_bytes(Path(self._program.archive).read_bytes())
        done = self._shell(f"tar -xf {archive} --strip-components=1 --no-same-owner")
        self._expect(done.status == 0, f"tar ended with {done.status}")

    def _build_it(self) -> Done:
        say("It is built as a job with a memory limit; its output comes as it is written")
        done = self._shell("runctl run --name build --mem 256M -- make")
        self._expect(done.status == 0, f"the build ended with {done.status}")
        return done

    def _try_it(self) -> None:
        say("What was built works")
        done = self._shell(
            f"runctl run --name try --mem 64M -- sh -c {shlex.quote(self._program.test)}"
        )
        self._expect(done.status == 0, f"the program that was built failed with {done.status}")

    def _exceed_memory(self) -> None:
        say("A job that wants more memory than it may have")
        done = self._shell("runctl run --name hog --mem 32M -- tail /dev/zero")
        announce("$", "echo $?")
        print(done.status)
        self._expect(done.status == OOM_STATUS, f"it ended with {done.status}, not {OOM_STATUS}")
        self._expect(b"memory limit" in done.stderr, "runctl did not say what ended it")
        result = self._result("hog")
        self._expect(result["reason"] == "oom", f"its reason is {result['reason']}, not oom")
        self._expect(bool(result["oom_kills"]), "no process was killed for memory")

    def _list(self) -> None:
        say("All jobs")
        listed = self._shell("runctl ps -a").stdout.decode()
        for name, state in (("build", "exit 0"), ("try", "exit 0"), ("hog", "oom")):
            found = any(f" {name} " in line and state in line for line in listed.splitlines())
            self._expect(found, f"the job {name} is not listed as {state}")

    def _read_log_again(self, followed: Done) -> None:
        say("The log of the build, read again")
        again = self._shell("runctl logs build", live=False)
        lines = again.stdout.decode(errors="replace").splitlines()
        print(*lines[:LOG_LINES], sep="\n")
        print(f"[and {max(0, len(lines) - LOG_LINES)} more lines, not shown here]")
        same = again.stdout == followed.stdout and again.stderr == followed.stderr
        self._expect(again.status == 0 and same, "the log is not what was followed")
        print("It is byte for byte what came out above, on stdout as on stderr.")

    def _show_record(self) -> None:
        say("What the build was and what it took")
        self._shell("runctl status build")
        result = self._result("build")
        peak, cpu = result["memory_peak_bytes"], result["cpu_usec"]
        self._expect(result["reason"] == "exit", f"its reason is {result['reason']}")
        self._expect(bool(cpu), "no CPU time was recorded")
        # memory.peak came with Linux 5.19.
        if peak is not None:
            self._expect(0 < peak <= BUILD_MEMORY, f"a peak of {peak} bytes is recorded")

    def _stop_runnerd(self) -> None:
        assert self._daemon is not None  # noqa: S101
        say("runnerd ends, and what it made goes")
        self._pids = list(self._our_processes())
        announce("#", f"kill -TERM {self._daemon.pid}")
        before = self._log.stat().st_size
        status = self._end_daemon()
        print(self._log.read_bytes()[before:].decode(), end="")
        self._expect(status == 0, f"runnerd ended with {status}")

    # Means

    def _shell(self, command: str, *, live: bool = True) -> Done:
        """One command line of the user, as typed."""
        announce("$", command)
        environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "RUNNERD_SOCKET": str(self._socket),
            "HOME": str(self._build),
            "LANG": "C.UTF-8",
        }
        words = ["sh", "-c", f"exec {command}"]
        return run_as(self._user, words, environment, self._build, live=live)

    def _result(self, name: str) -> JobResult:
        with Client(str(self._socket)) as client:
            result = client.status(name)["result"]
        if result is None:
            raise Unexpected(f"the job {name} has not ended")
        return result

    @staticmethod
    def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it reads like assert
        if not holds:
            raise Unexpected(f"not as expected: {otherwise}")

    # The end

    def _end_daemon(self) -> int:
        assert self._daemon is not None  # noqa: S101
        self._daemon.send_signal(signal.SIGTERM)
        try:
            return self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            return self._daemon.wait()

    def _clean_up(self) -> None:
        """Take away what may still be there, also when the tour ended in the middle."""
        if self._daemon is not None and self._daemon.poll() is None:
            self._end_daemon()
        deadline = time.monotonic() + STOP_SECONDS
        while os.path.isdir(self._cgroup_root) and time.monotonic() < deadline:
            for directory, _, _ in os.walk(self._cgroup_root, topdown=False):
                _take_away(directory)
        self._restore_controllers()

    def _prove_nothing_is_left(self) -> None:
        alive = [pid for pid, started in self._pids if _start_time(pid) == started]
        self._expect(not alive, f"processes are left: {alive}")
        print(f"No process: runnerd and what it started, {len(self._pids)} in all, are gone.")
        self._expect(not os.path.exists(self._cgroup_root), f"{self._cgroup_root} is still there")
        print(f"No cgroup: {self._cgroup_root} is removed.")

    def _our_processes(self) -> Iterator[tuple[int, str]]:
        """(pid, start time) of runnerd, of its descendants, and of what is in our cgroups."""
        assert self._daemon is not None  # noqa: S101
        pids = {self._daemon.pid}
        for directory, _, _ in os.walk(self._cgroup_root):
            pids.update(map(int, Path(directory, "cgroup.procs").read_text().split()))
        for children in Path(f"/proc/{self._daemon.pid}/task").glob("*/children"):
            pids.update(map(int, children.read_text().split()))
        for pid in sorted(pids):
            if started := _start_time(pid):
                yield pid, started

    def _controllers_of_all(self) -> set[str]:
        path = Path(os.path.dirname(self._cgroup_root), "cgroup.subtree_control")
        return set(path.read_text().split())

    def _restore_controllers(self) -> None:
        """What runnerd enabled at the top of the tree is switched off again."""
        path = Path(os.path.dirname(self._cgroup_root), "cgroup.subtree_control")
        for controller in self._controllers_of_all() - self._controllers:
            try:
                path.write_text(f"-{controller}")
            except OSError as error:
                # Somebody else has begun to use it meanwhile.
                print(f"The {controller} controller stays enabled in {path}: {error.strerror}.")


def _why_it_ended(log: str) -> Exception:
    _, refusal, why = log.rpartition("runnerd: cannot start: ")
    return CannotStart(why.strip().rstrip(".")) if refusal else Unexpected(f"runnerd ended:\n{log}")


def _take_away(cgroup: str) -> None:
    """Kill what is in a cgroup and remove it; the caller tries again while it is busy."""
    try:
        with open(os.path.join(cgroup, "cgroup.kill"), "w", encoding="ascii") as file:
            file.write("1")
        os.rmdir(cgroup)
    except FileNotFoundError:
        return
    except OSError:
        time.sleep(0.05)


def _start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat, which with the pid names one process for good: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]
