"""`runctl status`: everything about one job, or about an array or a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.cli.common import (
    group_meant,
    job_argument,
    json_option,
    naming,
    open_client,
    write,
    write_json,
)

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.errors import GroupMeant
    from client.records import JobStatus

_FAILED_SHOWN: Final = 8


@click.command(name="status", short_help="Show a job: state, limits, usage, result.")
@job_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, job: str, as_json: bool) -> None:
    """Show what a job is, which limits apply to it, what it uses or how it ended.

    Of an array or a flow: how many of its jobs are in which state; what failed, or the steps.
    """
    with open_client(target) as client, naming(job):
        status = _status(client, job, as_json=as_json)
    if status is None:
        return
    if as_json:
        write_json(status)
        return
    from client.cli.output import job_record

    write(job_record(status))


def _status(client: Client, job: str, *, as_json: bool) -> JobStatus | None:
    """The job; None when it was a group, which is shown by now."""
    from client.errors import RequestRefused

    try:
        return client.status(job)
    except RequestRefused as error:
        if (meant := group_meant(error)) is None:
            raise
    _show_group(client, meant, as_json=as_json)
    return None


def _show_group(client: Client, meant: GroupMeant, *, as_json: bool) -> None:
    from client.cli.group_members import failed_ends, whole

    if as_json:
        write_json(whole(client, meant.group))
        return
    from client.cli.group_record import group_record

    # The steps of a flow are all shown, of an array the jobs that failed.
    if meant.kind != "flow":
        group = client.group(meant.group, limit=0)
        write(group_record(group, failed_ends(client, group, _FAILED_SHOWN)))
        return
    from client.cli.flow_tree import rows
    from client.cli.flow_watch import look

    group = whole(client, meant.group)
    # The first is its heading, which the record has.
    tree = "".join(f"{row.text}\n" for row in rows(group, look())[1:])
    write(f"{group_record(group, [])}\n{tree}")
