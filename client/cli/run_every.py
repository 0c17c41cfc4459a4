"""`runctl run --every`: the options of a schedule, and how it is made. No job is followed.

What its runs are is said by the other options of `run`. The verbs for schedules that are there are
`client.cli.schedule`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli.announcing import announce
from client.cli.common import open_client
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.contexts import Target


SCHEDULE: Final = "Schedule"

_WORDS: Final = {
    "every": "--every",
    "zone": "--zone",
    "missed": "--missed",
    "overlap": "--overlap",
    "name": "--name",
}

every_options: Final = all_of([
    option("--every", SCHEDULE, metavar="CRON",
           help="Make a schedule and print its id: '0 9 * * mon-fri', @daily, '@every 10m'."),
    option("--zone", SCHEDULE, metavar="ZONE",
           help="The time zone of its times, such as Europe/Berlin (default: the host's)."),
    option("--missed", SCHEDULE, metavar="skip|once|all",
           help="What becomes of times that pass while runnerd is down (default: once)."),
    option("--overlap", SCHEDULE, metavar="allow|skip",
           help="Whether one may run while the last has not ended (default: allow)."),
])  # fmt: skip


def is_asked_for(options: Mapping[str, Any]) -> bool:
    """Whether a schedule is wanted. Raises UsageError for its options without it."""
    if options["every"] is not None:
        return True
    for name in ("zone", "missed", "overlap"):
        if options[name] is not None:
            raise click.UsageError(f"--{name} goes with --every")
    return False


def make(
    target: Target | None,
    options: Mapping[str, Any],
    arguments: Mapping[str, Any],
    words: Mapping[str, str],
) -> int:
    """Make the schedule and print its id; `words` are those of `run` for the fields of a job."""
    from client.errors import ClientError, RequestRefused, describe

    asked = {name: options[name] for name in ("zone", "missed", "overlap")}
    given = {name: value for name, value in asked.items() if value is not None}
    every = {"schedule_name": arguments["name"], **given, **arguments}
    of_job = {f"submit.{field}": word for field, word in words.items()}
    with open_client(target) as client:
        try:
            made = client.make_schedule(options["every"], **every)
        except RequestRefused as error:
            raise ClientError(describe(error, {**of_job, **_WORDS})) from error
    announce("schedule", made["schedule"], made, as_json=options["as_json"], done="made")
    return 0
