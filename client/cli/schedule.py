"""`runctl schedule`: list, show, pause, resume, run and remove schedules.

They are made by `runctl run --every` (`client.cli.run_every`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from client.cli.common import each, json_option, naming, open_client, short, write, write_json
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.api import Client
    from client.contexts import Target
    from client.records import Schedule, Scheduled, ScheduleStatus

_one = click.argument("schedule", metavar="SCHEDULE")
_several = click.argument("schedules", metavar="SCHEDULE...", nargs=-1, required=True)


@click.group(name="schedule", short_help="List, pause, run and remove schedules.")
def command() -> None:
    """What runs again and again, made by `runctl run --every`.

    SCHEDULE is a schedule's id, the first 4 or more characters of one, or its name.
    """


@command.command(name="list")
@json_option
@click.pass_obj
def list_schedules(target: Target | None, *, as_json: bool) -> None:
    """List schedules, the oldest first; NEXT is in your own time zone."""
    with open_client(target) as client:
        found = list(client.schedules())
    if as_json:
        write_json({"schedules": found})
        return
    write(schedule_table(found, time.time_ns()))


@command.command()
@_one
@json_option
@click.pass_obj
def show(target: Target | None, *, schedule: str, as_json: bool) -> None:
    """Show a schedule: its next times, its last run, and what it runs."""
    with open_client(target) as client, naming(schedule):
        found = client.schedule(schedule)
    if as_json:
        write_json(found)
        return
    write(schedule_record(found, time.time_ns()))


@command.command()
@_several
@json_option
@click.pass_obj
def pause(target: Target | None, *, schedules: tuple[str, ...], as_json: bool) -> int:
    """Run it no more until it is resumed. Jobs that run are left alone."""
    return _change(target, schedules, lambda c, s: c.pause_schedule(s), as_json=as_json)


@command.command()
@_several
@json_option
@click.pass_obj
def resume(target: Target | None, *, schedules: tuple[str, ...], as_json: bool) -> int:
    """Let it go on, from now: what was due meanwhile was not missed."""
    return _change(target, schedules, lambda c, s: c.resume_schedule(s), as_json=as_json)


@command.command()
@_one
@json_option
@click.pass_obj
def run(target: Target | None, *, schedule: str, as_json: bool) -> None:
    """Run it once now and print the job's id, whatever its times are."""
    with open_client(target) as client, naming(schedule):
        made = client.run_schedule(schedule)
    if as_json:
        write_json(made)
    else:
        write(f"{made['job']}\n")


@command.command(name="rm")
@_several
@json_option
@click.pass_obj
def remove(target: Target | None, *, schedules: tuple[str, ...], as_json: bool) -> int:
    """Forget a schedule. Its jobs stay, and go on."""
    with open_client(target) as client:

        def act(schedule: str) -> None:
            removed = client.remove_schedule(schedule)
            if as_json:
                write_json({"schedule": removed}, line=True)
            else:
                write(f"{short(removed)} removed\n")

        return each(schedules, act)


def _change(
    target: Target | None,
    schedules: tuple[str, ...],
    change: Callable[[Client, str], Scheduled],
    *,
    as_json: bool,
) -> int:
    with open_client(target) as client:

        def act(schedule: str) -> None:
            changed = change(client, schedule)
            if as_json:
                write_json(changed, line=True)
            else:
                next_ns, id_ = changed["next_ns"], short(changed["schedule"])
                write(f"{id_} is paused\n" if changed["paused"] else f"{id_} {_due(next_ns)}\n")

        return each(schedules, act)


def _due(next_ns: int | None) -> str:
    from client.cli.shown_times import shown_ahead

    return "is never due again" if next_ns is None else f"is due {shown_ahead(next_ns)}"


# What is shown


def schedule_table(schedules: list[Schedule], now_ns: int) -> str:
    """A line each."""
    from client.cli.output import table
    from client.cli.ps import terminal_columns

    heading = ("ID", "NAME", "EVERY", "NEXT", "RUNS", "COMMAND")
    rows = [_row(schedule, now_ns) for schedule in schedules]
    return table(heading, rows, terminal_columns())


def _row(schedule: Schedule, now_ns: int) -> list[str]:
    from client.text import command_line

    return [
        short(schedule["schedule"]),
        printable(schedule["name"] or "-"),
        printable(schedule["every"]),
        _next(schedule, now_ns),
        str(schedule["runs"]),
        command_line(schedule["argv"]),
    ]


def _next(schedule: Schedule, now_ns: int) -> str:
    from client.cli.shown_times import shown_time

    if schedule["paused"]:
        return "paused"
    return "never" if schedule["next_ns"] is None else shown_time(schedule["next_ns"], now_ns)


def schedule_record(schedule: ScheduleStatus, now_ns: int) -> str:
    """Everything about a schedule, a line a fact."""
    from client.cli.output import record
    from client.text import command_line

    facts = [("schedule", printable(schedule["schedule"]))]
    if schedule["name"]:
        facts.append(("name", printable(schedule["name"])))
    policy = f"missed: {printable(schedule['missed'])}, overlap: {printable(schedule['overlap'])}"
    facts += [
        ("every", f"{printable(schedule['every'])}, {_zone(schedule)}"),
        ("command", command_line(schedule["argv"])),
        *(("next", text) for text in _next_times(schedule, now_ns)),
        ("policy", policy),
        ("runs", ", ".join(_counts(schedule))),
    ]
    if schedule["last_job"]:
        facts.append(("last", _last(schedule, now_ns)))
    if schedule["last_error"]:
        facts.append(("refused", printable(schedule["last_error"])))
    return record(facts)


def _zone(schedule: Schedule) -> str:
    zone = schedule["zone"]
    return "in the host's time zone" if zone is None else f"in {printable(zone)}"


def _next_times(schedule: ScheduleStatus, now_ns: int) -> list[str]:
    from client.cli.shown_times import shown_ahead

    if schedule["paused"]:
        return ["paused"]
    return [shown_ahead(time_ns, now_ns) for time_ns in schedule["next_times_ns"]] or ["never"]


def _counts(schedule: Schedule) -> list[str]:
    words: dict[str, Any] = {
        "jobs": schedule["runs"],
        "refused": schedule["failed"],
        "passed over": schedule["skipped"],
    }
    return [f"{count} {word}" for word, count in words.items() if count or word == "jobs"]


def _last(schedule: Schedule, now_ns: int) -> str:
    from client.cli.shown_times import shown_time

    time_ns = schedule["last_ns"]
    when = "by hand" if time_ns is None else f"for {shown_time(time_ns, now_ns)}"
    return f"job {short(schedule['last_job'] or '')} {when}"
