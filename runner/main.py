"""The `runnerd` command: options, configuration, log, exit status; and its verbs.

Without a verb it is the daemon. A verb is a client of one that runs; each has a module.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast

import click

from client import __version__, units
from runner import config as configuration
from runner import journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_EXIT_CANNOT_START = 1
_EXIT_CANNOT_ASK = 125


class _Given(NamedTuple):
    """What `runnerd` itself was given, for a verb."""

    socket: str | None
    load: Callable[[], configuration.Config]


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """A time as everywhere in this project: 90, 10m, 1h30m."""
    try:
        return None if text is None else units.parse_duration(text, zero=True)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    subcommand_metavar="[VERB]",
)
@click.option("--config", "config_path", metavar="FILE", help="Configuration, TOML "
              f"(default: {configuration.DEFAULT_PATH} if it is there).")  # fmt: skip
@click.option("--socket", metavar="PATH", help="Where clients connect.")
@click.option("--state-dir", metavar="DIR", help="Jobs, their output, and the store.")
@click.option("--cgroup-root", metavar="DIR", help="The cgroup below which jobs are placed.")
@click.version_option(__version__, prog_name="runnerd", message="%(prog)s %(version)s")
@click.pass_context
def main(
    ctx: click.Context,
    config_path: str | None,
    socket: str | None,
    state_dir: str | None,
    cgroup_root: str | None,
) -> None:
    """Run jobs with hard limits, in namespaces of their own. Stays in the foreground.

    SIGTERM or Ctrl-C stops it. What becomes of running jobs then is configured; by default
    they go on, and the next runnerd has them again.
    """

    def load() -> configuration.Config:
        return configuration.load(config_path).with_overrides(
            socket=socket, state_dir=state_dir, cgroup_root=cgroup_root
        )

    ctx.obj = _Given(socket, load)
    if ctx.invoked_subcommand is None:
        _be_the_daemon(load)


@main.command(short_help="Take no more jobs, and wait for those that run.")
@click.option("--timeout", callback=_seconds, metavar="DURATION",
              help="Wait no longer than that.")  # fmt: skip
@click.option("--stop", is_flag=True, help="Stop the jobs that run then; without a time, at once.")
@click.option("--cancel", is_flag=True, help="Take jobs again, and start those that wait.")
@click.option("--socket", metavar="PATH", help="Of the runnerd that is meant (also RUNNERD_SOCKET; "
              "default: as configured).")  # fmt: skip
@click.pass_obj
def drain(
    given: _Given, *, timeout: float | None, stop: bool, cancel: bool, socket: str | None
) -> None:
    """Have the runnerd that runs take and start no more jobs, and wait for those that run.

    It stays so, over restarts too, until `runnerd drain --cancel`. Ends with 0 when no job
    runs any more, with 1 when some still do.
    """
    if cancel and (stop or timeout is not None):
        raise click.UsageError("--cancel stands alone: it neither waits nor stops")
    from runner import drain_command

    path = socket or given.socket or os.environ.get("RUNNERD_SOCKET") or _configured(given)
    sys.exit(drain_command.cancel(path) if cancel else drain_command.drain(path, timeout, stop))


def _configured(given: _Given) -> str:
    """Where the runnerd of the configuration listens."""
    try:
        return given.load().socket
    except configuration.ConfigError as error:
        click.echo(f"runnerd drain: {error}; --socket needs no configuration", err=True)
        sys.exit(_EXIT_CANNOT_ASK)


def _be_the_daemon(load: Callable[[], configuration.Config]) -> None:
    journal.begin(sys.stderr)
    try:
        loaded = load()
    except configuration.ConfigError as error:
        _refuse(str(error))
    if os.geteuid() != 0:
        _refuse("it must be started as root: it makes cgroups and namespaces (sudo runnerd)")
    # Only now: the daemon's parts take 0.3 s to import, and a mistake should not wait for them.
    asyncio = _asyncio_alone()
    from runner.daemon import StartError, serve
    from runner.event_loop import Loop

    try:
        with asyncio.Runner(loop_factory=Loop) as loop:
            loop.run(serve(loaded))
    except StartError as error:
        _refuse(str(error))


def _asyncio_alone() -> ModuleType:
    """The event loop's library without libssl and libcrypto: 5 MB for TLS, which nobody speaks.

    Where a module is None it cannot be imported (sys.modules of Python's reference, "The module
    cache"): asyncio does without ssl then, hashlib and hmac with Python's own algorithms. Who needs
    ssl later finds it again.
    """
    spared = [name for name in ("ssl", "_hashlib") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(spared, cast("ModuleType", None)))
    try:
        import asyncio
        import hashlib  # noqa: F401 - kept by the module cache, as they are now
        import hmac  # noqa: F401
    finally:
        for name in spared:
            del sys.modules[name]
    return asyncio


def _refuse(why: str) -> NoReturn:
    click.echo(f"runnerd: cannot start: {why}", err=True)
    sys.exit(_EXIT_CANNOT_START)


if __name__ == "__main__":
    main()
