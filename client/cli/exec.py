"""`runctl exec`: another command inside a job that runs, as if it were started here."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

import click

from client.cli.common import naming, open_client, say

if TYPE_CHECKING:
    from types import FrameType

    from client.api import Client
    from client.contexts import Target
    from client.execstream import ExecStream

_FAILURE: Final = 125
_READER_GONE: Final = 128 + signal.SIGPIPE
_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_WORDS: Final = {"env": "--env", "cwd": "--cwd"}


@click.command(
    name="exec",
    short_help="Run another command inside a job.",
    # Options end where the job is named.
    context_settings={"allow_interspersed_args": False},
)
@click.option("--cwd", metavar="DIR", help="Directory of the job's tree (default: the job's own).")
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable, over the job's environment. May be repeated.",
)
@click.option(
    "--clean-env",
    is_flag=True,
    help="Not the job's environment: a PATH, HOME, USER, LOGNAME, SHELL and LANG, and --env.",
)
@click.argument("job", metavar="JOB")
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def command(target: Target | None, /, **options: Any) -> int:  # noqa: ANN401  click's values
    """Run COMMAND inside a running JOB: what the job sees, as its user, within its limits.

    Its output comes out here and is not part of the job's. Ctrl-C interrupts it, twice kills
    it. The exit status is the command's: 128+N for signal N, 126 and 127 when it cannot be run
    or found, 125 for failures of runctl or runnerd. Its standard input is empty.
    """
    words = list(options["command"])
    if words[0] == "--":
        words = words[1:]
    if not words:
        raise click.UsageError("no command given")
    if options["cwd"] is not None and not options["cwd"].startswith("/"):
        given = ascii(options["cwd"])
        raise click.UsageError(f"--cwd: {given} given; an absolute path in the job is allowed")
    with open_client(target) as client, naming(options["job"]):
        return _run(client, options, words)


def _run(client: Client, options: dict[str, Any], words: list[str]) -> int:
    from client.errors import ClientError, RequestRefused, describe

    environment = _environment(client, options)
    job, is_clean = options["job"], options["clean_env"]
    try:
        with client.exec(
            job, words, env=environment, clean_env=is_clean, cwd=options["cwd"]
        ) as stream:
            return _see_through(stream, words[0])
    except RequestRefused as error:
        if error.field in (None, "job"):
            raise
        raise ClientError(describe(error, _WORDS)) from error


def _environment(client: Client, options: dict[str, Any]) -> dict[str | bytes, str | bytes]:
    from client.cli.settings import lay_over
    from client.elsewhere import clean_environment_elsewhere
    from client.environment import clean_environment, own_environment

    environment: dict[str | bytes, str | bytes] = {}
    if options["clean_env"]:
        status = client.status(options["job"])
        options["job"] = status["job"]
        clean = clean_environment_elsewhere if client.is_elsewhere else clean_environment
        environment.update(clean(status["user"]).items())
    return lay_over(environment, options["env"], own_environment())


def _see_through(stream: ExecStream, name: str) -> int:
    from client.cli.copy import STDERR_FD, write_all
    from client.protocol import STDERR

    with _Forwarding(stream):
        for chunk in stream:
            try:
                write_all(STDERR_FD if chunk.stream == STDERR else 1, chunk.data)
            except BrokenPipeError:
                # Leaving the stream kills the command, which nobody reads any more.
                return _READER_GONE
            except OSError as error:
                say(f"cannot write the output ({error.strerror}); the command is killed")
                return _FAILURE
    result = stream.result
    if result is None:
        return _FAILURE
    if result["detail"]:
        was_started = result["exit_code"] is not None or result["signal"] is not None
        say(f"{name}: {result['detail']}" if was_started else result["detail"])
    return result["exit_status"]


class _Forwarding:
    """Our signals become the command's; a second SIGINT, and SIGQUIT, kill it."""

    def __init__(self, stream: ExecStream) -> None:
        self._stream = stream
        self._interrupts = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for number in _FORWARDED:
            # Ignored by who started us (nohup, a shell's background job): it stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if number == signal.SIGQUIT or self._interrupts > 1:
            number = signal.SIGKILL
        elif number == signal.SIGINT:
            say("interrupting the command; press Ctrl-C again to kill it")
        self._stream.signal(number)
