"""`runctl queues`: every queue, what is promised of the machine, and one's own part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import json_option, open_client, write, write_json
from client.text import printable
from client.units import format_cpus, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.contexts import Target
    from client.records import Queue, Queues


@click.command(name="queues", short_help="List queues, capacity and quota.")
@json_option
@click.pass_obj
def command(target: Target | None, *, as_json: bool) -> None:
    """List the queues: priority, jobs that run of those that may, jobs that wait.

    UP TO is the highest priority that you may give a job there, or no where you may not use the
    queue. Below them: what is promised to jobs that run of what there is, and what you have of
    what you may have.
    """
    with open_client(target) as client:
        answer = client.queues()
    if as_json:
        write_json(answer)
        return
    write(queues_text(answer))


def queues_text(answer: Queues) -> str:
    """The table and the figures below it."""
    from client.cli.output import table

    heading = ("NAME", "PRIORITY", "RUNNING", "QUEUED", "UP TO", "STATE")
    rows = [_row(queue) for queue in answer["queues"]]
    figures = [_promised(answer), _own(answer)]
    return table(heading, rows, None) + "".join(f"{line}\n" for line in figures)


def _row(queue: Queue) -> list[str]:
    most = queue["max_running"]
    return [
        printable(queue["name"]),
        str(queue["priority"]),
        str(queue["running"]) if most is None else f"{queue['running']}/{most}",
        str(queue["queued"]),
        str(queue["max_priority"]) if queue["allowed"] else "no",
        "paused" if queue["paused"] else "open",
    ]


def _promised(answer: Queues) -> str:
    used, most = answer["promised"], answer["capacity"]
    return "promised: " + ", ".join(
        [
            f"{used['jobs']} of {most['slots']} slots",
            f"{format_cpus(used['millicpus'])} of {format_cpus(most['millicpus'])} CPUs",
            f"{format_size(used['memory_bytes'])} of {format_size(most['memory_bytes'])} memory",
        ]
    )


def _own(answer: Queues) -> str:
    own, quota = answer["own"], answer["quota"]
    parts = [
        f"{_of(own['queued'], quota['max_queued'], str)} queued",
        f"{_of(own['running'], quota['max_running'], str)} running",
        f"{_of(own['millicpus'], quota['max_millicpus'], format_cpus)} CPUs",
        f"{_of(own['memory_bytes'], quota['max_memory_bytes'], format_size)} memory",
    ]
    if (most := quota["max_log_bytes"]) is not None:
        parts.append(f"logs of at most {format_size(most)}")
    return "yours: " + ", ".join(parts)


def _of(used: int, most: int | None, show: Callable[[int], str]) -> str:
    return show(used) if most is None else f"{show(used)} of {show(most)}"
