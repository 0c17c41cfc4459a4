"""The native launcher on a real kernel: networks made ahead, and what a monitor keeps of it."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import subprocess
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from isolation.cgroups.root import find_root
from isolation.cgroups.tree import CgroupTree
from isolation.errors import NetworkError
from runner import native_program, records
from runner.handles import Handles
from runner.jobdirs import JobDirectories
from runner.native_jobs import native_fields
from tests.kernel.harness import wait_until
from tests.kernel.monitors import output
from tests.kernel.test_native_payload import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 30
READY = 4
LOOK = b"readlink /proc/self/ns/net; cat /sys/class/net/*/uevent /sys/class/net/*/flags; echo end"


class Answer(NamedTuple):
    """What a request is answered with."""

    fields: dict[str, Any]
    pidfd: int


class Bench:
    """A launcher, and jobs that it starts. Everything is removed at the end."""

    def __init__(self, directory: Path, program: str) -> None:
        root = os.path.join(find_root().mount, f"test-{uuid.uuid4()}")
        self._opened = ExitStack()
        self._tree = CgroupTree(root)
        self._tree.prepare(())
        self._opened.callback(os.rmdir, root)
        self.directories = JobDirectories(str(directory))
        self._opened.callback(self.directories.close)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(SECONDS)
        with theirs:
            self.process = subprocess.Popen(
                [program, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd="/"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        assert self.process.wait(SECONDS) == 0
        self._opened.close()

    def send(self, job: dict[str, Any], *, own_network: bool) -> str:
        """Ask for a job; its id."""
        job_id = str(uuid.uuid4())
        files = self.directories.create(job_id, records.pack({**job, "job": job_id}))
        cgroup = self._tree.create_job(job_id)
        self._opened.callback(cgroup.remove)
        fds = cgroup.open_fds()
        handles = Handles(*files, *fds)
        request = {
            "seq": 1, "kind": records.LAUNCH_MONITOR, "job": job_id, "files": {}, "ids": None,
            "handles": list(handles.present()),
            "native": native_fields(job, own_network=own_network), "sync_begin": False,
        }  # fmt: skip
        rights = array.array("i", handles.present().values())
        self._socket.sendmsg(
            [records.pack(request)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        )
        files.close()
        fds.close()
        return job_id

    def receive(self) -> Answer:
        data, received, _, _ = socket.recv_fds(self._socket, 4096, 1)
        return Answer(records.unpack(data), received[0] if received else -1)

    def end(self, answer: Answer) -> None:
        """Wait for the end of a monitor."""
        with open(answer.pidfd, "rb"):
            assert select.select([answer.pidfd], [], [], SECONDS)[0]

    def run(self, job: dict[str, Any], *, own_network: bool = True) -> list[str]:
        """What a job's command wrote."""
        job_id = self.send(job, own_network=own_network)
        self.end(self.receive())
        return self.output(job_id)

    def output(self, job_id: str) -> list[str]:
        return output(self.directories.log_path(job_id))[1].decode().splitlines()

    def networks(self) -> list[str]:
        """What it holds of them."""
        directory = f"/proc/{self.process.pid}/fd"
        links = [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]
        return [link for link in links if link.startswith("net:")]

    def is_full(self) -> bool:
        # Beside its own way back.
        return len(self.networks()) == READY + 1


def held_processes(pid: int) -> list[int]:
    """Those of which a process has a pidfd: proc(5), fdinfo."""
    held = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        # Others come and go.
        with suppress(FileNotFoundError):
            lines = path.read_text().splitlines()
            held += [int(line.split()[1]) for line in lines if line.startswith("Pid:")]
    return held


@pytest.fixture(scope="module")
def program() -> str:
    native_program.check(native_program.PATH)
    return native_program.PATH


@pytest.fixture
def bench(tmp_path: Path, program: str) -> Iterator[Bench]:
    with Bench(tmp_path, program) as made:
        yield made


@pytest.fixture
def look() -> Callable[[str], dict[str, Any]]:
    """A job that says which network it is in."""
    environment = {b"PATH": b"/usr/bin:/bin"}
    return lambda network: spec("/bin/sh", "-c", LOOK, env=environment, network=network)


def test_networks_are_made_while_nobody_asks_and_no_more_than_there_is_room_for(
    bench: Bench,
) -> None:
    wait_until(bench.is_full)
    assert len(set(bench.networks())) == READY + 1


def test_a_launcher_is_never_found_in_a_network_but_the_hosts(bench: Bench) -> None:
    home = os.readlink("/proc/self/ns/net")
    wait_until(bench.is_full)
    assert os.readlink(f"/proc/{bench.process.pid}/ns/net") == home


def test_each_job_has_a_network_of_its_own_with_a_loopback_that_is_up_and_nothing_else(
    bench: Bench, look: Callable[[str], dict[str, Any]]
) -> None:
    home = os.readlink("/proc/self/ns/net")
    seen = []
    for _ in range(2 * READY):
        network, *names, flags, end = bench.run(look("none"))
        assert (names, int(flags, 16) & 1, end) == (["INTERFACE=lo", "IFINDEX=1"], 1, "end")
        seen.append(network)
    assert home not in seen
    wait_until(bench.is_full)


def test_a_burst_of_jobs_takes_all_that_are_ready_and_the_rest_are_made_at_once(
    bench: Bench, look: Callable[[str], dict[str, Any]]
) -> None:
    wait_until(bench.is_full)
    jobs = [bench.send(look("none"), own_network=True) for _ in range(3 * READY)]
    answers = [bench.receive() for _ in jobs]
    for answer in answers:
        bench.end(answer)
    networks = {bench.output(job)[0] for job in jobs}
    # All at once: none was made again under the number of one that is gone.
    assert os.readlink("/proc/self/ns/net") not in networks
    wait_until(bench.is_full)


def test_a_job_of_the_hosts_network_has_it_whatever_was_made_before(
    bench: Bench, look: Callable[[str], dict[str, Any]]
) -> None:
    home = os.readlink("/proc/self/ns/net")
    for _ in range(3):
        assert bench.run(look("none"))[0] != home
        assert bench.run(look("host"), own_network=False)[0] == home


def test_a_job_without_a_network_that_was_to_have_one_does_not_run(
    bench: Bench, look: Callable[[str], dict[str, Any]]
) -> None:
    job = bench.send(look("none"), own_network=False)
    bench.end(bench.receive())
    record = bench.directories.read_exit(job)
    assert record is not None
    assert record["reason"] == "lost"
    assert "network does not fit its launch" in record["detail"]


def test_no_more_networks_than_the_host_allows_are_asked_for_again_and_again(
    bench: Bench, look: Callable[[str], dict[str, Any]]
) -> None:
    wait_until(bench.is_full)
    with open("/proc/sys/user/max_net_namespaces", "r+", encoding="ascii") as file:
        most = file.read()
        file.seek(0)
        file.write("0")
        file.flush()
        try:
            for _ in range(READY):
                bench.run(look("none"))
            refused = [bench.send(look("none"), own_network=True) for _ in range(3)]
            texts = {bench.receive().fields["text"] for _ in refused}
        finally:
            file.seek(0)
            file.write(most)
    assert texts == {str(NetworkError(errno.ENOSPC, "unshare(CLONE_NEWNET)"))}
    assert len(bench.run(look("none"))) > 1
    wait_until(bench.is_full)


def test_a_monitor_keeps_nothing_of_the_launcher_but_what_is_the_jobs(bench: Bench) -> None:
    wait_until(bench.is_full)
    sleeper = spec("/bin/sleep", "100", network="none")
    bench.send(sleeper, own_network=True)
    answer = bench.receive()
    pid = answer.fields["pid"]

    def kept() -> list[str]:
        directory = f"/proc/{pid}/fd"
        return [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]

    # Once its payload is forked not even the network is.
    wait_until(lambda: not any(link.startswith("net:") for link in kept()))
    assert not [link for link in kept() if link.startswith("socket:")]
    # Whether runnerd, whose part is played here, still lives.
    assert held_processes(pid) == [os.getpid()]
    assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    os.kill(pid, 9)
    bench.end(answer)
