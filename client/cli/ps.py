"""`runctl ps`: a table of jobs, those that are meant, in the order that was asked for."""

from __future__ import annotations

import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from client.cli import queue_params
from client.cli.common import json_option, open_client, write, write_json
from client.cli.quantity import Quantity
from client.cli.selecting import WORDS, select_options, selection

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import GroupEntry, JobSummary, Selection

    Entry = JobSummary | GroupEntry


def _order(text: str) -> Any:  # noqa: ANN401  read when it is given
    from client.cli.ps_order import parse_order

    return parse_order(text)


@click.command(name="ps", short_help="List jobs.")
@click.option("-a", "--all", "ended", is_flag=True, help="Jobs that have ended too.")
@click.option("-n", "most", type=click.IntRange(min=1), metavar="N", help="The newest N only.")
@click.option("--expand", is_flag=True, help="Every job of arrays and flows, a line each.")
@click.option("--group", metavar="GROUP", help="All jobs of this array or flow, a line each.")
@select_options
@click.option(
    "--state",
    "states",
    type=queue_params.STATE_LIST,
    multiple=True,
    metavar="STATE",
    help="That are queued, starting, running, paused or ended. May be repeated, or a list.",
)
@click.option(
    "--sort",
    "order",
    type=Quantity("field[,field...]", _order),
    metavar="FIELD[,FIELD...]",
    help="By submitted, started, ended, name, state, priority, queue, user, mem, cpu, time or "
    "member (of its group); -FIELD: the greatest first.",
)
@json_option
@click.pass_obj
def command(target: Target | None, /, **options: Any) -> None:  # noqa: ANN401  the options above
    """List jobs that wait or run, newest first.

    TIME is how long a job waits, runs, or took. On a terminal COMMAND is cut to its width. QUEUE
    and PRIO are shown where they say something. An array or a flow is one line, with how many of
    its jobs are in which state. History: `runctl ps -a -n 20`, without hooks that went well.
    """
    now_ns = time.time_ns()
    jobs = _jobs(target, options)
    if options["order"]:
        from client.cli.ps_order import ordered

        jobs = ordered(jobs, options["order"], now_ns)
    if options["as_json"]:
        write_json(jobs)
        return
    from client.cli.output import job_table

    write(job_table(jobs, now_ns, terminal_columns()))


def _jobs(target: Target | None, options: dict[str, Any]) -> list[Entry]:
    """The newest of those that are meant."""
    from client.api import PAGE_JOBS
    from client.cli.hook_jobs import without_done
    from client.errors import ClientError, RequestRefused, describe

    select, most = _selection(options), options["most"]
    asked: dict[str, Any] = {"select": select} if select else {}
    # Who names an array or a flow wants all of it.
    ended = options["ended"] or ("group" in select and "states" not in select)
    is_cut = ended and not _may_be_hooks(select)
    # Of jobs that have ended some may be left out: room for these, not to ask again for each.
    page = min((most or PAGE_JOBS) * (4 if is_cut else 1), PAGE_JOBS)
    with open_client(target) as client:
        try:
            is_each = options["expand"] or options["group"] is not None
            listed = client.jobs if is_each or not _knows_groups(client) else client.entries
            found = listed(ended=ended, page=page, **asked)
            return list(islice(without_done(found) if is_cut else found, most))
        except RequestRefused as error:
            raise ClientError(describe(error, WORDS)) from error


def _may_be_hooks(select: Selection) -> bool:
    """Whether jobs of hooks are meant that did what they had to."""
    return not {"queue", "labels", "name", "states"}.isdisjoint(select)


def _knows_groups(client: Client) -> bool:
    """Whether there can be any: an older runnerd refuses the question."""
    return not {"arrays", "flows"}.isdisjoint(client.hello()["features"])


def _selection(options: dict[str, Any]) -> Selection:
    select = selection(options)
    if options["states"]:
        states = [state for several in options["states"] for state in several]
        # Each once: the order of the table is another's.
        select["states"] = list(dict.fromkeys(states))
    if options["group"] is not None:
        select["group"] = options["group"]
    return select


def terminal_columns() -> int | None:
    """The terminal's width; None when stdout is not one."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns
