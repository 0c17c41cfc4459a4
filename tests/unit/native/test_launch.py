"""The native launcher from its other end, with the sanitizers: it refuses, answers, and ends.

As tests/unit/runner/test_launcher_client.py has it of the Python one. Launches that succeed need
root and a cgroup: tests/kernel. Here clone3(2) is refused, which the launcher answers.
"""

from __future__ import annotations

import array
import errno
import os
import resource
import select
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from isolation.errors import NetworkError
from runner import native_jobs, records
from tests.unit.native.test_job import HANDLES, NEEDED, native, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECONDS: Final = 20
SOURCES: Final = os.path.join(os.path.dirname(__file__), "..", "..", "..", "runner", "native")


class Launcher:
    """A launcher process and our end of its socket. `user` None: our own."""

    def __init__(self, program: str, user: int | None = None) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(SECONDS)
        # By its descriptor: the directory of the tests is closed to another user.
        with theirs, open(program, "rb") as file:
            fds = [theirs.fileno(), file.fileno()]
            self.process = subprocess.Popen(
                [f"/proc/self/fd/{fds[1]}", str(fds[0])],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                user=user,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        assert self.process.wait(SECONDS) == 0

    def send(self, data: bytes, fds: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self.socket.sendmsg([data], rights if fds else [])

    def answer(self) -> dict[str, Any]:
        data, fds, _, _ = socket.recv_fds(self.socket, 8192, 1)
        assert not fds
        return records.unpack(data)

    def ask(self, fields: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        self.send(records.pack(fields), fds)
        return self.answer()


@pytest.fixture(scope="module")
def program(driver: Callable[..., str]) -> str:
    launcher = sorted(name[:-2] for name in os.listdir(SOURCES) if name.endswith(".c"))
    return driver("launch", *launcher, "pack")


@pytest.fixture
def launcher(program: str) -> Iterator[Launcher]:
    with Launcher(program) as running:
        yield running


@pytest.fixture
def fds() -> Iterator[list[int]]:
    """As many descriptors as a launch carries, of no use to it."""
    opened = [os.open("/", os.O_RDONLY) for _ in HANDLES]
    yield opened
    for fd in opened:
        os.close(fd)


def ended(running: Launcher) -> int:
    """The status of one that has come to its end by itself."""
    with suppress(ConnectionResetError):
        assert running.socket.recv(1) == b""
    status = running.process.wait(SECONDS)
    running.process.returncode = 0
    return status


def test_it_says_its_version_which_is_the_one_that_runnerd_asks_for(program: str) -> None:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{native_jobs.VERSION}\n", "")


@pytest.mark.parametrize("arguments", [[], [""], ["x"], ["-1"], ["3x"], ["3", "4"], ["9" * 20]])
def test_it_runs_with_nothing_but_a_socket(program: str, arguments: list[str]) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_it_ends_at_once_where_there_is_no_socket(program: str) -> None:
    with open("/dev/null", "rb") as file:
        fd = file.fileno()
        done = subprocess.run([program, str(fd)], pass_fds=[fd], check=False, timeout=SECONDS)
    assert done.returncode == 1


def test_a_launch_that_the_kernel_refuses_says_which_call_failed_and_why(
    launcher: Launcher, fds: list[int]
) -> None:
    answer = launcher.ask(request(seq=9), fds)
    number = answer.pop("errno")
    # EPERM without root, EBADF or EINVAL for no cgroup
    assert number in {errno.EPERM, errno.EBADF, errno.EINVAL}
    assert answer == {
        "version": 1,
        "seq": 9,
        "kind": "monitor",
        "text": f"{os.strerror(number)} (clone3(flags=0x220001000))",
    }


def test_it_lives_through_launches_that_fail_and_answers_each_in_turn(
    launcher: Launcher, fds: list[int]
) -> None:
    for seq in range(1, 11):
        launcher.send(records.pack(request(seq=seq)), fds)
    assert [launcher.answer()["seq"] for _ in range(10)] == list(range(1, 11))


@pytest.mark.parametrize("fields", [request(more=1), request(kind="exec"), request(job="")])
def test_a_request_that_it_does_not_know_is_answered_and_no_end_of_it(
    launcher: Launcher, fds: list[int], fields: dict[str, Any]
) -> None:
    answer = launcher.ask(fields, fds)
    assert (answer["seq"], answer["errno"]) == (7, errno.EBADMSG)
    assert "not of one version" in answer["text"]
    assert "clone3" in launcher.ask(request(), fds)["text"]


@pytest.mark.parametrize("data", [b"\0", b"\x80", records.pack({"seq": 0}), b"x" * 8192])
def test_bytes_that_are_nobodys_request_end_it(program: str, data: bytes) -> None:
    with Launcher(program) as running:
        running.send(data, [])
        assert ended(running) == 1


def test_a_message_that_is_too_long_ends_it_for_who_asked_is_not_known(program: str) -> None:
    with Launcher(program) as running:
        running.send(records.pack(request(job="x" * 9000)), [])
        assert ended(running) == 1


def test_more_descriptors_than_a_launch_has_are_refused(launcher: Launcher, fds: list[int]) -> None:
    for count in (0, 5, 9, 16, 17, 100):
        answer = launcher.ask(request(handles=list(HANDLES)), [fds[0]] * count)
        assert answer["errno"] == errno.EBADMSG


@pytest.mark.parametrize("seq", [7, 0])
@pytest.mark.parametrize("count", [len(HANDLES), 1, 16, 50])
def test_it_keeps_no_descriptor_of_a_launch_that_failed(program: str, seq: int, count: int) -> None:
    with Launcher(program) as running:
        ours, theirs = os.pipe()
        running.send(records.pack(request(seq=seq)), [theirs] * count)
        os.close(theirs)
        if seq:
            running.answer()
        else:
            assert ended(running) == 1
        with open(ours, "rb") as pipe:
            assert select.select([pipe], [], [], SECONDS)[0]
            assert pipe.read() == b""


def test_it_ends_with_runnerd_even_where_an_answer_is_unread(program: str, fds: list[int]) -> None:
    with Launcher(program) as running:
        for _ in range(3):
            running.send(records.pack(request()), fds)
        select.select([running.socket], [], [], SECONDS)


def test_an_interrupt_at_the_terminal_is_not_meant_for_it(
    launcher: Launcher, fds: list[int]
) -> None:
    launcher.ask(request(), fds)
    launcher.process.send_signal(signal.SIGINT)
    assert "clone3" in launcher.ask(request(), fds)["text"]


def test_being_stopped_and_continued_harms_no_request(launcher: Launcher, fds: list[int]) -> None:
    for _ in range(20):
        launcher.process.send_signal(signal.SIGSTOP)
        launcher.send(records.pack(request()), fds)
        launcher.process.send_signal(signal.SIGCONT)
        assert "clone3" in launcher.answer()["text"]


def status_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def test_it_is_one_thread_with_the_name_and_the_signals_of_the_python_one(
    launcher: Launcher, fds: list[int]
) -> None:
    launcher.ask(request(), fds)
    status = status_of(launcher.process.pid)
    assert (status["Name"], status["Threads"]) == ("runnerd-launch", "1")
    for number in (signal.SIGCHLD, signal.SIGINT):
        assert int(status["SigIgn"], 16) & 1 << (number - 1)


def test_its_jobs_inherit_the_usual_number_of_descriptors(
    launcher: Launcher, fds: list[int]
) -> None:
    launcher.ask(request(), fds)
    limits = resource.prlimit(launcher.process.pid, resource.RLIMIT_NOFILE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limits == (min(1024, hard) if hard != resource.RLIM_INFINITY else 1024, hard)


def nobody() -> int | None:
    """An ordinary user: nobody(7) for root, who else is one already."""
    return 65534 if os.geteuid() == 0 else None


def test_not_even_its_own_user_may_look_into_it(program: str, fds: list[int]) -> None:
    with Launcher(program, nobody()) as running:
        running.ask(request(), fds)
        # proc(5): the owner of what is not dumpable is root.
        assert os.stat(f"/proc/{running.process.pid}/environ").st_uid == 0


def test_a_network_that_cannot_be_made_is_told_in_the_words_of_the_python_one(
    program: str, fds: list[int]
) -> None:
    asked = request(handles=list(NEEDED), native=native(own_network=True))
    with Launcher(program, nobody()) as running:
        for _ in range(3):
            answer = running.ask(asked, fds[: len(NEEDED)])
            assert answer["errno"] == errno.EPERM
            assert answer["text"] == str(NetworkError(errno.EPERM, "unshare(CLONE_NEWNET)"))
