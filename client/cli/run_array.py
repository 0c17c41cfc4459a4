"""`runctl run --array`: one submission, many jobs that differ in their index. None is followed.

Which indexes are written how is `client.cli.array_ranges`'; what the jobs are is said by the other
options of `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli.announcing import announce
from client.cli.common import open_client, say
from client.cli.quantity import Quantity
from client.cli.run_queue import QUEUE
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.contexts import Target


_WORDS: Final = {
    "array": "--array",
    "array.ranges": "--array",
    "array.max_running": "--array",
}


def _array(text: str) -> Any:  # noqa: ANN401  read when it is given
    from client.cli.array_ranges import parse_array

    return parse_array(text)


array_options: Final = all_of([
    option("--array", QUEUE, type=Quantity("indexes[%n]", _array), metavar="INDEXES[%N]",
           help="A job for each index, N at once: 0-99, 1,3,5-7, 0-99:2, 0-999%4. Prints the "
                "array's id; the index is RUNNERD_ARRAY_INDEX."),
])  # fmt: skip


def is_asked_for(options: Mapping[str, Any]) -> bool:
    """Whether an array is wanted. Raises UsageError for what it excludes."""
    if options["array"] is None:
        return False
    if options["every"] is not None:
        raise click.UsageError("--array and --every exclude each other")
    return True


def make(
    target: Target | None,
    options: Mapping[str, Any],
    arguments: Mapping[str, Any],
    words: Mapping[str, str],
) -> int:
    """Submit the array and print its id; `words` are those of `run` for the fields of a job."""
    from client.errors import ClientError, RequestRefused, describe

    array = options["array"]
    of_job = {f"submit.{field}": word for field, word in words.items()}
    with open_client(target) as client:
        try:
            made = client.submit_array(
                ranges=array.ranges, max_running=array.max_running, **arguments
            )
        except RequestRefused as error:
            raise ClientError(describe(error, {**words, **of_job, **_WORDS})) from error
    if made["existing"] and not options["as_json"]:
        from client.cli.group_words import existing

        say(existing(made))
    announce("array", made["group"], made, as_json=options["as_json"])
    return 0
