"""What is tortured follows from the seed, and what is expected is what a shell prints."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.torture import plan, programs
from tests.torture.programs import STDERR, STDOUT, Blob, Both, Numbers, Trickle

if TYPE_CHECKING:
    from pathlib import Path

SEED = 5
PLANS = [plan.job_plan(SEED, number) for number in range(400)]


def test_the_same_seed_and_number_give_the_same_job() -> None:
    assert [plan.job_plan(SEED, number) for number in range(400)] == PLANS


def test_another_seed_gives_other_jobs() -> None:
    assert plan.job_plan(SEED + 1, 0) != PLANS[0]


def test_every_ending_and_every_care_comes_up() -> None:
    assert {job.ending for job in PLANS} == {"exit", "signal", "timeout", "stop", "output-limit"}
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
    job = PLANS[0]._replace(steps=steps, ending=plan.EXIT, value=7, deaf=False, gaps=frozenset())
    argv = plan.command(job, f"{tmp_path}/blob", f"{tmp_path}/starts")
    done = subprocess.run(argv, capture_output=True, check=False)
    assert {STDOUT: done.stdout, STDERR: done.stderr} == plan.expected(job, blob)
    assert done.returncode == 7
    assert (tmp_path / "starts").read_text() == f"{job.token}\n"


def test_a_job_that_is_to_die_of_a_signal_does(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    job = PLANS[0]._replace(steps=(), ending=plan.SIGNAL, value=9, deaf=False)
    done = subprocess.run(plan.command(job, f"{tmp_path}/blob", f"{tmp_path}/starts"), check=False)
    assert done.returncode == -9


def test_the_output_of_a_job_with_a_bound_is_expected_up_to_it() -> None:
    capped = next(job for job in PLANS if job.ending == plan.OUTPUT_LIMIT)
    expected = plan.expected(capped, programs.make_blob(SEED))
    assert len(expected[STDOUT]) == capped.limits["output_max_bytes"]
