"""`runctl queue`: pause a queue, let it go on, cap it. `client.cli.queues` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.common import json_option, open_client, write, write_json
from client.text import printable

if TYPE_CHECKING:
    from client.contexts import Target
    from client.records import QueueSetting

# The words of this command line for the fields of the protocol.
_WORDS: Final = {"name": "NAME", "paused": "--pause/--resume", "max_running": "--max-running"}


@click.command(name="queue", short_help="Pause or cap a queue (admins).")
@click.option("--pause", is_flag=True, help="Start none of its jobs.")
@click.option("--resume", is_flag=True, help="Start them again.")
@click.option(
    "--max-running",
    type=params.Liftable(params.INTEGER),
    metavar="N|none",
    help="At most N of its jobs run at once; none: as configured.",
)
@click.argument("name", metavar="NAME")
@json_option
@click.pass_obj
def command(
    target: Target | None,
    *,
    name: str,
    pause: bool,
    resume: bool,
    max_running: Any,  # noqa: ANN401  a number, or LIFT
    as_json: bool,
) -> None:
    """Change the queue NAME until it is changed again, over restarts too. For root and admins.

    Jobs that run are left alone.
    """
    if pause and resume:
        raise click.UsageError("--pause and --resume are opposites; give one of them")
    if not (pause or resume) and max_running is None:
        raise click.UsageError(
            "--pause, --resume or --max-running is needed; `runctl queues` shows the queues"
        )
    changes: dict[str, Any] = {"paused": pause} if pause or resume else {}
    if max_running is not None:
        changes["max_running"] = None if max_running is params.LIFT else max_running
    setting = _set(target, name, changes)
    if as_json:
        write_json(setting)
    else:
        write(f"{_told(setting)}\n")


def _set(target: Target | None, name: str, changes: dict[str, Any]) -> QueueSetting:
    from client.errors import ClientError, RequestRefused, describe

    with open_client(target) as client:
        try:
            return client.set_queue(name, **changes)
        except RequestRefused as error:
            raise ClientError(describe(error, _WORDS)) from error


def _told(setting: QueueSetting) -> str:
    most = setting["max_running"]
    cap = "as many of its jobs run as may" if most is None else f"at most {most} of its jobs run"
    return f"{printable(setting['name'])} is {'paused' if setting['paused'] else 'open'}; {cap}"
