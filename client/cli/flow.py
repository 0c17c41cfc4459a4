"""`runctl flow`: submit the jobs of a flow file, check one, show a flow as a tree.

What a file says is `client.flow_steps`'s, what its options mean `flow_options`', how a flow is
drawn `flow_tree`'s. A flow is stopped, retried, waited for and removed by the verbs for jobs.
"""

from __future__ import annotations

import os.path
import re
import sys
from typing import TYPE_CHECKING, Final

import click

from client.cli.announcing import announce
from client.cli.common import json_option, naming, open_client, say, write, write_json
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from client.api import Client
    from client.cli.flow_options import Made
    from client.contexts import Target
    from client.errors import RequestRefused
    from client.flow_file import FlowFileError
    from client.flow_steps import Flow
    from client.records import SubmittedGroup

_PIPE: Final = "-"
# The words of a flow file for the fields of the protocol that are no step's.
_WORDS: Final = {
    "name": "name",
    "max_running": "max_running",
    "hooks": "hook",
    "idempotency_key": "key",
    "needs": "needs",
    "needs.step": "needs",
    "values": "matrix",
}
_STEP: Final = re.compile(r"steps\[([0-9]{1,9})\](?:\.(?:submit\.)?(.+))?")

_file = click.argument("file", metavar="FILE")
_format = click.option(
    "--format",
    "kind",
    type=click.Choice(["toml", "yaml"]),
    metavar="toml|yaml",
    help="What FILE is, where its name does not say so.",
)


@click.group(name="flow", short_help="Submit steps that need each other; show them as a tree.")
def command() -> None:
    """Jobs that need each other, described in a file and submitted as one thing.

    FILE is TOML or YAML (docs/FLOWS.md), or - for standard input. A flow is called by its id or
    name, a job of it FLOW.STEP; `runctl stop`, `retry`, `wait`, `rm` and the like take both.
    """


@command.command()
@_file
@_format
@click.option("-n", "--dry-run", is_flag=True, help="Only check and show it, as `flow check`.")
@click.option("-f", "--follow", is_flag=True, help="Show its tree until it has ended.")
@json_option
@click.pass_obj
def run(
    target: Target | None,
    *,
    file: str,
    kind: str | None,
    dry_run: bool,
    follow: bool,
    as_json: bool,
) -> int:
    """Submit the jobs of FILE, all of them or none, and print the flow's id.

    With -f it exits as `runctl wait` does: 0 when every step went well, else with the exit status
    of the first one that failed. Ctrl-C leaves the flow running.
    """
    if follow and as_json:
        raise click.UsageError("--follow and --json exclude each other")
    flow, made = _read(file, kind)
    if dry_run:
        return _show_plan(flow, as_json=as_json)
    with open_client(target) as client:
        submitted = _submit(client, flow, made, _where(file))
    _print(submitted, as_json=as_json)
    return _watch(target, submitted["group"], is_there=True) if follow else 0


@command.command()
@_file
@_format
@json_option
def check(*, file: str, kind: str | None, as_json: bool) -> int:
    """Check FILE and show its steps as a tree. Nothing is submitted, no runnerd is needed.

    What only runnerd knows (queues, quotas, users' paths) is not looked at.
    """
    flow, _ = _read(file, kind)
    return _show_plan(flow, as_json=as_json)


@command.command()
@click.argument("reference", metavar="FLOW")
@click.option("-w", "--watch", is_flag=True, help="Go on until it has ended; exit as it did.")
@json_option
@click.pass_obj
def show(target: Target | None, *, reference: str, watch: bool, as_json: bool) -> int:
    """Show a flow as a tree, each step with its state.

    A step is under the last one that it needs; "after" says what else it needs. Without a terminal
    --watch writes a line whenever the state of a step changes.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    if watch:
        return _watch(target, reference)
    from client.cli.group_members import whole
    from client.errors import RequestRefused

    with open_client(target) as client, naming(reference):
        try:
            status = whole(client, reference)
        except RequestRefused as error:
            _refuse_a_job(client, reference, error)
            raise
    if as_json:
        write_json(status)
    else:
        from client.cli.flow_tree import tree
        from client.cli.flow_watch import look

        write(tree(status, look()))
    return 0


def _refuse_a_job(client: Client, reference: str, error: RequestRefused) -> None:
    """Raises ClientError where a job was named, which is of no steps."""
    from client.errors import ClientError, RequestRefused

    if error.code != "no-such-job":
        return
    try:
        client.status(reference)
    except RequestRefused:
        return
    name = printable(reference)
    raise ClientError(f"{name} is a single job; `runctl status {name}` shows it") from None


# Files


def _where(file: str) -> str:
    return "standard input" if file == _PIPE else file


def _read(file: str, kind: str | None) -> tuple[Flow, Made]:
    """What a file says, and what would be submitted. Raises FlowFileError."""
    from client.cli.flow_options import made
    from client.flow_file import FlowFileError, format_of, read_flow
    from client.flow_steps import plan

    where = _where(file)
    kind = kind or format_of(file)
    if kind is None:
        text = "" if file == _PIPE else "its name tells no format; end it in .toml or .yaml, or "
        raise FlowFileError(where, f"{text}give --format toml or yaml")
    stem = os.path.basename(file).rpartition(".")[0] or os.path.basename(file)
    data = read_flow(_content(file, where), kind, where)
    flow = plan(data, where, None if file == _PIPE else stem)
    return flow, made(flow, where)


def _content(file: str, where: str) -> bytes:
    """At most one byte more than is allowed."""
    from client.flow_file import FlowFileError

    try:
        if file == _PIPE:
            return _some(sys.stdin.buffer)
        with open(file, "rb") as source:
            return _some(source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FlowFileError(where, f"cannot be read: {reason}") from None


def _some(source: BinaryIO) -> bytes:
    from client.flow_file import MAX_FILE_BYTES

    return source.read(MAX_FILE_BYTES + 1)


def _show_plan(flow: Flow, *, as_json: bool) -> int:
    if as_json:
        jobs = [
            {
                "step": job.name,
                "values": job.values,
                "needs": [need._asdict() for need in job.needs],
                "command": job.command,
            }
            for job in flow.jobs
        ]
        write_json({"name": flow.name, "max_running": flow.max_running, "jobs": jobs})
        return 0
    from client.cli.flow_tree import Leaf, drawn
    from client.cli.flow_watch import look
    from client.cli.group_words import kind_and_size

    leaves = [Leaf(job.name, job.values, job.needs) for job in flow.jobs]
    rows = drawn(leaves, look())
    write(f"{flow.name}: {kind_and_size('flow', len(leaves))}\n")
    write("".join(f"{row.text}\n" for row in rows))
    return 0


# Submission


def _submit(client: Client, flow: Flow, made: Made, where: str) -> SubmittedGroup:
    from client.errors import RequestRefused

    try:
        return client.submit_flow(flow.name, made.steps, env=made.env, **made.options)
    except RequestRefused as error:
        raise _refused(error, flow, made, where) from error


def _refused(error: RequestRefused, flow: Flow, made: Made, where: str) -> FlowFileError:
    """A refusal in the file's words: the step, and its key instead of the protocol's field."""
    from client.errors import describe
    from client.flow_file import FlowFileError

    words: Mapping[str, str] = _WORDS
    found = _STEP.fullmatch(error.field or "")
    if found and int(found[1]) < len(flow.jobs):
        index = int(found[1])
        step = f"step {flow.jobs[index].name}"
        where, error.field = f"{where}: {step}", found[2]
        words = {**_WORDS, **made.words[index]}
        # Also before what was wrong: it is named already.
        error.detail = (error.detail or "").removeprefix(step).removeprefix(": ") or None
    return FlowFileError(where, describe(error, words))


def _print(submitted: SubmittedGroup, *, as_json: bool) -> None:
    if submitted["existing"] and not as_json:
        from client.cli.group_words import existing

        say(existing(submitted))
    announce("flow", submitted["group"], submitted, as_json=as_json)


def _watch(target: Target | None, reference: str, *, is_there: bool = False) -> int:
    from client.cli.flow_watch import watch

    return watch(target, reference, is_there=is_there)
