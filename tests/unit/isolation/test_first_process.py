"""Which process is the first of a job: by what the kernel says, and never by a number alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from isolation import first_process
from isolation.first_process import FirstProcess, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXECUTES, FORKED = 0x400100, 0x400140
Table = dict[int, tuple[str, str, int]]


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that there really is."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch) -> Callable[[Table], None]:
    """What /proc says: NSpid, the command's name, and the flags of each process."""

    def table(processes: Table) -> None:
        def read(pid: int, name: str) -> bytes:
            if pid not in processes:
                return b""
            numbers, command, flags = processes[pid]
            if name == "status":
                return f"Name:\t{command}\nNSpid:\t{numbers}\nThreads:\t1\n".encode()
            return f"{pid} ({command}) S 1 1 1 0 -1 {flags} 0".encode()

        monkeypatch.setattr(first_process, "_read", read)

    return table


def found(pids: list[int]) -> int | None:
    first = find(lambda: pids)
    if first is None:
        return None
    os.close(first.pidfd)
    return first.pid


def test_it_is_the_second_of_its_namespace_once_it_executes(
    shows: Callable[[Table], None], sleeper: int
) -> None:
    shows({sleeper: (f"{sleeper} 2", "sleep", EXECUTES)})
    assert found([sleeper]) == sleeper
    assert found([]) is None


@pytest.mark.parametrize(
    "numbers", ["{}", "{} 1", "{} 3", "{} 22", "{} 7 2", "{} 2 2", "", "{} 2 1"]
)
def test_it_is_no_other_process_and_none_of_a_namespace_that_the_job_made(
    shows: Callable[[Table], None], sleeper: int, numbers: str
) -> None:
    shows({sleeper: (numbers.format(sleeper), "sleep", EXECUTES)})
    assert found([sleeper]) is None


def test_it_is_none_before_it_executes_because_it_is_half_on_the_host(
    shows: Callable[[Table], None], sleeper: int
) -> None:
    shows({sleeper: (f"{sleeper} 2", "runnerd-monitor", FORKED)})
    assert found([sleeper]) is None


def test_a_name_that_looks_like_the_rest_of_the_line_hides_nothing(
    shows: Callable[[Table], None], sleeper: int
) -> None:
    shows({sleeper: (f"{sleeper} 2", f"x) S 1 1 1 0 -1 {EXECUTES} 0 (", FORKED)})
    assert found([sleeper]) is None


def test_one_that_leaves_the_job_while_it_is_opened_is_not_taken(
    shows: Callable[[Table], None], sleeper: int
) -> None:
    shows({sleeper: (f"{sleeper} 2", "sleep", EXECUTES)})
    listings = iter([[sleeper], []])
    before = len(os.listdir("/proc/self/fd"))
    assert find(lambda: next(listings)) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_kernel_tells_a_fork_from_a_process_that_executes(sleeper: int) -> None:
    """The flag is where it is looked for: field 9 of stat, here without a namespace."""
    program = (
        "import os, sys; pid = os.fork() or (os.pipe(), os.read(0, 1), os._exit(0));"
        "print(pid, flush=True); os.waitpid(pid, 0)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        flags = {
            pid: int(first_process._read(pid, "stat").rpartition(b")")[2].split()[6])
            for pid in (fork, process.pid, sleeper)
        }
        process.kill()
    assert [bool(flags[pid] & 0x40) for pid in (fork, process.pid, sleeper)] == [True, False, False]


def test_whether_it_has_ended_is_known_by_its_pidfd() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        first = FirstProcess(process.pid, os.pidfd_open(process.pid))
        try:
            assert not first.has_ended()
            process.kill()
            process.wait()
            assert first.has_ended()
            with pytest.raises((ProcessLookupError, FileNotFoundError)):
                first_process.open_user_namespace(first)
        finally:
            os.close(first.pidfd)


def test_a_process_of_our_own_user_namespace_has_none_of_a_job(sleeper: int) -> None:
    first = FirstProcess(sleeper, os.pidfd_open(sleeper))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        first_process.open_user_namespace(first)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(first.pidfd)
