"""What every verb needs: a client, a line on stderr, JSON on stdout, a loop over jobs.

No verb's own logic, and no prose about jobs (`client.cli.output`).
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from client.api import Client
    from client.contexts import Target
    from client.errors import GroupMeant, RequestRefused
    from client.records import HeldGroup, State

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
job_argument = click.argument("job", metavar="JOB")
jobs_argument = click.argument("jobs", metavar="JOB...", nargs=-1, required=True)

SHORT_ID_CHARS: Final = 8


def open_client(
    target: Target | None,
    on_away: Callable[[Exception], None] | None = None,
    on_back: Callable[[], None] | None = None,
    *,
    was_reached: bool = False,
) -> Client:
    """A client that tells the user on stderr when it waits for the daemon to come back."""
    from client.api import RECONNECT_SECONDS, Client

    def away(error: Exception) -> None:
        say(f"{who(target, error)} is away; waiting for it, at most {RECONNECT_SECONDS:g} s")

    def back() -> None:
        say(f"{who(target)} is back")

    return Client(target, on_away=on_away or away, on_back=on_back or back, was_reached=was_reached)


def who(target: Target | None, error: Exception | None = None) -> str:
    """Who is away, as far as it is known, or who is there again: runnerd, or a gateway."""
    if target is None or isinstance(target, str):
        return "runnerd"
    # A gateway that says so is there.
    name = getattr(error, "code", None)
    return f"the gateway {target}" if name is None else f"runnerd behind {target}"


def say(text: str) -> None:
    """One line on stderr. Unbuffered: a signal handler may use it at any moment."""
    with suppress(OSError):
        os.write(2, f"runctl: {printable(text)}\n".encode("utf-8", "backslashreplace"))


def write(text: str) -> None:
    """Text on stdout, as it is."""
    if sys.stdout is not None:
        sys.stdout.write(text)


def flush() -> None:
    """Hand on what is buffered for stdout. Raises OSError."""
    if sys.stdout is not None:
        sys.stdout.flush()


def write_json(value: Any, *, line: bool = False) -> None:  # noqa: ANN401  any answer
    """One JSON document on stdout: indented, or on one line. All ASCII.

    Text that is not UTF-8 becomes {"base64": "…"}; as a key, escaped text.
    """
    import json

    document = json.dumps(_jsonable(value), indent=None if line else 2)
    write(document + "\n")
    if line:
        flush()


def _jsonable(value: Any) -> Any:  # noqa: ANN401  any answer
    if isinstance(value, dict):
        return {_key(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        from base64 import b64encode

        return {"base64": b64encode(value).decode("ascii")}
    return value


def _key(key: Any) -> str:  # noqa: ANN401  any msgpack value
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def short(job: str) -> str:
    """A job's id as people see it."""
    return printable(job[:SHORT_ID_CHARS])


def each(
    jobs: Iterable[str],
    act: Callable[[str], None],
    words: Mapping[str, str] | None = None,
    act_on_group: Callable[[str], None] | None = None,
) -> int:
    """Do it for every job, also after one was refused; 125 when one was, else 0.

    Where an array or a flow was named, the verb's `act_on_group` is done with its full id. A
    refusal is said on stderr, in the verb's `words` for fields of the protocol; any other error
    ends the loop.
    """
    from client.errors import RequestRefused, describe

    status = 0
    for job in jobs:
        try:
            _act(job, act, act_on_group)
        except RequestRefused as error:
            error.job = job
            about = ""
            if error.code == "not-permitted" and error.field in ("job", "group"):
                # What the reader called it says more than the field and the daemon's name for it.
                error.field = error.given = None
                about = f"{job}: "
            say(about + describe(error, words))
            status = 125
    return status


def _act(job: str, act: Callable[[str], None], act_on_group: Callable[[str], None] | None) -> None:
    from client.errors import RequestRefused

    try:
        act(job)
    except RequestRefused as error:
        meant = group_meant(error)
        if meant is None or act_on_group is None:
            raise
    else:
        return
    act_on_group(meant.group)


def group_meant(error: RequestRefused) -> GroupMeant | None:
    """The array or flow that was named where the verb has a job, if that is why it was refused."""
    return error.group if error.field in (None, "job") else None


def change_states(
    target: Target | None,
    jobs: Iterable[str],
    change: Callable[[Client, str], State],
    *,
    as_json: bool,
    word: str = "",
    change_group: Callable[[Client, str], HeldGroup] | None = None,
) -> int:
    """Pause, hold or the like each job, and say what it is now, or `word`; the exit status.

    `change_group` does it to all jobs of a group.
    """
    with open_client(target) as client:

        def act(job: str) -> None:
            # The full id, which the answer lacks and a reader of JSON wants.
            full = client.status(job)["job"]
            state = change(client, full)
            if as_json:
                write_json({"job": full, "state": state}, line=True)
            else:
                write(f"{short(full)} is {word or printable(state)}\n")

        def act_on_group(group: str) -> None:
            changed = change_group(client, group) if change_group else None
            if as_json:
                write_json(changed, line=True)
            elif changed:
                write(f"{short(group)}: {jobs_are(changed['jobs'])} {word}\n")

        return each(jobs, act, None, act_on_group if change_group else None)


def jobs_are(count: int) -> str:
    """The beginning of a sentence about so many jobs, to be ended with what was done to them."""
    if not count:
        return "no job had to be"
    return "1 job is" if count == 1 else f"{count} jobs are"


@contextmanager
def naming(job: str) -> Iterator[None]:
    """Let a refusal name the job that was asked for."""
    from client.errors import RequestRefused

    try:
        yield
    except RequestRefused as error:
        error.job = job
        raise
