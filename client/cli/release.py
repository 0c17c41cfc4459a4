"""`runctl release`: let held jobs start when their turn comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import change_states, jobs_argument, json_option

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="release", short_help="Let held jobs start.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Let each JOB that was held start when its turn comes.

    Of an array or a flow all that are held. Releasing a job that is not held is no error.
    """
    return change_states(
        target,
        jobs,
        lambda client, job: client.release(job),
        as_json=as_json,
        word="released",
        change_group=lambda client, group: client.release_group(group),
    )
