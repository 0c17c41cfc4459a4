"""`runctl hold`: keep queued jobs from starting; `client.cli.release` lets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import change_states, jobs_argument, json_option

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="hold", short_help="Keep queued jobs from starting.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Keep each queued JOB from starting, until `runctl release`.

    Of an array or a flow all that wait. Holding a held job is no error. What an admin holds, only
    an admin releases.
    """
    return change_states(
        target,
        jobs,
        lambda client, job: client.hold(job),
        as_json=as_json,
        word="held",
        change_group=lambda client, group: client.hold_group(group),
    )
