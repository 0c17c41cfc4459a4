"""When an exit record waits for the disk: the monitor in C and the one in Python, in turn.

While runnerd lives it does not: runnerd's own commit does. Syncs are counted, not made.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Final

import pytest

from runner import daemon_watch, monitor, records
from runner.handles import Handles
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    # How often was synced before the record had its name, and after.
    Write = Callable[[int | None], tuple[int, int]]
    Ask = Callable[..., str]

SYNCED: Final = (1, 1)
UNSYNCED: Final = (0, 0)
SOURCES: Final = ("daemon", "outcome", "usage", "pack", "failure")


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, str]:
    """The directory of a job, and one in the place of its cgroups."""
    for name in ("job", "cgroup"):
        (tmp_path / name).mkdir()
    return str(tmp_path / "job"), str(tmp_path / "cgroup")


@pytest.fixture
def native(driver: Callable[..., str], places: tuple[str, str]) -> Iterator[Write]:
    with Driver(driver("record", *SOURCES), places) as process:

        def write(pid: int | None) -> tuple[int, int]:
            error, *counts = map(int, process.ask(str(pid or 0).encode()).split())
            assert error == 0
            return counts[0], counts[1]

        yield write


@pytest.fixture
def python(places: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    with ExitStack() as opened:
        job_dir, cgroup = (os.open(path, os.O_RDONLY) for path in places)
        for fd in (job_dir, cgroup):
            opened.callback(os.close, fd)
        handles = Handles(job_dir, job_dir, job_dir, cgroup, cgroup, cgroup)
        counts = [0, 0]

        def count(_fd: int) -> None:
            counts[os.path.exists(f"{places[0]}/{records.EXIT}")] += 1

        def write(pid: int | None) -> tuple[int, int]:
            daemon = None if pid is None else os.pidfd_open(pid)
            counts[:] = [0, 0]
            is_synced = not daemon_watch.lives(daemon)
            monitor._write_exit(handles, {"job": "job"}, is_synced=is_synced)
            if daemon is not None:
                os.close(daemon)
            return counts[0], counts[1]

        monkeypatch.setattr(os, "fsync", count)
        yield write


@pytest.fixture(params=["native", "python"])
def write(request: pytest.FixtureRequest) -> Write:
    found: Write = request.getfixturevalue(request.param)
    return found


def test_nothing_is_synced_while_runnerd_lives(write: Write, places: tuple[str, str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as daemon:
        assert write(daemon.pid) == UNSYNCED
        daemon.communicate()
    with open(f"{places[0]}/{records.EXIT}", "rb") as file:
        assert records.unpack(file.read())["job"] == "job"


def test_all_is_synced_where_runnerd_has_died_even_unreaped(write: Write) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as daemon:
        daemon.kill()
        os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
        assert write(daemon.pid) == SYNCED


def test_all_is_synced_where_nobody_knows(write: Write) -> None:
    assert write(None) == SYNCED


# --- who runnerd is ---

WATCH: Final = (
    "import socket, sys; from runner.daemon_watch import lives, watch;"
    " print(int(lives(watch(socket.socket(fileno=0)))))"
)


def asked_natively(
    driver: Callable[..., str], channel: IO[bytes] | socket.socket, *before: str
) -> str:
    """Whether a launcher with this channel would know that runnerd lives."""
    program = driver("watch", "daemon")
    done = subprocess.run(
        [*before, program], stdin=channel.fileno(), capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def asked_in_python(_driver: object, channel: IO[bytes] | socket.socket, *before: str) -> str:
    command = [*before, sys.executable, "-c", WATCH]
    done = subprocess.run(command, stdin=channel.fileno(), capture_output=True, check=True)
    return done.stdout.decode().strip()


ASKS: Final = [asked_natively, asked_in_python]


@pytest.mark.parametrize("ask", ASKS)
def test_it_is_the_parent_that_made_the_channel(driver: Callable[..., str], ask: Ask) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert ask(driver, theirs) == "1"


@pytest.mark.parametrize("ask", ASKS)
def test_a_parent_that_did_not_make_it_is_not(driver: Callable[..., str], ask: Ask) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        # The shell waits, and is the parent.
        assert ask(driver, theirs, "/bin/sh", "-c", '"$@"; exit $?', "sh") == "0"


@pytest.mark.parametrize("ask", ASKS)
def test_nor_is_anybody_where_there_is_no_socket(driver: Callable[..., str], ask: Ask) -> None:
    with open(os.devnull, "rb") as file:
        if ask is asked_natively:
            assert ask(driver, file) == "0"
        else:
            with pytest.raises(subprocess.CalledProcessError):
                ask(driver, file)
