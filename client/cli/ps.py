"""`runctl ps`: a table of jobs."""

from __future__ import annotations

import sys
import time
from itertools import islice

import click

from client.cli.common import json_option, open_client, write, write_json


@click.command(name="ps", short_help="List jobs.")
@click.option("-a", "--all", "ended", is_flag=True, help="Jobs that have ended too.")
@click.option("-n", "most", type=click.IntRange(min=1), metavar="N", help="The newest N only.")
@json_option
@click.pass_obj
def command(socket_path: str | None, *, ended: bool, most: int | None, as_json: bool) -> None:
    """List jobs that wait or run, newest first.

    TIME is how long a job waits, runs, or took. On a terminal COMMAND is cut to its width.
    """
    from client.api import PAGE_JOBS

    with open_client(socket_path) as client:
        page = min(most or PAGE_JOBS, PAGE_JOBS)
        jobs = list(islice(client.jobs(ended=ended, page=page), most))
    if as_json:
        write_json(jobs)
        return
    from client.cli.output import job_table

    write(job_table(jobs, time.time_ns(), _columns()))


def _columns() -> int | None:
    """The terminal's width; None when stdout is not one."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns
