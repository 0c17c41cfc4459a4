"""The main path through a terminal: output, exit codes, and what a job is told to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon


def test_output_goes_where_the_job_sent_it_and_the_exit_code_is_the_jobs(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3", user="alice")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)
