"""`runctl stop`: ask jobs to end, and wait until they have. Many: `client.cli.stop_many`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from client.cli import params
from client.cli.common import each, json_option, open_client, short, write, write_json
from client.cli.selecting import select_options, selection

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import StoppedGroup


@click.command(name="stop", short_help="Stop jobs.")
@click.option(
    "--grace",
    type=params.DURATION_OR_ZERO,
    metavar="DURATION",
    help="From SIGTERM to SIGKILL (default: 10s, at most 1h).",
)
@click.option("--kill", is_flag=True, help="SIGKILL at once.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the jobs have ended.")
@click.option("--all", "everything", is_flag=True, help="All of yours that have not ended.")
@select_options
@click.option("--yes", is_flag=True, help="Do not ask whether so many are meant.")
@click.argument("jobs", metavar="[JOB...]", nargs=-1)
@json_option
@click.pass_obj
def command(target: Target | None, /, *, jobs: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401  the options above
    """Send SIGTERM to every process of each job, after the grace SIGKILL; say how it ended.

    A job that is queued ends at once. Stopping a job that has ended is no error. Of an array or a
    flow every job is stopped; it says how many. With --all,
    --queue, --label, --user or --name: every job that all of these are true of (an admin's: of
    everybody, unless --user is given), once you have said yes to their number.
    """
    select = selection(options)
    if not (select or options["everything"]):
        if not jobs:
            raise click.UsageError("which jobs? JOB..., --all, --queue, --label, --user or --name")
        return _Stopping(options).stop(target, jobs)
    if jobs:
        raise click.UsageError("JOB and --all, --queue, --label, --user, --name exclude each other")
    from client.cli.stop_many import How, stop_many

    how = How(
        grace=options["grace"],
        kill=options["kill"],
        wait=not options["no_wait"],
        yes=options["yes"],
        as_json=options["as_json"],
    )
    return stop_many(target, select, how)


class _Stopping:
    """Stops jobs that were named, one after the other."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._as_json = options["as_json"]
        self._asked: list[str] = []
        self._groups: dict[str, StoppedGroup] = {}

    def stop(self, target: Target | None, jobs: tuple[str, ...]) -> int:
        """Ask all, then wait for each; the exit status."""
        with open_client(target) as client:
            failed = each(
                jobs,
                lambda job: self._ask(client, job),
                {"grace_seconds": "--grace"},
                lambda group: self._ask_group(client, group),
            )
            if self._options["no_wait"]:
                return failed
            return max(failed, each(self._asked, lambda job: self._await_end(client, job)))

    def _ask(self, client: Client, job: str) -> None:
        # The full id: a name may mean another job by the time we wait for it.
        full = client.status(job)["job"]
        grace, kill = self._options["grace"], self._options["kill"]
        state = client.stop(full, grace_seconds=grace, kill=kill)
        self._asked.append(full)
        if self._options["no_wait"]:
            self._report_state(full, state)

    def _ask_group(self, client: Client, group: str) -> None:
        grace, kill = self._options["grace"], self._options["kill"]
        stopped = client.stop_group(group, grace_seconds=grace, kill=kill)
        self._groups[stopped["group"]] = stopped
        self._asked.append(stopped["group"])
        if self._options["no_wait"]:
            self._report_group(stopped, {**stopped})

    def _await_end(self, client: Client, job: str) -> None:
        from client.cli.output import how_it_ended

        if stopped := self._groups.get(job):
            ended = client.wait_group(job)
            self._report_group(stopped, {**ended, "stopped": stopped})
            return
        status = client.wait(job)
        if self._as_json:
            write_json(status, line=True)
        else:
            write(f"{short(job)} {how_it_ended(status)}\n")

    def _report_state(self, job: str, state: str) -> None:
        if self._as_json:
            write_json({"job": job, "state": state}, line=True)
        else:
            write(f"{short(job)} {'has ended' if state == 'ended' else 'is asked to stop'}\n")

    def _report_group(self, stopped: StoppedGroup, values: dict[str, Any]) -> None:
        if self._as_json:
            write_json(values, line=True)
            return
        from client.cli.stop_many import asked

        has_waited = not self._options["no_wait"]
        write(f"{short(stopped['group'])}: {asked(stopped, has_waited=has_waited)}\n")
