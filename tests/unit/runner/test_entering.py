"""The middle process of an exec: it passes signals on, tells how a command ended, and ends.

What it brings into a job is tested in tests/kernel; here it meets what it cannot enter, and
children of the test's own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from isolation import payload
from runner import entering, records
from runner.entering import Doors

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 20.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    with ours, theirs:
        yield ours, theirs


def child(pid: int) -> entering._Child:
    return entering._Child(pid, os.pidfd_open(pid), -1)


def test_what_it_cannot_enter_is_told_as_a_failure_of_the_set_up(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    request = os.memfd_create("request")
    os.write(request, records.pack({"command": {}, "entry": {}}))
    null = os.open(os.devnull, os.O_RDWR)
    pid = os.fork()
    if pid == 0:
        try:
            entering.main(Doors(request, theirs.fileno(), null, null, null, null))
        finally:
            os._exit(0)
    theirs.close()
    answer = records.unpack(ours.recv(4096))
    assert ours.recv(1) == b""
    assert os.waitpid(pid, 0)[1] == 0
    os.close(request)
    os.close(null)
    assert answer["wait_status"] is None
    failure = payload.parse_report(answer["report"])
    assert failure is not None
    assert failure.step == "enter the job"
    assert failure.errno


def test_signals_are_passed_on_until_the_child_ends(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    script = "trap 'exit 5' USR1; trap : TERM; echo ready; while :; do sleep 0.02; done"
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ours.send(bytes((signal.SIGTERM, signal.SIGUSR1)))
        found = child(process.pid)
        status = entering._see_through(found, theirs.fileno())
        os.close(found.pidfd)
        process.returncode = 0
    assert os.waitstatus_to_exitcode(status) == 5


def test_when_runnerd_hangs_up_the_command_and_what_it_started_are_killed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    with subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo ready; wait"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ours.close()
        found = child(process.pid)
        status = entering._see_through(found, theirs.fileno())
        os.close(found.pidfd)
        process.returncode = 0
        # Its last writer is gone.
        assert process.stdout.read() == b""
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_a_child_that_has_no_session_yet_is_signalled_alone() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        entering._signal(process.pid, signal.SIGKILL)
        assert process.wait(SECONDS) == -signal.SIGKILL
