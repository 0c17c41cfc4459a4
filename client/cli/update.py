"""`runctl update`: other limits, or another priority, for a job that has not ended.

The options are those of `run` (`client.cli.run_limits`), each of which may be "none".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from client.cli import params, run_limits
from client.cli.common import (
    group_meant,
    job_argument,
    json_option,
    naming,
    open_client,
    short,
    write,
    write_json,
)
from client.cli.sections import SectionedCommand, option
from client.text import printable

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.errors import GroupMeant
    from client.records import Limits, UpdatedGroup


@click.command(name="update", cls=SectionedCommand, short_help="Change limits of a job.")
@job_argument
@json_option
@option("--priority", type=params.INTEGER, metavar="N", help="Of a queued job: -1000 to 1000.")
@option(
    "--max-running",
    type=params.Liftable(params.INTEGER),
    metavar="N|none",
    help="Of an array or a flow: at most N of its jobs run at once.",
)
@run_limits.all_limit_options(lift=True)
@click.pass_obj
def command(target: Target | None, /, **options: Any) -> None:  # noqa: ANN401  click's values
    """Change limits of a JOB that has not ended, and the priority of one that is queued.

    All that is given, or none of it. The value none lifts a limit; what is not named stays as it
    is. Disks and rlimits are named one by one: --io-write none lifts those of all disks. Shows
    what applies now. Of an array or a flow: --priority and --max-running; the limits are its
    jobs'.
    """
    from client.errors import RequestRefused

    with open_client(target) as client, naming(options["job"]):
        try:
            limits = _update(client, options["job"], options)
        except RequestRefused as error:
            if (meant := group_meant(error)) is None:
                raise
        else:
            _show(limits, options)
            return
        _show_group(_update_group(client, meant, options), options)


def _show(limits: Limits, options: dict[str, Any]) -> None:
    priority = options["priority"]
    if options["as_json"]:
        write_json({"limits": limits} | ({} if priority is None else {"priority": priority}))
        return
    from client.cli.facts import limit_lines

    lines = [] if priority is None else [f"priority {priority}"]
    lines += limit_lines(limits) or ["no limits"]
    write("".join(f"{line}\n" for line in lines))


def _update(client: Client, job: str, options: dict[str, Any]) -> Limits:
    from client.errors import ClientError, RequestRefused, describe

    if options["max_running"] is not None:
        client.status(job)
        raise click.UsageError("--max-running goes with an array or a flow")
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
    return {**run_limits.words(options), "priority": "--priority", "max_running": "--max-running"}


def _update_group(client: Client, meant: GroupMeant, options: dict[str, Any]) -> UpdatedGroup:
    from client.errors import ClientError, RequestRefused, describe

    others = {"job", "as_json", "priority", "max_running"}
    if any(value not in (None, (), False) for key, value in options.items() if key not in others):
        member = "STEP" if meant.kind == "flow" else "INDEX"
        raise ClientError(
            f"{printable(options['job'])}: limits are changed job by job; name one of them, "
            f"{printable(options['job'])}.{member}"
        )
    changes: dict[str, Any] = {}
    if options["max_running"] is not None:
        is_lifted = options["max_running"] is params.LIFT
        changes["max_running"] = None if is_lifted else options["max_running"]
    if options["priority"] is not None:
        changes["priority"] = options["priority"]
    try:
        return client.update_group(meant.group, **changes)
    except RequestRefused as error:
        if error.field in (None, "group"):
            raise
        raise ClientError(describe(error, _words(options))) from error


def _show_group(updated: UpdatedGroup, options: dict[str, Any]) -> None:
    if options["as_json"]:
        write_json(updated)
        return
    most, priority, count = updated["max_running"], options["priority"], updated["jobs"]
    lines = []
    if options["max_running"] is not None:
        how_many = "as many" if most is None else f"at most {most}"
        lines.append(f"{how_many} at once{' as the queue lets' if most is None else ''}")
    if priority is not None:
        changed = f"priority {priority} of {count} queued job{'' if count == 1 else 's'}"
        lines.append(changed if count else f"no queued job had another priority than {priority}")
    write("".join(f"{short(updated['group'])}: {line}\n" for line in lines))
