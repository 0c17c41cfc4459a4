"""`runctl resume`: let jobs go on that `client.cli.pause` has frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import change_states, jobs_argument, json_option

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="resume", short_help="Let paused jobs go on.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Let each paused JOB go on, and its time limit with it.

    Resuming a running job is no error.
    """
    return change_states(target, jobs, lambda client, job: client.resume(job), as_json=as_json)
