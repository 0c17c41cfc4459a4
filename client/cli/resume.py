"""`runctl resume`: let jobs go on that `client.cli.pause` has frozen."""

from __future__ import annotations

import click

from client.cli.common import change_states, jobs_argument, json_option


@click.command(name="resume", short_help="Let paused jobs go on.")
@jobs_argument
@json_option
@click.pass_obj
def command(socket_path: str | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Let each paused JOB go on, and its time limit with it.

    Resuming a running job is no error.
    """
    return change_states(socket_path, jobs, lambda client, job: client.resume(job), as_json=as_json)
