"""Limits of processes that run: each one's, what they had, and those that are gone."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner import process_limits
from runner.process_limits import are_set_up, change, limits_of, put_back

if TYPE_CHECKING:
    from collections.abc import Iterator

Process = subprocess.Popen[bytes]


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started = [
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(3)
    ]
    yield started
    for process in started:
        process.communicate()


def limit(process: Process) -> tuple[int, int]:
    return resource.prlimit(process.pid, resource.RLIMIT_CORE)


def lower(process: Process) -> tuple[int, int]:
    _, hard = limit(process)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    return 0, wanted


def test_every_process_is_changed_those_too_that_appear_meanwhile(
    processes: list[Process],
) -> None:
    wanted = lower(processes[0])
    answers = [[processes[0].pid], [p.pid for p in processes[:2]], [p.pid for p in processes]]
    asked = iter([*answers, answers[-1]])
    change(lambda: next(asked), {"core": wanted})
    assert [limit(process) for process in processes] == [wanted] * 3
    assert next(asked, None) is None
    assert limits_of(processes[0].pid, ["core"]) == {"core": wanted}


def test_what_they_had_is_put_back(processes: list[Process]) -> None:
    # Only soft limits: without privileges a hard one is never raised again.
    _, hard = limit(processes[0])
    before = [limit(process) for process in processes]
    top = None if hard == resource.RLIM_INFINITY else hard
    old = change(lambda: [p.pid for p in processes], {"core": (0, top)})
    assert {limit(process)[0] for process in processes} == {0}
    put_back(lambda: [process.pid for process in processes], old)
    assert [limit(process) for process in processes] == before


def test_a_process_that_is_gone_is_left_out(processes: list[Process]) -> None:
    processes[0].communicate()
    old = change(lambda: [0, processes[0].pid, processes[1].pid], {"core": lower(processes[1])})
    assert {entry.pid for entry in old} == {processes[1].pid}
    gone = [entry._replace(pid=processes[0].pid) for entry in old]
    put_back(lambda: [process.pid for process in processes], gone)


def test_a_process_that_is_not_in_the_cgroup_any_more_gets_nothing_back(
    processes: list[Process],
) -> None:
    """Its pid may be another's."""
    _, hard = limit(processes[0])
    top = None if hard == resource.RLIM_INFINITY else hard
    before = limit(processes[1])
    old = change(lambda: [p.pid for p in processes], {"core": (0, top)})
    put_back(lambda: [processes[1].pid], old)
    assert [limit(process)[0] for process in processes] == [0, before[0], 0]


def test_a_limit_that_the_kernel_refuses_changes_none(processes: list[Process]) -> None:
    before = [limit(process) for process in processes]
    _, hard = before[0]
    top = None if hard == resource.RLIM_INFINITY else hard
    pids = [process.pid for process in processes]
    # A soft limit above the hard one: EINVAL, whoever asks.
    with pytest.raises(OSError, match="limit"):
        change(lambda: pids, {"core": (0, top), "nofile": (2, 1)})
    assert [limit(process) for process in processes] == before


def test_a_process_is_set_up_once_it_can_gain_no_privileges(processes: list[Process]) -> None:
    assert not are_set_up(list)
    ours = process_limits._has_no_new_privs(processes[0].pid)
    assert are_set_up(lambda: [processes[0].pid]) == ours
    processes[0].communicate()
    assert are_set_up(lambda: [0, processes[0].pid])
    program = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); "
        "print('set', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert are_set_up(lambda: [process.pid])
        process.communicate()
