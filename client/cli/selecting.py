"""The options that say which jobs are meant, of `ps` and `stop`: words, help, and their fields.

All that is given must hold. Which jobs that are, is the daemon's to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import queue_params
from client.cli.sections import all_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.records import Selection

# The words of this command line for the fields of the protocol.
WORDS: Final = {
    "select.queue": "--queue",
    "select.user": "--user",
    "select.name": "--name",
    "select.labels": "--label",
    "select.states": "--state",
    "select.group": "--group",
}

select_options: Final = all_of([
    click.option("--queue", metavar="NAME", help="Of this queue."),
    click.option("--label", "labels", type=queue_params.LABEL_ASKED, multiple=True,
                 metavar="NAME[=VALUE]", help="With this label. May be repeated: with all."),
    click.option("--user", metavar="NAME", help="Submitted by this user (a name or number)."),
    click.option("--name", metavar="PATTERN", help="With such a name: 'nightly-*'."),
])  # fmt: skip


def selection(options: Mapping[str, Any]) -> Selection:
    """What was typed, and nothing else. Raises click.UsageError."""
    select: Selection = {}
    if options["queue"] is not None:
        select["queue"] = options["queue"]
    if options["user"] is not None:
        from client.cli.run_sandbox import account

        select["user"] = account(options["user"])
    if options["name"] is not None:
        select["name"] = options["name"]
    if options["labels"]:
        select["labels"] = _labels(options["labels"])
    return select


def _labels(typed: tuple[tuple[str, str | None], ...]) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for name, value in typed:
        if labels.setdefault(name, value) != value:
            raise click.UsageError(f"--label: {name!a} given twice, with different values")
    return labels
