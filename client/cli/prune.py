"""`runctl prune`: remove ended jobs with their logs, many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.common import json_option, open_client, write, write_json

if TYPE_CHECKING:
    from client.contexts import Target
    from client.records import Pruned

# The words of this command line for the fields of the protocol.
_WORDS: Final = {
    "older_than_seconds": "--older-than",
    "keep": "--keep",
    "user": "--user",
    "everybody": "--all-users",
}


@click.command(name="prune", short_help="Remove ended jobs, all or the older ones.")
@click.option(
    "--older-than",
    type=params.DURATION_OR_ZERO,
    metavar="DURATION",
    help="Only those that ended so long ago, such as 7d.",
)
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Not the newest N (of each user)."
)
@click.option("--user", metavar="NAME", help="Of another user (a name or number); admins only.")
@click.option("--all-users", is_flag=True, help="Of everybody; admins only.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@json_option
@click.pass_obj
def command(
    target: Target | None,
    *,
    older_than: float | None,
    keep: int | None,
    user: str | None,
    all_users: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove your ended jobs with their output and results.

    All of them, or those that every option given is true of. Nothing is asked.
    """
    if user is not None and all_users:
        raise click.UsageError("--user and --all-users given; one of them is allowed")
    asked = {
        "older_than_seconds": older_than,
        "keep": keep,
        "user": _account(user),
        "everybody": all_users,
        "dry_run": dry_run,
    }
    pruned = _prune(target, asked)
    if as_json:
        write_json(pruned)
    else:
        write(_told(pruned, dry_run=dry_run))
    return 0


def _prune(target: Target | None, asked: dict[str, Any]) -> Pruned:
    from client.errors import ClientError, RequestRefused, describe

    with open_client(target) as client:
        try:
            return client.prune(**asked)
        except RequestRefused as error:
            raise ClientError(describe(error, _WORDS)) from error


def _account(user: str | None) -> str | int | None:
    from client.cli.run_sandbox import account

    return account(user)


def _told(pruned: Pruned, *, dry_run: bool) -> str:
    from client.units import format_size

    jobs = f"{pruned['jobs']} {'job' if pruned['jobs'] == 1 else 'jobs'}"
    return f"{'would remove' if dry_run else 'removed'} {jobs}, {format_size(pruned['bytes'])}\n"
