"""`runctl pause`: freeze jobs; `client.cli.resume` lets them go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import change_states, jobs_argument, json_option

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="pause", short_help="Freeze jobs.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Freeze every process of each JOB. It keeps its memory; its time limit stands still.

    `runctl resume` lets it go on, `runctl stop` ends it. Pausing a paused job is no error.
    """
    return change_states(target, jobs, lambda client, job: client.pause(job), as_json=as_json)
