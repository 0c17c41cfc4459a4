"""What a job of a group finds of itself in its environment."""

from __future__ import annotations

import pytest

from runner.group_rows import About, Group, StepAbout
from runner.lifecycle import State
from runner.rows import Job
from runner.told import told, variable_of


def job_of(member: int | None, group_id: str | None = "g") -> Job:
    return Job(
        seq=1, id="j", submitted_by_uid=1, uid=1, gid=1, name=None, state=State.STARTING,
        submitted_ns=1, started_ns=None, ended_ns=None, boot_id=None, monitor_pid=None, limits=None,
        reason=None, result=None, attempt=2, group_id=group_id, member=member, spec=b"",
    )  # fmt: skip


def group_of(kind: str, size: int, name: str | None) -> Group:
    return Group(
        seq=1, id="g", submitted_by_uid=1, kind="array" if kind == "array" else "flow", name=name,
        size=size, max_running=None, submitted_ns=1, first_seq=1, unended=size, failed=0,
        ended_ns=None, idempotency_key=None, digest=b"",
    )  # fmt: skip


def test_a_job_by_itself_is_told_of_no_group() -> None:
    assert told(job_of(None, None)) == {b"RUNNERD_JOB": b"j", b"RUNNERD_ATTEMPT": b"2"}


def test_a_job_of_an_array_is_told_its_index_and_the_whole() -> None:
    about = About(ranges=[(10, 20, 4), (0, 2, 1)])
    found = told(job_of(14), (group_of("array", 6, "sweep"), about))
    assert found == {
        b"RUNNERD_JOB": b"j", b"RUNNERD_ATTEMPT": b"2", b"RUNNERD_GROUP": b"g",
        b"RUNNERD_ARRAY_INDEX": b"14", b"RUNNERD_ARRAY_COUNT": b"6",
        # 20 is none of 10, 14, 18.
        b"RUNNERD_ARRAY_FIRST": b"0", b"RUNNERD_ARRAY_LAST": b"18",
    }  # fmt: skip


def test_a_step_is_told_its_flow_its_name_and_its_values() -> None:
    steps = [StepAbout(name="build"), StepAbout(name="test.2", values={"py-version": "3.11"})]
    group = group_of("flow", 2, "ci"), About(steps=steps)
    assert told(job_of(1), group) == {
        b"RUNNERD_JOB": b"j", b"RUNNERD_ATTEMPT": b"2", b"RUNNERD_GROUP": b"g",
        b"RUNNERD_FLOW": b"ci", b"RUNNERD_STEP": b"test.2", b"RUNNERD_MATRIX_PY_VERSION": b"3.11",
    }  # fmt: skip
    assert told(job_of(0), group)[b"RUNNERD_STEP"] == b"build"


def test_of_rows_that_do_not_fit_it_is_told_what_is_known() -> None:
    flow = group_of("flow", 2, "ci")
    for member in (None, -1, 7):
        found = told(job_of(member), (flow, About()))
        assert found[b"RUNNERD_FLOW"] == b"ci"
        assert b"RUNNERD_STEP" not in found
    assert b"RUNNERD_ARRAY_LAST" not in told(job_of(1), (group_of("array", 2, None), About()))


@pytest.mark.parametrize(
    ("key", "name"), [("os", "OS"), ("a.b c=d", "A_B_C_D"), ("größe", "GR__E"), ("\0", "_")]
)
def test_a_key_becomes_a_name_that_a_shell_can_use(key: str, name: str) -> None:
    assert variable_of(key) == f"RUNNERD_MATRIX_{name}"
