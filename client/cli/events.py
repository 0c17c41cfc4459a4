"""`runctl events`: what happened to jobs, from a number on, and as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli.common import (
    flush,
    group_meant,
    json_option,
    open_client,
    say,
    short,
    write,
    write_json,
)
from client.text import printable
from client.units import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from client.api import Client
    from client.cli.log_times import Stamps
    from client.contexts import Target
    from client.records import Event, EventGap

# The words of this command line for the fields of the protocol.
_WORDS: Final = {"since": "--since", "job": "--job"}


@click.command(name="events", short_help="Show what happened to jobs.")
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C.")
@click.option(
    "--since",
    type=click.IntRange(min=0, max=MAX_INTEGER),
    metavar="SEQ",
    help="What came after the event of this number (default: all, with -f what is to come).",
)
@click.option("--job", metavar="JOB", help="Of this job alone, or of those of a group.")
@json_option
@click.pass_obj
def command(
    target: Target | None, *, follow: bool, since: int | None, job: str | None, as_json: bool
) -> int:
    """Show what happened to your jobs, a line an event: number, time, job, what, and details.

    An admin sees everybody's. Who goes on with the last number that was seen misses nothing.
    """
    from client.errors import ClientError, RequestRefused, describe

    since = 0 if since is None and not follow else since
    with open_client(target) as client:
        try:
            _follow(client, since=since, follow=follow, job=job, as_json=as_json)
        except RequestRefused as error:
            error.job = job
            raise ClientError(describe(error, _WORDS)) from error
    return 0


def _follow(
    client: Client, *, since: int | None, follow: bool, job: str | None, as_json: bool
) -> None:
    if job is None or (group := _group(client, job)) is None:
        with client.events(since=since, follow=follow, job=job) as stream:
            _show(stream, as_json=as_json)
        return
    # Before it is asked for events: so that none of them is of a job that is not known.
    jobs = {group, *(member["job"] for member in client.members(group))}
    with client.events(since=since, follow=follow) as stream:
        _show(_those_of(jobs, group, stream), as_json=as_json)


def _group(client: Client, asked: str) -> str | None:
    """The id of the group that is meant, if it is one. What is removed, its events know."""
    from client.errors import RequestRefused

    try:
        client.status(asked)
    except RequestRefused as error:
        meant = group_meant(error)
        return None if meant is None else meant.group
    return None


def _those_of(
    jobs: set[str], group: str, items: Iterable[Event | EventGap]
) -> Iterator[Event | EventGap]:
    """What happened to these jobs, until the last of them was removed."""
    left = jobs - {group}
    for item in items:
        if "gap" in item:
            yield item
        elif item["job"] in jobs:
            yield item
            left.discard(item["job"] if item["kind"] == "remove" else "")
            if not left:
                return


def _show(items: Iterable[Event | EventGap], *, as_json: bool) -> None:
    from client.cli.log_times import Stamps

    stamps = Stamps()
    for item in items:
        if as_json:
            write_json(item, line=True)
        elif "gap" in item:
            say(_gap(item))
        else:
            write(_line(item, stamps))
            flush()


def _gap(gap: EventGap) -> str:
    first, last = gap["since"] + 1, gap["oldest"] - 1
    which = f"event {first} is" if first == last else f"events {first} to {last} are"
    return f"{which} not kept any more"


def _line(event: Event, stamps: Stamps) -> str:
    when = stamps.show(event["time_ns"]).decode("ascii")
    details = " ".join(_detail(key, value) for key, value in sorted(event["data"].items()))
    parts = [str(event["seq"]), when, short(event["job"]), printable(event["kind"]), details]
    return " ".join(parts).rstrip() + "\n"


def _detail(key: Any, value: Any) -> str:  # noqa: ANN401  whatever was recorded
    # A truth; the number that stands beside it is of jobs.
    text = ("no", "yes")[value] if key == "ok" and value in (0, 1) else printable(value)
    return f"{printable(key)}={text if text and ' ' not in text else repr(text)}"
