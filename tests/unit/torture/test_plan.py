"""What is tortured follows from the seed, and what is expected is what a shell prints."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.torture import plan, programs
from tests.torture.programs import STDERR, STDOUT, Blob, Both, Numbers, Trickle
from tests.torture.wishes import Wishes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.plan import JobPlan

SEED = 5
PLANS = [plan.job_plan(SEED, number) for number in range(400)]
PLAIN = PLANS[0]._replace(
    steps=(), ending=plan.EXIT, value=0, deaf=False, gaps=frozenset(), wishes=Wishes()
)


def run(job: JobPlan, place: Path, attempt: int) -> subprocess.CompletedProcess[bytes]:
    argv = plan.command(job, f"{place}/blob", f"{place}/starts")
    env = {"PATH": "/usr/bin:/bin", "RUNNERD_ATTEMPT": str(attempt)}
    return subprocess.run(argv, env=env, capture_output=True, check=False)


def test_the_same_seed_and_number_give_the_same_job() -> None:
    assert [plan.job_plan(SEED, number) for number in range(400)] == PLANS


def test_another_seed_gives_other_jobs() -> None:
    assert plan.job_plan(SEED + 1, 0) != PLANS[0]


def test_every_ending_and_every_care_comes_up() -> None:
    endings = {"exit", "signal", "timeout", "stop", "output-limit", "deadline"}
    assert {job.ending for job in PLANS} == endings
    assert {job.care for job in PLANS} == {"follow", "wait", "runctl", "later"}


def test_a_job_whose_output_may_be_missing_prints_to_stdout_alone() -> None:
    blob = bytes(programs.BLOB_BYTES)
    lossy = [job for job in PLANS if job.gaps or job.care == plan.RUNCTL]
    assert lossy
    assert all(plan.expected(job, blob)[STDERR] == b"" for job in lossy)


def test_tokens_are_names_that_a_job_may_have() -> None:
    assert all(programs.BLOB_BYTES and len(job.token) < 64 for job in PLANS)
    assert len({job.token for job in PLANS}) == len(PLANS)


def test_what_a_shell_prints_is_what_is_expected(tmp_path: Path) -> None:
    blob = programs.make_blob(SEED)
    (tmp_path / "blob").write_bytes(blob)
    steps = (
        Blob(STDOUT, 7, 3, 20), Blob(STDERR, 1, 900, 40), Numbers(STDERR, 8, 30),
        Trickle(STDOUT, "word", 3, 1), Trickle(STDERR, "other", 2, 0), Both(512, 4, 9),
    )  # fmt: skip
    job = PLAIN._replace(steps=steps, value=7)
    done = run(job, tmp_path, 1)
    assert {STDOUT: done.stdout, STDERR: done.stderr} == plan.expected(job, blob)
    assert done.returncode == 7
    assert (tmp_path / "starts").read_text() == f"{job.token} 1\n"


@pytest.mark.parametrize(("failure", "status"), [(7, 7), (0, -9)])
def test_the_first_attempts_fail_and_each_prints_what_is_expected(
    tmp_path: Path, failure: int, status: int
) -> None:
    (tmp_path / "blob").touch()
    wanted = Wishes(retry={"limit": 3, "backoff_seconds": 0.0}, failures=2, failure=failure)
    job = PLAIN._replace(steps=(Trickle(STDOUT, "word", 3, 0),), wishes=wanted)
    done = [run(job, tmp_path, attempt) for attempt in (1, 2, 3)]
    assert [each.returncode for each in done] == [status, status, 0]
    expected = [plan.expected(job, b"", attempt)[STDOUT] for attempt in (1, 2, 3)]
    assert [each.stdout for each in done] == expected
    assert [len(each.stdout.splitlines()) for each in done] == [1, 1, 4]
    tokens = (tmp_path / "starts").read_text().splitlines()
    assert tokens == [f"{job.token} {attempt}" for attempt in (1, 2, 3)]


def test_a_job_that_is_to_die_of_a_signal_does(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    job = PLAIN._replace(ending=plan.SIGNAL, value=9)
    assert run(job, tmp_path, 1).returncode == -9


def test_the_output_of_a_job_with_a_bound_is_expected_up_to_it() -> None:
    capped = next(job for job in PLANS if job.ending == plan.OUTPUT_LIMIT)
    expected = plan.expected(capped, programs.make_blob(SEED))
    assert len(expected[STDOUT]) == capped.limits["output_max_bytes"]
