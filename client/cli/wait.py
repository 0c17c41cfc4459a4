"""`runctl wait`: wait until jobs have ended, and exit as they did."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from client.cli import params
from client.cli.common import (
    each,
    jobs_argument,
    json_option,
    open_client,
    say,
    short,
    write,
    write_json,
)
from client.text import printable

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import GroupEnd, JobStatus

_FAILURE: Final = 125
_FAILED_SHOWN: Final = 8


@click.command(name="wait", short_help="Wait until jobs have ended.")
@click.option(
    "--timeout", type=params.DURATION_OR_ZERO, metavar="DURATION", help="Wait no longer than this."
)
@jobs_argument
@json_option
@click.pass_obj
def command(
    target: Target | None, *, jobs: tuple[str, ...], timeout: float | None, as_json: bool
) -> int:
    """Wait until every JOB has ended; say how each did.

    Exits with the first exit status that is not 0, as `runctl run` would have. That of an array or
    a flow is its first failed job's. What has not ended in time counts as 125; a job that is
    refused has none, and makes 125 of 0.
    """
    with open_client(target) as client:
        waiting = _Waiting(client, timeout, as_json=as_json)
        words = {"timeout_seconds": "--timeout"}
        failed = each(jobs, waiting.wait, words, waiting.wait_group)
    return next((status for status in waiting.statuses if status), 0) or failed


class _Waiting:
    """Waits for one job after the other, within one time for all."""

    def __init__(self, client: Client, timeout: float | None, *, as_json: bool) -> None:
        self.statuses: list[int] = []
        self._client = client
        self._end = None if timeout is None else time.monotonic() + timeout
        self._as_json = as_json

    def wait(self, job: str) -> None:
        status = self._client.wait(job, timeout_seconds=self._left())
        result = status["result"]
        self.statuses.append(result["exit_status"] if result else _FAILURE)
        self._report(status)

    def wait_group(self, group: str) -> None:
        ended = self._client.wait_group(group, timeout_seconds=self._left())
        # Of one that goes on, what has failed so far is not its end.
        first = ended["failed"] if ended["state"] == "ended" else None
        status = first["result"]["exit_status"] if first else 0
        self.statuses.append(0 if ended["ok"] else status or _FAILURE)
        self._report_group(ended)

    def _left(self) -> float | None:
        return None if self._end is None else max(self._end - time.monotonic(), 0)

    def _report_group(self, group: GroupEnd) -> None:
        from client.cli.group_words import counted

        if self._as_json:
            write_json(group, line=True)
        name, counts = short(group["group"]), counted(group["counts"])
        if group["state"] != "ended":
            say(f"{printable(group['kind'])} {name} has not ended in time: {counts}")
        elif not self._as_json:
            lines = [f"{name} has ended: {counts}", *self._failures(group)]
            write("".join(f"{line}\n" for line in lines))

    def _failures(self, group: GroupEnd) -> list[str]:
        from client.cli.group_members import failed_ends
        from client.cli.group_words import member_end

        if group["ok"]:
            return []
        if group["counts"]["failed"] != 1:
            return failed_ends(self._client, group, _FAILED_SHOWN)
        return [member_end(group, group["failed"])] if group["failed"] else []

    def _report(self, status: JobStatus) -> None:
        from client.cli.facts import dropped
        from client.cli.output import how_it_ended

        if self._as_json:
            write_json(status, line=True)
        if status["result"] is None:
            say(f"job {short(status['job'])} has not ended in time; it is {status['state']}")
        elif not self._as_json:
            # The end for that reason says it itself.
            is_said = status["result"]["reason"] == "log-error"
            lost = "" if is_said else dropped(status["result"])
            write(f"{short(status['job'])} {how_it_ended(status)}{lost and f'; {lost}'}\n")
