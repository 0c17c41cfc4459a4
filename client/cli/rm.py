"""`runctl rm`: remove ended jobs with their logs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.api import Client
    from client.contexts import Target
    from client.records import ChangedGroup


@click.command(name="rm", short_help="Remove ended jobs and their logs.")
@click.option("-f", "--force", is_flag=True, help="Kill a job that has not ended, then remove it.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], force: bool, as_json: bool) -> int:
    """Remove each JOB, which must have ended, with its output and result.

    Of an array or a flow every job, once all have ended.
    """
    with open_client(target) as client:

        def remove(job: str) -> None:
            removed = _remove_by_force(client, job) if force else client.remove(job)
            if as_json:
                write_json({"job": removed}, line=True)
            else:
                write(f"{short(removed)} removed\n")

        def remove_group(group: str) -> None:
            removed = _remove_group_by_force(client, group) if force else client.remove_group(group)
            if as_json:
                write_json(removed, line=True)
            else:
                count = removed["jobs"]
                write(f"{short(removed['group'])} removed, {count} job{'s' * (count != 1)}\n")

        return each(jobs, remove, None, remove_group)


def _remove_by_force(client: Client, job: str) -> str:
    # The full id: a name may mean another job by the time this one has ended.
    status = client.status(job)
    full = status["job"]
    with _gone_is_removed():
        if status["state"] != "ended":
            client.stop(full, kill=True)
            client.wait(full)
        client.remove(full)
    return full


def _remove_group_by_force(client: Client, group: str) -> ChangedGroup:
    client.stop_group(group, kill=True)
    client.wait_group(group)
    return client.remove_group(group)


@contextmanager
def _gone_is_removed() -> Iterator[None]:
    """Retention, or somebody else, may be faster: what was asked for is done then."""
    from client.errors import RequestRefused

    try:
        yield
    except RequestRefused as error:
        if error.code != "no-such-job":
            raise
