"""`runctl take-over`: goes on where the native `run` left off. Not for people, so not in the help.

The native front (client/native/runctl.c) submits and copies; whatever has to be said or decided it
leaves to this, with the signals that came meanwhile blocked and pending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.units import MAX_INTEGER

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="take-over", hidden=True)
@click.argument("job")
@click.argument("attempt", type=click.IntRange(1, MAX_INTEGER))
@click.argument("cursor", type=click.IntRange(0, MAX_INTEGER))
@click.pass_obj
def command(target: Target | None, job: str, attempt: int, cursor: int) -> int:
    """Follow JOB in the foreground, from the byte CURSOR of the output of its ATTEMPT on."""
    from client.cli.foreground import take_over

    return take_over(target, job, attempt, cursor)
