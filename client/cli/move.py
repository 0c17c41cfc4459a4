"""`runctl move`: change a queued job's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.cli.common import job_argument, json_option, open_client, short, write, write_json
from client.text import printable

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import Moved

# The words of this command line for the fields of the protocol.
_WORDS: Final = {"top": "--top", "before": "--before", "queue": "--queue"}


@click.command(name="move", short_help="Change a queued job's place.")
@click.option("--top", is_flag=True, help="Before all others of yours.")
@click.option("--before", metavar="JOB", help="Directly before this other job of yours.")
@click.option("--queue", metavar="NAME", help="Into another queue; with --top to its top.")
@job_argument
@json_option
@click.pass_obj
def command(
    target: Target | None,
    *,
    job: str,
    top: bool,
    before: str | None,
    queue: str | None,
    as_json: bool,
) -> None:
    """Move a queued JOB among its submitter's jobs of the same queue and priority.

    With --before it takes the other one's queue and priority. No job of anybody else waits longer
    for it.
    """
    if before is not None and (top or queue is not None):
        raise click.UsageError("--before excludes --top and --queue")
    if not (top or queue is not None or before is not None):
        raise click.UsageError("where to? --top, --before JOB or --queue NAME is needed")
    with open_client(target) as client:
        moved = _move(client, job, top=top, before=before, queue=queue)
    if as_json:
        write_json(moved)
        return
    place = f"{printable(moved['queue'])}, priority {moved['priority']}"
    where = " at the top of" if top else f" before {printable(before)} in" if before else " in"
    write(f"{short(moved['job'])} is{where} {place}\n")


def _move(client: Client, job: str, *, top: bool, before: str | None, queue: str | None) -> Moved:
    from client.errors import ClientError, RequestRefused, describe

    try:
        return client.move(job, top=top, before=before, queue=queue)
    except RequestRefused as error:
        error.job = before if error.field == "before" else job
        raise ClientError(describe(error, _WORDS)) from error
