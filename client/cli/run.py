"""`runctl run`: options to a submission; then the id alone, or `client.cli.foreground`.

Bounds of the limits are the daemon's to check; here only what cannot be read is refused.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.common import flush, open_client, say, write, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from client.records import IoLimit, Limits

# The words of this command line for the fields of the protocol.
OPTIONS: Final = {
    "limits.memory_max_bytes": "--mem",
    "limits.cpu_max_millicpus": "--cpus",
    "limits.pids_max": "--pids",
    "limits.timeout_seconds": "--timeout",
    "limits.io": "--io-read/--io-write",
    "limits.io.read_bytes_per_second": "--io-read",
    "limits.io.write_bytes_per_second": "--io-write",
    "network": "--net",
    "name": "--name",
    "env": "--env",
    "cwd": "--cwd",
    "user": "--user",
}


@click.command(
    name="run",
    short_help="Run a command as a job.",
    # So that `runctl run make -j2` needs no "--": options end where the command begins.
    context_settings={"allow_interspersed_args": False},
)
@click.option("--mem", type=params.SIZE, metavar="SIZE", help="Memory limit: 256M, 1.5G.")
@click.option("--cpus", type=params.CPUS, metavar="N", help="CPUs at most: 0.5, 2.")
@click.option("--pids", type=int, metavar="N", help="Processes and threads at most.")
@click.option(
    "--io-read",
    type=params.PATH_RATE,
    multiple=True,
    metavar="PATH:RATE",
    help="Bytes a second read from the disk under PATH: /srv:10M. May be repeated.",
)
@click.option(
    "--io-write",
    type=params.PATH_RATE,
    multiple=True,
    metavar="PATH:RATE",
    help="The same for writing.",
)
@click.option(
    "--timeout", type=params.DURATION, metavar="DURATION", help="Wall-clock limit: 90, 10m, 1h30m."
)
@click.option(
    "--net",
    type=click.Choice(["none", "host"]),
    default="none",
    help="Network: loopback only (none, the default) or the host's.",
)
@click.option("--name", metavar="NAME", help="A name to call the job by.")
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable, over the environment of this command. May be repeated.",
)
@click.option("--cwd", metavar="DIR", help="Directory to run in (default: this one).")
@click.option("--user", metavar="USER", help="Run as this user (root and admins only).")
@click.option("-d", "--detach", is_flag=True, help="Print the job's id and leave it running.")
@click.option("--json", "as_json", is_flag=True, help="With -d: write JSON.")
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def command(socket_path: str | None, /, **options: Any) -> int:  # noqa: ANN401  click's values
    """Run COMMAND as a job, with hard limits and isolation.

    In the foreground the job's output comes out here, Ctrl-C stops it (twice: kills it), and
    the exit status is the job's: 128+N for signal N, 124 at the time limit, 126 and 127
    when the command cannot be run or found, 125 for failures of runctl or runnerd.
    The job's standard input is empty.
    """
    if options["as_json"] and not options["detach"]:
        raise click.UsageError("--json goes with --detach; `runctl wait --json` gives the result")
    if options["cwd"] == "":
        raise click.UsageError("--cwd: '' given; a directory is allowed")
    arguments, words = _arguments(options), _words(options)
    if options["detach"]:
        return _detach(socket_path, arguments, words, as_json=options["as_json"])
    from client.cli.foreground import run_in_foreground

    return run_in_foreground(socket_path, arguments, words)


def _words(options: dict[str, Any]) -> dict[str, str]:
    """OPTIONS, with the one option for disk bandwidth where only one was typed."""
    typed = [name for name in ("read", "write") if options[f"io_{name}"]]
    word = f"--io-{typed[0]}" if len(typed) == 1 else OPTIONS["limits.io"]
    return {**OPTIONS, "limits.io": word, "limits.io.path": word}


def _detach(
    socket_path: str | None, arguments: dict[str, Any], words: dict[str, str], *, as_json: bool
) -> int:
    from client.errors import ClientError, RequestRefused, describe

    with open_client(socket_path) as client:
        try:
            job = client.submit(**arguments)
        except RequestRefused as error:
            raise ClientError(describe(error, words)) from error
    try:
        _print_id(job, as_json=as_json)
    except BrokenPipeError:
        say(f"job {job} was submitted")
        raise
    except OSError as error:
        text = f"job {job} was submitted; cannot write its id to stdout: {error.strerror}"
        raise ClientError(text) from error
    return 0


def _print_id(job: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"job": job})
    else:
        write(f"{job}\n")
    flush()


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `Client.submit`."""
    user = options["user"]
    return {
        "argv": list(options["command"]),
        "cwd": _absolute(options["cwd"]) if options["cwd"] else None,
        "env": _environment(options["env"]),
        "name": options["name"],
        "network": options["net"],
        "user": int(user) if user and user.isascii() and user.isdigit() else user,
        "limits": _limits(options),
    }


def _limits(options: dict[str, Any]) -> Limits:
    limits: Limits = {
        "memory_max_bytes": options["mem"],
        "cpu_max_millicpus": options["cpus"],
        "pids_max": options["pids"],
        "timeout_seconds": options["timeout"],
    }
    if io := merge_io(options["io_read"], options["io_write"]):
        limits["io"] = io
    return limits


def merge_io(reads: Iterable[tuple[str, int]], writes: Iterable[tuple[str, int]]) -> list[IoLimit]:
    """One entry a path, absolute; of two rates of one kind for a path the last one counts."""
    entries: dict[str, IoLimit] = {}
    for path, rate in reads:
        entries.setdefault(_absolute(path), {"path": _absolute(path)})["read_bytes_per_second"] = (
            rate
        )
    for path, rate in writes:
        entries.setdefault(_absolute(path), {"path": _absolute(path)})["write_bytes_per_second"] = (
            rate
        )
    return list(entries.values())


def _absolute(path: str) -> str:
    """The path below the current directory, links and ".." left to the kernel."""
    from client.submission import current_directory

    return path if path.startswith("/") else os.path.join(os.fsdecode(current_directory()), path)


def _environment(settings: Iterable[str]) -> dict[str | bytes, str | bytes]:
    """The caller's whole environment with the settings over it."""
    from client.submission import own_environment

    environment: dict[str | bytes, str | bytes] = {}
    environment.update(own_environment().items())
    for setting in settings:
        name, equals, value = os.fsencode(setting).partition(b"=")
        if not name:
            raise click.UsageError(f"--env: {setting!a} given; NAME=VALUE or NAME is allowed")
        if equals:
            environment[name] = value
        elif name not in environment:
            raise click.UsageError(
                f"--env: {setting!a} given without a value, and it is not set here"
            )
    return environment
