"""`runctl status`: everything about one job."""

from __future__ import annotations

import click

from client.cli.common import job_argument, json_option, naming, open_client, write, write_json


@click.command(name="status", short_help="Show a job: state, limits, usage, result.")
@job_argument
@json_option
@click.pass_obj
def command(socket_path: str | None, *, job: str, as_json: bool) -> None:
    """Show what a job is, which limits apply to it, what it uses or how it ended."""
    with open_client(socket_path) as client, naming(job):
        status = client.status(job)
    if as_json:
        write_json(status)
        return
    from client.cli.output import job_record

    write(job_record(status))
