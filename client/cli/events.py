"""`runctl events`: what happened to jobs, from a number on, and as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli.common import flush, json_option, open_client, say, short, write, write_json
from client.text import printable
from client.units import MAX_INTEGER

if TYPE_CHECKING:
    from client.cli.log_times import Stamps
    from client.eventstream import EventStream
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
@click.option("--job", metavar="JOB", help="Of this job alone.")
@json_option
@click.pass_obj
def command(
    socket_path: str | None, *, follow: bool, since: int | None, job: str | None, as_json: bool
) -> int:
    """Show what happened to your jobs, a line an event: number, time, job, what, and details.

    An admin sees everybody's. Who goes on with the last number that was seen misses nothing.
    """
    from client.errors import ClientError, RequestRefused, describe

    since = 0 if since is None and not follow else since
    with open_client(socket_path) as client:
        try:
            with client.events(since=since, follow=follow, job=job) as stream:
                _show(stream, as_json=as_json)
        except RequestRefused as error:
            error.job = job
            raise ClientError(describe(error, _WORDS)) from error
    return 0


def _show(stream: EventStream, *, as_json: bool) -> None:
    from client.cli.log_times import Stamps

    stamps = Stamps()
    for item in stream:
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
    text = printable(value)
    return f"{printable(key)}={text if text and ' ' not in text else repr(text)}"
