"""`runctl version`: this program's and, when it can be reached, the daemon's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client import __version__
from client.cli.common import json_option, open_client, say, write, write_json

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="version", short_help="Show versions of runctl and runnerd.")
@json_option
@click.pass_obj
def command(target: Target | None, *, as_json: bool) -> None:
    """Show the versions of runctl and of the runnerd that answers.

    Exits with 0 also when none does.
    """
    from client.errors import ClientError, describe
    from client.protocol import PROTOCOL_VERSION

    server = problem = None
    try:
        with open_client(target) as client:
            server = client.hello()["server"]
    except ClientError as error:
        problem = describe(error)
    if as_json:
        client_version = f"runctl {__version__}"
        answer = {"client": client_version, "protocol": PROTOCOL_VERSION, "server": server}
        write_json({**answer, "problem": problem})
        return
    write(f"runctl {__version__}\n")
    if server:
        from client.text import printable

        write(f"{printable(server)}\n")
    if problem:
        say(problem)
