"""`runctl logs`: jobs' output, any part of it, again or as it comes.

The options and what they exclude. What is read is `client.cli.log_sources`'s, how it looks
`client.cli.log_views`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params
from client.cli.common import jobs_argument, json_option
from client.cli.quantity import Quantity
from client.cli.sections import all_of
from client.units import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.api import Client
    from client.cli.log_sources import Log, Wanted
    from client.cli.log_views import Look, View
    from client.contexts import Target
    from client.cursors import Cursor
    from client.errors import RequestRefused

_FAILURE: Final = 125
_SHOWN_CHARS: Final = 40


def _cursor(text: str) -> Cursor:
    from client.cursors import parse

    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{text[:_SHOWN_CHARS]!a} given; {error}") from None


OPTIONS: Final = all_of(
    (
        click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended."),
        click.option(
            "-n",
            "--lines",
            type=click.IntRange(min=0, max=MAX_INTEGER),
            metavar="N",
            help="Begin with the last N lines.",
        ),
        click.option(
            "--since", type=params.MOMENT, metavar="TIME", help="What was written from then on."
        ),
        click.option(
            "--until", type=params.MOMENT, metavar="TIME", help="What was written up to then."
        ),
        click.option("--stdout", is_flag=True, help="Only what was written to stdout."),
        click.option("--stderr", is_flag=True, help="Only what was written to stderr."),
        click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time."),
        click.option(
            "--grep",
            "pattern",
            type=params.PATTERN,
            metavar="PATTERN",
            help="Only lines with a match of this regular expression.",
        ),
        click.option("--raw", is_flag=True, help="Byte for byte, on a terminal, too."),
        click.option(
            "--cursor",
            type=Quantity("cursor", _cursor),
            metavar="[A:]N",
            help="Begin at this offset of the whole output, in bytes (of attempt A).",
        ),
        click.option(
            "--show-cursor", is_flag=True, help="At the end say on stderr where to go on."
        ),
        click.option(
            "--attempt",
            type=click.IntRange(min=1, max=MAX_INTEGER),
            metavar="N",
            help="Of this attempt alone (default: the newest; with -f the later ones, too).",
        ),
        click.option("--failed", is_flag=True, help="Of an array or a flow only what failed."),
        click.option("--exit-code", is_flag=True, help="Exit as the job did."),
    )
)

# What the protocol calls what is asked for, and what the reader called it.
_WORDS: Final = {
    "cursor": "--cursor",
    "lines": "--lines",
    "since_ns": "--since",
    "until_ns": "--until",
    "attempt": "--attempt",
}


@click.command(name="logs", short_help="Show jobs' output.")
@OPTIONS
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, /, *, jobs: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401  the options above
    """Write each JOB's stdout to stdout and its stderr to stderr, byte for byte.

    On a terminal, colours apart, nothing in it acts on the terminal. Several jobs, and those of an
    array or a flow, are shown together, each line after its job's name. TIME is 14:00,
    '2026-11-22 14:00', @1700000000, or how long ago: 10m. Ctrl-C ends following; the job goes on.
    """
    return _Logs(jobs, options).show(target)


def _refuse_contradictions(options: dict[str, Any], *, several: bool) -> None:
    """Raises click's UsageError for what excludes each other."""
    given = {f"--{name.replace('_', '-')}" for name, value in options.items() if value}
    # 0 is something else than nothing here.
    given |= {f"--{name}" for name in ("lines", "cursor") if options[name] is not None}
    given |= {"--grep"} if options["pattern"] is not None else set()
    given |= {"--json"} if options["as_json"] else set()
    given |= {"several jobs"} if several else set()
    for option, others in _EXCLUDED.items():
        for other in others:
            if option in given and other in given:
                raise click.UsageError(f"{option} and {other} exclude each other")
    since, until = options["since"], options["until"]
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until")


_EXCLUDED: Final = {
    "--raw": ("--timestamps", "--grep", "--json", "several jobs"),
    "--json": ("--timestamps", "--grep"),
    "--cursor": ("--lines", "--since", "--attempt", "several jobs"),
}


class _Logs:
    """One use of the verb."""

    def __init__(self, jobs: Sequence[str], options: dict[str, Any]) -> None:
        self._jobs = jobs
        self._options = options
        self._several = len(jobs) > 1 or options["failed"]
        self._logs: list[Log] = []
        self._status = 0

    def show(self, target: Target | None) -> int:
        """Show everything; the exit status."""
        from client.cli.common import group_meant
        from client.errors import RequestRefused

        try:
            return self._show(target)
        except RequestRefused as error:
            if group_meant(error) is None:
                raise
        # One that was named is many. Nothing was shown so far.
        self._several = True
        return self._show(target)

    def _show(self, target: Target | None) -> int:
        from client.cli.common import open_client
        from client.cli.log_sources import Absence, exit_status

        _refuse_contradictions(self._options, several=self._several)
        view = self._view()
        absence = Absence(view.say, target)
        with open_client(target, absence.on_away, absence.on_back) as client, view:
            try:
                self._show_jobs(client, view)
            except KeyboardInterrupt:
                view.interrupted()
                self._close(view)
                raise
            self._close(view)
            if self._options["exit_code"]:
                return exit_status(self._logs, client.own_uid(), view.say) or self._status
        return self._status

    def _show_jobs(self, client: Client, view: View) -> None:
        if self._several:
            self._show_several(client, view)
        else:
            self._show_one(client, view, self._jobs[0])

    def _show_one(self, client: Client, view: View, job: str) -> None:
        from client.cli.common import group_meant
        from client.cli.log_sources import open_one, show_one
        from client.errors import ClientError, RequestRefused

        try:
            log = open_one(client, job, self._wanted())
            with log.stream:
                self._logs = [log]
                show_one(log, view)
        except RequestRefused as error:
            if group_meant(error) is not None:
                raise
            raise ClientError(_described(job, error)) from error

    def _show_several(self, client: Client, view: View) -> None:
        from client.cli.log_entries import EntryView, LineView
        from client.cli.log_members import chosen
        from client.cli.log_sources import open_several, show_merged

        def refused(job: str, error: RequestRefused) -> None:
            # What is wrong with an option may be wrong for this job alone.
            name = "" if error.field in (None, "job") else f"{job}: "
            view.say(name + _described(job, error))
            self._status = _FAILURE

        jobs = chosen(client, self._jobs, refused, only_failed=self._options["failed"])
        self._logs = open_several(client, jobs, self._wanted(), refused)
        if isinstance(view, LineView):
            view.name(self._logs)
        if self._options["follow"]:
            from client.cli.log_following import follow_several

            follow_several(self._logs, view, refused)
        elif isinstance(view, EntryView):
            show_merged(self._logs, view, refused)

    def _close(self, view: View) -> None:
        view.finish()
        if self._options["show_cursor"]:
            for log in self._logs:
                view.say_cursor(log)

    def _wanted(self) -> Wanted:
        from client.cli.log_sources import Wanted
        from client.protocol import STDERR, STDOUT

        options = self._options
        chosen = [STDOUT] * options["stdout"] + [STDERR] * options["stderr"]
        return Wanted(
            follow=options["follow"],
            cursor=options["cursor"],
            lines=options["lines"],
            since_ns=options["since"],
            until_ns=options["until"],
            streams=tuple(chosen) or (STDOUT, STDERR),
            attempt=options["attempt"],
        )

    def _view(self) -> View:
        from client.cli.log_views import BytesView, Look

        options, several = self._options, self._several
        look = Look(
            follow=options["follow"],
            raw=options["raw"],
            timestamps=options["timestamps"],
            pattern=options["pattern"],
        )
        if not (options["as_json"] or several or look.timestamps or look.pattern):
            return BytesView(look)
        return _entry_view(look, as_json=options["as_json"], several=several)


def _entry_view(look: Look, *, as_json: bool, several: bool) -> View:
    from client.cli.log_entries import JsonView, LineView

    return JsonView(look, named=several) if as_json else LineView(look)


def _described(job: str, error: RequestRefused) -> str:
    from client.errors import describe

    error.job = job
    return describe(error, _WORDS)
