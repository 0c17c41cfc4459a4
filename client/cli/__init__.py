"""The runctl command: a group that loads a verb's module only when the verb is used.

Each verb is a module of this package with a `command`; what they share is in `common`
(talking to the daemon and to people), `output` (prose and tables) and `copy` (a job's
bytes). What `client.api` does is never done here a second time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

VERBS: Final[Mapping[str, str]] = {
    name: f"client.cli.{name}"
    for name in (
        "run",
        "ps",
        "status",
        "why",
        "logs",
        "exec",
        "stop",
        "pause",
        "resume",
        "update",
        "wait",
        "hold",
        "release",
        "move",
        "retry",
        "queues",
        "queue",
        "schedule",
        "flow",
        "events",
        "rm",
        "prune",
        "doctor",
        "context",
        "version",
    )
}
# What runctl asks of itself.
_HIDDEN: Final[Mapping[str, str]] = {"take-over": "client.cli.take_over"}


class Runctl(click.Group):
    """The group. Whatever goes wrong below it ends as one line on stderr and status 125."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command, imported now."""
        module = VERBS.get(cmd_name) or _HIDDEN.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(module).command
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's signature
        """Run the verb; what click would swallow or reword is turned into an exit status."""
        from client.cli.guard import guarded

        return guarded(lambda: super(Runctl, self).invoke(ctx))

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401  click's signature
        """The entry point: parse, run, exit."""
        from client.cli.guard import finish

        kwargs.update(standalone_mode=False)
        kwargs.setdefault("prog_name", "runctl")
        finish(lambda: super(Runctl, self).main(*args, **kwargs))


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value and not ctx.resilient_parsing:
        from client import __version__

        click.echo(f"runctl {__version__}")
        ctx.exit()


@click.group(cls=Runctl, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    "socket_path",
    metavar="PATH",
    envvar="RUNNERD_SOCKET",
    help="The daemon's socket (also RUNNERD_SOCKET).",
)
@click.option(
    "--context",
    "context_name",
    metavar="NAME",
    envvar="RUNCTL_CONTEXT",
    help="The gateway to go through; see `runctl context` (also RUNCTL_CONTEXT).",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show this program's version and exit.",
)
@click.pass_context
def main(ctx: click.Context, socket_path: str | None, context_name: str | None) -> None:
    """Run commands as jobs with hard limits, and know exactly how they ended.

    JOB is a job's id, the first 4 or more characters of one, or a job's name.
    """
    if socket_path == "":
        raise click.UsageError("--socket: '' given; the path of a socket is allowed")
    ctx.obj = socket_path
    # What contexts are broken must not keep anybody from mending them.
    if ctx.invoked_subcommand != "context":
        from client.contexts import has_default

        if context_name is not None or (socket_path is None and has_default()):
            from client.cli.targets import chosen

            ctx.obj = chosen(ctx, socket_path, context_name)
