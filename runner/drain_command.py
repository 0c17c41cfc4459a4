"""`runnerd drain`: a client of the daemon that runs, and the sentences for who drains it.

It decides nothing: when the daemon is drained, and who may ask, is the daemon's to say.
The one module here that uses the client library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.api import RECONNECT_SECONDS, Client
from client.errors import ClientError, describe
from client.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.records import Drained

_DONE: Final = 0
_JOBS_RUN: Final = 1
# As runctl has them: a failure of our own, and Ctrl-C.
_FAILURE: Final = 125
_INTERRUPTED: Final = 130

_LEFT_DRAINING: Final = (
    "runnerd goes on draining: no job is taken or started, none is stopped; "
    "`runnerd drain` waits again, `runnerd drain --cancel` ends it"
)
_LEFT_EARLY: Final = "interrupted; `runctl doctor` shows whether runnerd drains"


def drain(socket_path: str, timeout_seconds: float | None, stop: bool) -> int:  # noqa: FBT001
    """Drain, and wait. The exit status: 0 when no job runs any more, 1 when some do."""
    is_draining = False

    def ask(client: Client) -> int:
        nonlocal is_draining
        now = client.drain(timeout_seconds=0)
        is_draining = now["draining"]
        if now["running"] and is_draining and (stop or timeout_seconds != 0):
            _say(f"no more jobs are taken or started; {_jobs(now)}; {_plan(timeout_seconds, stop)}")
            # It was begun by the question before: who cancelled since then has the last word.
            now = client.drain(timeout_seconds=timeout_seconds, stop=stop, begin=False)
        return _told(now)

    try:
        return _asking(socket_path, ask)
    except KeyboardInterrupt:
        _say(_LEFT_DRAINING if is_draining else _LEFT_EARLY)
        return _INTERRUPTED


def cancel(socket_path: str) -> int:
    """Have jobs taken and started again. The exit status."""

    def ask(client: Client) -> int:
        now = client.drain(cancel=True)
        _say(f"jobs are taken and started again; {_jobs(now)}")
        return _DONE

    return _asking(socket_path, ask)


def _asking(socket_path: str, ask: Callable[[Client], int]) -> int:
    def away(_error: Exception) -> None:
        _say(f"runnerd is away; waiting for it, at most {RECONNECT_SECONDS:g} s")

    try:
        with Client(socket_path, on_away=away, on_back=lambda: _say("runnerd is back")) as client:
            return ask(client)
    except ClientError as error:
        _say(describe(error))
        return _FAILURE


def _told(now: Drained) -> int:
    if not now["draining"]:
        _say(f"somebody cancelled the draining; {_jobs(now)}")
        return _JOBS_RUN
    if not now["running"] and not now["queued"]:
        _say("drained: no job runs, none is queued; that holds until `runnerd drain --cancel`")
        return _DONE
    if not now["running"]:
        kept = "1 queued job is" if now["queued"] == 1 else f"{now['queued']} queued jobs are"
        _say(f"drained: no job runs; {kept} kept until `runnerd drain --cancel`")
        return _DONE
    still = "1 job still runs" if now["running"] == 1 else f"{now['running']} jobs still run"
    _say(f"{still}; runnerd goes on draining, until `runnerd drain --cancel`")
    return _JOBS_RUN


def _plan(timeout_seconds: float | None, stop: bool) -> str:  # noqa: FBT001
    if stop and not timeout_seconds:
        return "stopping those that run"
    if timeout_seconds is None:
        return "waiting for those that run"
    then = ", then they are stopped" if stop else ""
    return f"waiting, at most {format_duration(timeout_seconds)}{then}"


def _jobs(now: Drained) -> str:
    running, queued = now["running"], now["queued"]
    runs = f"{running} jobs run" if running > 1 else f"{running or 'no'} job runs"
    waits = f"{queued} are queued" if queued > 1 else f"{queued or 'none'} is queued"
    return f"{runs}, {waits}"


def _say(text: str) -> None:
    click.echo(f"runnerd drain: {text}", err=True)
