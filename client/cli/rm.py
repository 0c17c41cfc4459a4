"""`runctl rm`: remove ended jobs with their logs."""

from __future__ import annotations

import click

from client.cli.common import (
    each,
    jobs_argument,
    json_option,
    open_client,
    short,
    write,
    write_json,
)


@click.command(name="rm", short_help="Remove ended jobs and their logs.")
@jobs_argument
@json_option
@click.pass_obj
def command(socket_path: str | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Remove each JOB, which must have ended, with its output and result."""
    with open_client(socket_path) as client:

        def remove(job: str) -> None:
            removed = client.remove(job)
            if as_json:
                write_json({"job": removed}, line=True)
            else:
                write(f"{short(removed)} removed\n")

        return each(jobs, remove)
