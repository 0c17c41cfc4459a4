"""Whether runnerd lives, asked by processes of its own and by those of somebody else.

What the native launcher makes of the same is compared in tests/unit/native/test_record.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runner.daemon_watch import lives, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PROJECT: Final = Path(__file__).parents[3]

# Says whether it has a pidfd, whose, and for each line that it reads whether that process lives.
LAUNCHER: Final = """
import os, socket, sys
from runner.daemon_watch import lives, watch
pidfd = watch(socket.socket(fileno=int(sys.argv[1])))
print(pidfd is not None, pidfd is None or not os.get_inheritable(pidfd), flush=True)
for _ in sys.stdin:
    print(lives(pidfd), flush=True)
"""
# Starts a launcher with the channel that it is given, or with one of its own.
RUNNERD: Final = """
import signal, socket, subprocess, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
number = int(sys.argv[2]) if len(sys.argv) > 2 else theirs.fileno()
subprocess.Popen([sys.executable, "-c", sys.argv[1], str(number)], pass_fds=[number])
signal.pause()
"""


class Family:
    """A runnerd with its launcher, whom the test asks."""

    def __init__(self, runnerd: subprocess.Popen[str]) -> None:
        self.runnerd = runnerd

    def heard(self) -> list[bool]:
        """What the launcher says next."""
        assert self.runnerd.stdout is not None
        return [word == "True" for word in self.runnerd.stdout.readline().split()]

    def asked(self) -> bool:
        """Whether its runnerd lives."""
        assert self.runnerd.stdin is not None
        print(file=self.runnerd.stdin, flush=True)
        return self.heard() == [True]


@contextmanager
def family(channel: socket.socket | None = None) -> Iterator[Family]:
    numbers = [] if channel is None else [channel.fileno()]
    with subprocess.Popen(
        [sys.executable, "-c", RUNNERD, LAUNCHER, *map(str, numbers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=numbers, cwd=PROJECT,
    ) as runnerd:  # fmt: skip
        yield Family(runnerd)
        runnerd.kill()
        assert runnerd.stdin is not None
        assert runnerd.stdout is not None
        # The launcher has both still: it reads the end, and is gone when we read it.
        runnerd.stdin.close()
        assert runnerd.stdout.read() == ""


def test_a_launcher_knows_that_its_runnerd_lives_and_that_it_was_killed() -> None:
    with family() as made:
        assert made.heard() == [True, True]
        assert made.asked()
        made.runnerd.kill()
        # Ended is enough: nobody has waited for it yet.
        os.waitid(os.P_PID, made.runnerd.pid, os.WEXITED | os.WNOWAIT)
        assert not made.asked()
        made.runnerd.wait()
        assert not made.asked()


def test_a_channel_that_somebody_else_made_tells_of_nobody() -> None:
    """Its parent lives, but is not who would commit the end of a job."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, family(theirs) as made:
        assert made.heard() == [False, True]
        assert not made.asked()


def test_who_is_no_child_of_the_other_end_watches_nothing() -> None:
    before = os.listdir("/proc/self/fd")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert watch(ours) is None
    assert os.listdir("/proc/self/fd") == before
    assert not lives(None)


def test_a_parent_that_changes_in_between_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind pidfd_open(2) the number may be another process's: then it is let go of."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # As its own child, until the pidfd is there.
    parents = iter([os.getpid(), os.getpid(), 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    with ours, theirs:
        before = os.listdir("/proc/self/fd")
        assert watch(ours) is None
        assert os.listdir("/proc/self/fd") == before
        monkeypatch.setattr(os, "getppid", os.getpid)
        pidfd = watch(ours)
        assert lives(pidfd)
        assert pidfd is not None
        os.close(pidfd)
