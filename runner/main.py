"""The `runnerd` command: options, configuration, log, exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import NoReturn

import click

from client import __version__
from runner import config as configuration

_EXIT_CANNOT_START = 1


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_path", metavar="FILE", help="Configuration, TOML "
              f"(default: {configuration.DEFAULT_PATH} if it is there).")  # fmt: skip
@click.option("--socket", metavar="PATH", help="Where clients connect.")
@click.option("--state-dir", metavar="DIR", help="Jobs, their output, and the store.")
@click.option("--cgroup-root", metavar="DIR", help="The cgroup below which jobs are placed.")
@click.version_option(__version__, prog_name="runnerd", message="%(prog)s %(version)s")
def main(
    config_path: str | None,
    socket: str | None,
    state_dir: str | None,
    cgroup_root: str | None,
) -> None:
    """Run jobs with hard limits, in namespaces of their own. Stays in the foreground.

    SIGTERM or Ctrl-C stops it; running jobs go on, and the next runnerd has them again.
    """
    _log_to_stderr()
    try:
        loaded = configuration.load(config_path).with_overrides(
            socket=socket, state_dir=state_dir, cgroup_root=cgroup_root
        )
    except configuration.ConfigError as error:
        _refuse(str(error))
    if os.geteuid() != 0:
        _refuse("it must be started as root: it makes cgroups and namespaces (sudo runnerd)")
    # Only now: the daemon's parts take 0.3 s to import, and a mistake should not wait for them.
    from runner.daemon import StartError, serve

    try:
        asyncio.run(serve(loaded))
    except StartError as error:
        _refuse(str(error))


def _refuse(why: str) -> NoReturn:
    click.echo(f"runnerd: cannot start: {why}", err=True)
    sys.exit(_EXIT_CANNOT_START)


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )


if __name__ == "__main__":
    main()
