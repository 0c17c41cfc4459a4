"""Where the output that `logs` shows comes from: one job, or several merged by time.

Jobs are asked for what is wanted of them and no more; memory is bounded. Several that are
followed are `client.cli.log_following`'s; how it looks, `client.cli.log_views`'s.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from client.api import RECONNECT_SECONDS
from client.cli.common import short, who
from client.cli.log_lines import select
from client.cli.log_members import labels
from client.cursors import Cursor
from client.errors import RequestRefused
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from client.api import Client
    from client.cli.log_entries import Entry, EntryView
    from client.cli.log_members import Chosen
    from client.cli.log_views import View
    from client.contexts import Target
    from client.logstream import LogChunk, LogGap

    Refused = Callable[[str, RequestRefused], None]

_FAILURE: Final = 125


class Wanted(NamedTuple):
    """Which part of a job's output: see the options of `logs`.

    Without an `attempt` the daemon chooses one, and who follows, or goes on from a cursor, is given
    the later ones, too.
    """

    follow: bool
    cursor: Cursor | None
    lines: int | None
    since_ns: int | None
    until_ns: int | None
    streams: tuple[int, ...]
    attempt: int | None


class Batch(NamedTuple):
    """What was read together and asked for; `cursor` is the place after it.

    `begun` is the attempt whose output begins with it, if it is not that of the one before.
    """

    items: list[LogChunk | LogGap]
    cursor: Cursor
    begun: int | None = None


class Log:
    """One job's output, from where it was asked for.

    `asked` is what the reader called the job, `label` what it is called among several. Up to
    `shown` everything was shown. `last_ns` is the time of its newest byte so far.
    """

    def __init__(self, client: Client, asked: str, job: str, wanted: Wanted) -> None:
        """Find out where it begins. Raises ClientError."""
        self.asked = asked
        self.job = job
        self.label = ""
        self.last_ns = 0
        # Where a time lies that is still to come, nobody can say.
        self._since_ns = wanted.since_ns or 0
        attempt, offset, self._begins = _beginning(client, job, wanted)
        self.shown = Cursor(attempt or 1, offset)
        self.stream = client.logs(
            job,
            cursor=offset,
            follow=wanted.follow,
            until_ns=wanted.until_ns,
            attempt=attempt,
            goes_on=wanted.attempt is None and (wanted.follow or wanted.cursor is not None),
        )

    @property
    def place(self) -> Cursor:
        """Up to where it was read."""
        return Cursor(self.stream.attempt, self.stream.cursor)

    def batches(self) -> Iterator[Batch]:
        """What was asked for, as it arrives. Raises ClientError."""
        attempt = self.stream.attempt
        for items in self.stream.batches():
            begun = None
            if self.stream.attempt != attempt:
                begun = attempt = self.stream.attempt
                # What was found out is about the attempt before.
                self._begins = dict.fromkeys(self._begins, 0)
            yield Batch(select(items, self._begins, self._since_ns), self.place, begun)


def _beginning(client: Client, job: str, wanted: Wanted) -> tuple[int | None, int, dict[int, int]]:
    """The attempt and offset to read from, and the offset of each wanted stream's first byte.

    None: the daemon chooses the attempt.
    """
    from client.protocol import STDERR, STDOUT

    if wanted.lines is None and wanted.since_ns is None:
        attempt, offset = wanted.cursor or (wanted.attempt, 0)
        return attempt, offset, dict.fromkeys(wanted.streams, 0)
    there = client.locate(
        job,
        lines=wanted.lines,
        since_ns=wanted.since_ns,
        until_ns=wanted.until_ns,
        streams=wanted.streams,
        attempt=wanted.attempt,
    )
    begins = {STDOUT: there["stdout"], STDERR: there["stderr"]}
    attempt = there.get("attempt", wanted.attempt)
    return attempt, there["cursor"], {stream: begins[stream] for stream in wanted.streams}


def open_one(client: Client, job: str, wanted: Wanted) -> Log:
    """The log of a job. Raises ClientError."""
    if wanted.lines is not None or wanted.since_ns is not None:
        # Between two questions a name may come to mean another job.
        return Log(client, job, client.status(job)["job"], wanted)
    return Log(client, job, job, wanted)


def open_several(
    client: Client, jobs: Sequence[Chosen], wanted: Wanted, refused: Refused
) -> list[Log]:
    """The logs of the jobs; a refused one is left out. Raises ClientError."""
    logs: list[Log] = []
    for job in jobs:
        try:
            logs.append(Log(client, job.asked, job.job, wanted))
        except RequestRefused as error:
            refused(job.asked, error)
    opened = {log.job for log in logs}
    called = labels([job for job in jobs if job.job in opened])
    for log in logs:
        log.label = called[log.job]
    return logs


def show_one(log: Log, view: View) -> None:
    """Show one log up to its end."""
    for batch in log.batches():
        if batch.begun is not None:
            view.begin(log, batch.begun)
        view.write(log, batch.items)
        log.shown = batch.cursor
    log.shown = log.place
    view.end(log)


def show_merged(logs: Sequence[Log], view: EntryView, refused: Refused) -> None:
    """Show several logs as one, in the order of time."""
    from heapq import merge

    view.show(
        merge(
            *(_entries(log, view, refused) for log in logs),
            key=lambda entry: entry.time_ns,
        )
    )


def _entries(log: Log, view: EntryView, refused: Refused) -> Iterator[Entry]:
    try:
        for batch in log.batches():
            yield from view.take(log, batch.items)
    except RequestRefused as error:
        refused(log.asked, error)
    else:
        log.shown = log.place
    yield from view.rest(log)


class Absence:
    """Says that runnerd is away, and back: once, however many streams notice."""

    def __init__(self, say: Callable[[str], None], target: Target | None = None) -> None:
        self._say = say
        self._target = target
        self._lock = Lock()
        self._is_away = False

    def on_away(self, error: Exception) -> None:
        """A stream lost runnerd."""
        name = who(self._target, error)
        self._change(f"{name} is away; waiting for it, at most {RECONNECT_SECONDS:g} s", away=True)

    def on_back(self) -> None:
        """A stream found it again."""
        self._change(f"{who(self._target)} is back", away=False)

    def _change(self, text: str, *, away: bool) -> None:
        with self._lock:
            is_new, self._is_away = self._is_away != away, away
            if is_new:
                self._say(text)


def exit_status(logs: Sequence[Log], own_uid: int, say: Callable[[str], None]) -> int:
    """The first of the jobs' exit statuses that is not 0; 125 for one that has not ended.

    A job that was refused has none. Says what ended a job, unless it ended by itself.
    """
    from client.cli.output import unusual_end

    jobs = [job for log in logs if (job := log.stream.status) is not None]
    for job in jobs:
        if job["result"] is None:
            say(f"job {short(job['job'])} has not ended; it is {printable(job['state'])}")
        elif end := unusual_end(job, own_uid):
            say(end)
    statuses = [job["result"]["exit_status"] if job["result"] else _FAILURE for job in jobs]
    return next(filter(None, statuses), 0)
