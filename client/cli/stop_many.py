"""`runctl stop` without JOBs: every job that is meant, once somebody has said yes to the number.

The number is asked for first, and nothing is stopped when it is another by then. Single jobs are
`client.cli.stop`'s.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.common import flush, open_client, say, write, write_json
from client.cli.selecting import WORDS
from client.errors import ClientError, RequestRefused, describe

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import Selection, StoppedGroup, StoppedMany

_FAILURE: Final = 125
_WORDS: Final = {**WORDS, "grace_seconds": "--grace"}


class How(NamedTuple):
    """What was asked for: see the options of `stop`."""

    grace: float | None
    kill: bool
    wait: bool
    yes: bool
    as_json: bool


def stop_many(target: Target | None, select: Selection, how: How) -> int:
    """Stop them all; the exit status."""
    with open_client(target) as client:
        try:
            stopped = _confirmed(client, select, how)
        except RequestRefused as error:
            raise ClientError(describe(error, _WORDS)) from error
        if stopped is None:
            say("nothing was stopped")
            return _FAILURE
        if how.wait:
            _await(client, stopped)
    if how.as_json:
        write_json(stopped)
    else:
        # Of more than it named, it cannot be said that they have ended.
        has_waited = how.wait and len(stopped["ids"]) == stopped["jobs"]
        write(f"{asked(stopped, has_waited=has_waited)}\n")
    return 0


def _confirmed(client: Client, select: Selection, how: How) -> StoppedMany | None:
    """What was stopped; None when somebody said no."""
    found = client.stop_many(select, kill=how.kill, dry_run=True)
    while found["jobs"]:
        if not how.yes and not _is_yes(found):
            return None
        number = found["jobs"]
        found = _stopped(client, select, how, number)
        if found["jobs"] == number:
            return found
        text = f"meanwhile it is {_counted(found)}, not {number}; nothing was stopped"
        if how.yes:
            raise ClientError(f"{text}; try again")
        say(text)
    return found


def _stopped(client: Client, select: Selection, how: How, number: int) -> StoppedMany:
    """Stop them if there are so many, else count them again."""
    try:
        return client.stop_many(select, grace_seconds=how.grace, kill=how.kill, expect=number)
    except RequestRefused as error:
        if error.field != "expect":
            raise
    return client.stop_many(select, kill=how.kill, dry_run=True)


def _is_yes(found: StoppedMany) -> bool:
    """Ask on the terminal. Raises ClientError where there is none to ask on."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise ClientError(
            f"this would stop {_counted(found)}; there is no terminal to ask on: "
            "--yes does it without asking"
        )
    flush()
    verb = "stop"
    sys.stderr.write(f"{verb} {_counted(found)}? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")


def _counted(found: StoppedMany | StoppedGroup) -> str:
    jobs = f"{found['jobs']} {'job' if found['jobs'] == 1 else 'jobs'}"
    if not found["jobs"]:
        return "no jobs"
    return f"{jobs} ({found['queued']} queued, {found['running']} running)"


def _await(client: Client, stopped: StoppedMany) -> None:
    for job in stopped["ids"]:
        try:
            client.wait(job)
        except RequestRefused as error:
            # Who is faster than we, and removes it, has seen its end.
            if error.code != "no-such-job":
                raise


def asked(stopped: StoppedMany | StoppedGroup, *, has_waited: bool) -> str:
    """How many were stopped, or asked to stop where some ran and nobody waited for their ends."""
    if not stopped["jobs"]:
        return "no job to stop"
    is_over = has_waited or not stopped["running"]
    return f"{_counted(stopped)} {'stopped' if is_over else 'asked to stop'}"
