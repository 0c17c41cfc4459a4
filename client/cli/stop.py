"""`runctl stop`: ask jobs to end, and wait until they have."""

from __future__ import annotations

import click

from client.cli import params
from client.cli.common import (
    each,
    jobs_argument,
    json_option,
    open_client,
    short,
    write,
    write_json,
)


@click.command(name="stop", short_help="Stop jobs.")
@click.option(
    "--grace",
    type=params.DURATION_OR_ZERO,
    metavar="DURATION",
    help="From SIGTERM to SIGKILL (default: 10s, at most 1h).",
)
@click.option("--kill", is_flag=True, help="SIGKILL at once.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the jobs have ended.")
@jobs_argument
@json_option
@click.pass_obj
def command(
    socket_path: str | None,
    *,
    jobs: tuple[str, ...],
    grace: float | None,
    kill: bool,
    no_wait: bool,
    as_json: bool,
) -> int:
    """Send SIGTERM to every process of each job, after the grace SIGKILL; say how it ended.

    Stopping a job that has ended is no error.
    """
    asked: list[str] = []
    with open_client(socket_path) as client:

        def ask(job: str) -> None:
            # The full id: a name may mean another job by the time we wait for it.
            full = client.status(job)["job"]
            state = client.stop(full, grace_seconds=grace, kill=kill)
            asked.append(full)
            if no_wait:
                _report_state(full, state, as_json=as_json)

        def await_end(job: str) -> None:
            from client.cli.output import how_it_ended

            status = client.wait(job)
            if as_json:
                write_json(status, line=True)
            else:
                write(f"{short(job)} {how_it_ended(status)}\n")

        failed = each(jobs, ask, {"grace_seconds": "--grace"})
        return failed if no_wait else max(failed, each(asked, await_end))


def _report_state(job: str, state: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"job": job, "state": state}, line=True)
    else:
        write(f"{short(job)} {'has ended' if state == 'ended' else 'is asked to stop'}\n")
