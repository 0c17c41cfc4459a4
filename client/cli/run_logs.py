"""The options of `run` for how a job's log is kept, and their fields.

How much of the output is kept is a limit (`client.cli.run_limits`, --output-max); reading a
log is `client.cli.logs`'s. Bounds are the daemon's to check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.records import Logs

LOG: Final = "Log"

# The words of this command line for the fields of the protocol.
WORDS: Final = {
    "logs.segment_bytes": "--log-segment",
    "logs.keep_segments": "--log-keep-segments",
    "logs.compression": "--log-compression",
    "logs.on_full": "--log-full",
}

log_options: Final = all_of([
    option("--log-segment", LOG, type=params.SIZE, metavar="SIZE",
           help="The log goes on in a new file at this size: 1M."),
    option("--log-keep-segments", LOG, type=params.INTEGER, metavar="N",
           help="Files kept, the newest, 2 at least; see also --output-max."),
    option("--log-compression", LOG, type=click.Choice(["none", "zstd"]), metavar="none|zstd",
           help="What becomes of files that are complete. The job pays for it."),
    option("--log-full", LOG, type=click.Choice(["wait", "drop", "end"]),
           metavar="wait|drop|end",
           help="The disk is full: the job waits for room, its output is dropped and counted, "
                "or the job ends."),
])  # fmt: skip


def asked_logs(options: Mapping[str, Any]) -> Logs | None:
    """The fields that were typed, if any."""
    typed = {
        field.removeprefix("logs."): options[word[2:].replace("-", "_")]
        for field, word in WORDS.items()
    }
    logs: Logs = {}
    # The table above has the names of the fields, which the type cannot see.
    logs.update({name: value for name, value in typed.items() if value is not None})  # type: ignore[typeddict-item]
    return logs or None
