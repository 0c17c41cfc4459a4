"""Who is at the other end, and whether it is a job: from sockets and processes that are real."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner.policy import Peer
from runner.server import peers
from runner.server.peers import is_in_a_job, peer_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = "3f2a0000-0000-4000-8000-000000000001"
CLIENT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); input()"


@pytest.fixture
def accepted(tmp_path: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """Our end of a connection, and the process at the other."""
    before = set(os.listdir("/proc/self/fd"))
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CLIENT, path], stdin=subprocess.PIPE
        ) as client:
            ours, _ = listener.accept()
            with ours:
                yield ours, client
            client.communicate()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_the_kernel_says_who_connected(
    accepted: tuple[socket.socket, subprocess.Popen[bytes]],
) -> None:
    ours, client = accepted
    assert peer_of(ours) == Peer(
        uid=os.geteuid(), gid=os.getegid(), pid=client.pid, groups=frozenset(os.getgroups())
    )


def test_what_is_no_socket_of_this_host_has_no_peer() -> None:
    with socket.socket(socket.AF_UNIX) as unconnected, pytest.raises(OSError, match=r"\[Errno"):
        peers.peer_groups(unconnected.fileno())


def test_a_process_outside_of_every_job_is_in_none(
    accepted: tuple[socket.socket, subprocess.Popen[bytes]],
) -> None:
    ours, client = accepted
    assert not is_in_a_job(ours, client.pid)


@pytest.mark.parametrize(
    ("path", "is_job"),
    [
        (f"/job-{JOB}/payload", True),
        (f"/x/runnerd/job-{JOB}/payload/own/deep", True),
        (f"/job-{JOB}", True),
        ("/", False),
        (None, False),
        ("/user.slice/x", False),
        (f"/my-job-{JOB}", False),
        (f"/job-{JOB}0", False),
        ("/job-3f2a", False),
    ],
)
def test_a_job_is_known_by_the_cgroup_that_the_kernel_names(
    accepted: tuple[socket.socket, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    path: str | None,
    *,
    is_job: bool,
) -> None:
    monkeypatch.setattr(peers, "own_cgroup", lambda _text: path)
    ours, client = accepted
    assert is_in_a_job(ours, client.pid) == is_job


def test_a_peer_that_is_gone_is_taken_for_a_job(
    accepted: tuple[socket.socket, subprocess.Popen[bytes]],
) -> None:
    ours, client = accepted
    client.communicate()
    assert is_in_a_job(ours, client.pid)


def test_another_process_that_has_the_number_of_a_peer_that_is_gone_does_not_speak_for_it(
    accepted: tuple[socket.socket, subprocess.Popen[bytes]],
) -> None:
    """The number is that of this process here, which is in no job."""
    ours, client = accepted
    try:
        os.close(ours.getsockopt(socket.SOL_SOCKET, peers._SO_PEERPIDFD))
    except OSError as error:
        pytest.skip(f"needs SO_PEERPIDFD (Linux 6.5): {error}")
    client.communicate()
    assert is_in_a_job(ours, os.getpid())
