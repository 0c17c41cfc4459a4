"""`runctl why`: what jobs wait for, or how they ended. The sentences are `client.cli.waiting`'s."""

from __future__ import annotations

import time
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
from client.text import printable

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import Why


@click.command(name="why", short_help="What a job waits for.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Say what each JOB waits for, a line a cause, and when it starts where that can be told.

    Of a job that runs, that it does; of one that has ended, how. Of an array or a flow: how far it
    has come, and what those of its jobs wait for that are queued.
    """
    with open_client(target) as client:

        def ask(job: str) -> None:
            why = client.why(job)
            if as_json:
                write_json(why, line=True)
                return
            name = short(why["job"])
            write("".join(f"{name} {line}\n" for line in _lines(client, why)))

        def ask_group(group: str) -> None:
            _show_group(client, group, as_json=as_json)

        return each(jobs, ask, None, ask_group)


def _show_group(client: Client, asked: str, *, as_json: bool) -> None:
    """How far a group has come, then the first of its jobs for each thing that is waited for."""
    from client.cli.group_waits import lines, waiting
    from client.cli.group_words import counted

    group = client.group(asked, limit=0)
    found = waiting(client, group)
    if as_json:
        whys = [client.why(each_.member["job"]) for each_ in found]
        write_json({"group_summary": {**group}, "waiting": whys}, line=True)
        return

    def ask(job: str) -> list[str]:
        return _lines(client, client.why(job))

    state = f"{printable(group['state'])}: {counted(group['counts'])}"
    told = [f"{short(group['group'])} {state}", *lines(group, found, ask)]
    write("".join(f"{line}\n" for line in told))


def _lines(client: Client, why: Why) -> list[str]:
    if why["result"] is not None:
        from client.cli.output import how_it_ended

        # The limits that it met are in its status, the answer here has none.
        return [how_it_ended(client.status(why["job"]))]
    if why["state"] != "queued":
        return [f"does not wait: it is {printable(why['state'])}"]
    from client.cli.asking_why import known
    from client.cli.waiting import waits_lines

    return waits_lines(why, known(client, why["job"], why["because"]), time.time_ns())
