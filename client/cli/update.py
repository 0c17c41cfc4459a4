"""`runctl update`: other limits, or another priority, for a job that has not ended.

The options are those of `run` (`client.cli.run_limits`), each of which may be "none".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from client.cli import params, run_limits
from client.cli.common import job_argument, json_option, naming, open_client, write, write_json
from client.cli.sections import SectionedCommand, option

if TYPE_CHECKING:
    from client.api import Client
    from client.records import Limits


@click.command(name="update", cls=SectionedCommand, short_help="Change limits of a job.")
@job_argument
@json_option
@option("--priority", type=params.INTEGER, metavar="N", help="Of a queued job: -1000 to 1000.")
@run_limits.all_limit_options(lift=True)
@click.pass_obj
def command(socket_path: str | None, /, **options: Any) -> None:  # noqa: ANN401  click's values
    """Change limits of a JOB that has not ended, and the priority of one that is queued.

    All that is given, or none of it. The value none lifts a limit; what is not named stays as it
    is. Disks and rlimits are named one by one: --io-write none lifts those of all disks. Shows
    what applies now.
    """
    job, priority = options["job"], options["priority"]
    with open_client(socket_path) as client, naming(job):
        limits = _update(client, job, options)
    if options["as_json"]:
        write_json({"limits": limits} | ({} if priority is None else {"priority": priority}))
        return
    from client.cli.facts import limit_lines

    lines = [] if priority is None else [f"priority {priority}"]
    lines += limit_lines(limits) or ["no limits"]
    write("".join(f"{line}\n" for line in lines))


def _update(client: Client, job: str, options: dict[str, Any]) -> Limits:
    from client.errors import ClientError, RequestRefused, describe

    before: Limits | None = None
    if run_limits.needs_before(options):
        status = client.status(job)
        # The full id: by now a name may mean another job than the one we looked at.
        job, before = status["job"], status["limits"]
    asked = run_limits.asked_limits(options, before)
    priority = options["priority"]
    if not asked and priority is None:
        raise click.UsageError("no limit given, nor a priority; see `runctl update --help`")
    try:
        return client.update(job, asked, priority=priority)
    except RequestRefused as error:
        if error.field in (None, "job"):
            raise
        raise ClientError(describe(error, _words(options))) from error


def _words(options: dict[str, Any]) -> dict[str, str]:
    return {**run_limits.words(options), "priority": "--priority"}
