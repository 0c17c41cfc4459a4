"""Commands in jobs, as far as no job is needed: how many at once, and what is told of an end."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from isolation import payload
from isolation.first_process import FirstProcess
from runner import execing, outcome, records, usage
from runner.exec_command import ExecCommand
from runner.execing import MAX_AT_ONCE, Execs
from runner.lifecycle import State
from runner.messages import Exec
from runner.parsing import parse
from runner.refusal import Refusal

JOB = "3f2a0000-0000-4000-8000-000000000001"


def execs_on(state: State | None, *, has_cgroup: bool = True) -> Execs:
    job = None if state is None else SimpleNamespace(id=JOB, name=None, state=state)
    store: Any = SimpleNamespace(get=lambda _id: job)
    tree: Any = SimpleNamespace(job=lambda _id: "a cgroup" if has_cgroup else None)
    nothing: Any = None
    return Execs(store, tree, nothing, nothing)


def refusal_for(state: State | None, *, has_cgroup: bool = True) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        execs_on(state, has_cgroup=has_cgroup)._require_running(JOB)
    return caught.value.to_wire()


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.QUEUED, "has not started"),
        (State.STARTING, "has not started"),
        (State.PAUSED, "`runctl resume 3f2a0000` lets it go on"),
        (State.ENDED, "has ended"),
    ],
)
def test_a_job_in_another_state_is_refused_with_the_way_out(state: State, word: str) -> None:
    refused = refusal_for(state)
    assert (refused["code"], refused["given"]) == ("job-state", state.value)
    assert word in refused["detail"]


def test_a_job_that_was_removed_or_is_just_ending_is_refused_too() -> None:
    assert refusal_for(None)["given"] == "removed"
    assert "has ended" in refusal_for(State.RUNNING, has_cgroup=False)["detail"]


def test_one_that_runs_is_not() -> None:
    assert execs_on(State.RUNNING)._require_running(JOB) == "a cgroup"  # type: ignore[comparison-overlap]


def test_a_user_has_so_many_at_once_and_others_have_their_own() -> None:
    execs = execs_on(State.RUNNING)
    with ExitStack() as taken:
        for _ in range(MAX_AT_ONCE):
            taken.enter_context(execs._place(1000))
        with pytest.raises(Refusal) as caught, execs._place(1000):
            pass
        assert caught.value.code == "too-many-requests"
        with execs._place(1001):
            pass
    with execs._place(1000):
        pass


# The request


def test_the_environment_is_laid_over_the_jobs_own_or_stands_alone() -> None:
    spec = {
        "env": {b"A": b"job", b"B": b"job"}, "cwd": b"/job", "umask": 0, "uid": 1, "gid": 2,
        "groups": [3], "sandbox": {}, "limits": {"rlimits": {"core": [0, 0]}},
    }  # fmt: skip
    job: Any = SimpleNamespace(limits=None)

    def fields(**args: Any) -> dict[str, Any]:
        request = parse(Exec, {"job": "x", "argv": ["ls"], **args})
        return records.unpack(records.pack(execing._fields(job, spec, request, b"filter")))

    plain = fields(env={"B": "mine"})
    assert plain["command"] == {
        "argv": [b"ls"], "env": {b"A": b"job", b"B": b"mine"}, "cwd": b"/job",
        "umask": 0, "uid": 1, "gid": 2, "groups": [3],
    }  # fmt: skip
    assert plain["entry"] == {
        "sandbox": {}, "job_cwd": b"/job", "rlimits": {"core": [0, 0]}, "program": b"filter",
    }  # fmt: skip
    other = fields(env={"B": "mine"}, clean_env=True, cwd="/tmp")
    assert (other["command"]["env"], other["command"]["cwd"]) == ({b"B": b"mine"}, b"/tmp")
    # The rules of Landlock are those of the job.
    assert other["entry"]["job_cwd"] == b"/job"


# The answer


@pytest.mark.parametrize(
    ("wait_status", "report", "kills", "shown"),
    [
        (7 << 8, payload.EXECUTING, 0, (7, None, 7, None)),
        (15, payload.EXECUTING, 0, (None, 15, 143, None)),
        (9, payload.EXECUTING, 1, (None, 9, 137, "the kernel killed it: ")),
        (125 << 8, b"execute the command\x002\0no", 0, (None, None, 127, "no")),
        (125 << 8, b"execute the command\x0013\0no", 0, (None, None, 126, "no")),
        (125 << 8, b"drop privileges\x001\0no", 0, (None, None, 125, "drop privileges: no")),
        (None, b"enter the job\x0011\0no", 0, (None, None, 125, "enter the job: no")),
    ],
)
def test_how_it_ended_is_told_as_of_a_job(
    wait_status: int | None,
    report: bytes,
    kills: int,
    shown: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter([0, kills])
    monkeypatch.setattr(
        usage,
        "out_of_memory",
        lambda _fd: SimpleNamespace(kills=next(counts), hit_own_limit=True),
    )
    running = ExecCommand(FirstProcess(1, -1), -1)
    answer = execing._shown(outcome.judge(running.facts(wait_status, payload.parse_report(report))))
    *exact, detail = answer.values()
    assert tuple(exact) == shown[:3]
    assert (detail or "").startswith(shown[3] or "")
    assert (detail is None) == (shown[3] is None)
