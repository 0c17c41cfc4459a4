"""A job in the foreground: its output here, our signals there, its exit status ours.

A foreground job belongs to its terminal: Ctrl-C, SIGTERM, SIGHUP, SIGQUIT and a reader that
closed our output end it, as they would end a plain command. Only `--detach` leaves it alone.

The main thread sits in a blocking read or write. Python runs signal handlers between
system calls and repeats the interrupted one (PEP 475), so nothing is lost; the handler
sends its request on a connection of its own, so it also works while a write is stuck.
"""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, Any, Final

from client.cli.common import open_client, say, short, who
from client.cli.copy import Gaps, write_all, write_batch
from client.cli.news import Attempts, LateStart, existing
from client.cli.output import last_words
from client.errors import ClientError, RequestRefused, describe
from client.patience import is_away

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType, TracebackType
    from typing import Self

    from client.api import Client
    from client.contexts import Target
    from client.logstream import LogStream
    from client.records import JobStatus, Submitted

_FAILURE: Final = 125
_READER_GONE: Final = 128 + signal.SIGPIPE
_KILLING_INTERRUPTS: Final = 2
# A job that writes faster than it is read loses output all the time (output-policy drop-oldest).
_GAP_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _Left(BaseException):
    """The user does not want to wait any longer. Raised by the signal handler."""


def run_in_foreground(
    target: Target | None, arguments: Mapping[str, Any], options: Mapping[str, str]
) -> int:
    """Submit, copy the output, and return the job's exit status.

    `arguments` are those of `Client.submit`; `options` those of `client.errors.describe`.
    """

    def begin(client: Client, control: Control) -> LogStream:
        submitted = _submit(client, arguments, options)
        control.submitted(client, submitted["job"])
        if submitted["existing"]:
            say(existing(submitted))
        return client.logs(control.job, follow=True)

    return _in_foreground(target, begin)


def take_over(target: Target | None, job: str, attempt: int, cursor: int) -> int:
    """The same for a job of ours that runs, from a byte of the output of an attempt on.

    The signals that whoever followed it before has blocked are taken from here on.
    """

    def begin(client: Client, control: Control) -> LogStream:
        control.submitted(client, job)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return client.logs(job, cursor=cursor, follow=True, attempt=attempt, goes_on=True)

    return _in_foreground(target, begin, was_reached=True)


def _in_foreground(
    target: Target | None,
    begin: Callable[[Client, Control], LogStream],
    *,
    was_reached: bool = False,
) -> int:
    control = Control()
    opened = open_client(target, control.on_away, control.on_back, was_reached=was_reached)
    with opened as client, control:
        try:
            return _follow(client, control, begin(client, control))
        except _Left:
            say(control.farewell())
            return _FAILURE
        except ClientError as error:
            if control.job and is_away(error):
                raise ClientError(f"{describe(error)}; {control.farewell()}") from error
            raise


def _submit(client: Client, arguments: Mapping[str, Any], options: Mapping[str, str]) -> Submitted:
    try:
        return client.submit_once(**arguments)
    except RequestRefused as error:
        raise ClientError(describe(error, options)) from error


def _follow(client: Client, control: Control, stream: LogStream) -> int:
    output, gaps = _Output(control), Gaps(say, _GAP_SECONDS)
    attempts = Attempts(client, control.job)
    with stream, LateStart(client, control.job) as start:
        for batch in stream.batches():
            if batch or stream.attempt > 1:
                start.has_begun()
            attempts.notice(stream.attempt, say)
            write_batch(batch, gaps.add, output.write)
            gaps.tick()
    gaps.flush()
    job: JobStatus | None = stream.status
    if job is None or job["result"] is None:
        job = client.wait(control.job)
    for line in last_words(job, client.own_uid()):
        say(line)
    return output.exit_status(job["result"]["exit_status"] if job["result"] else _FAILURE)


class Control:
    """Turns signals into stop requests for one job; active as a context manager.

    A request that cannot be delivered (the job has no id yet, or runnerd is away) is kept
    and sent as soon as it can be.
    """

    def __init__(self) -> None:
        self.job = ""
        self._client: Client | None = None
        self._interrupts = 0
        self._wanted = False
        self._away = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            # Ignored by who started us (nohup, a shell's background job): it stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def submitted(self, client: Client, job: str) -> None:
        """The job has an id: what was asked for meanwhile is asked now."""
        self._client = client
        self.job = job
        if self._wanted:
            self._ask()

    def stop(self) -> None:
        """Stop the job, as a first Ctrl-C does."""
        self._wanted = True
        if self.job:
            self._ask()

    def farewell(self) -> str:
        """What becomes of the job when we leave before its end."""
        if not self.job:
            return "the job may have been accepted: see `runctl ps`"
        return (
            f"job {short(self.job)} was not stopped: `runctl logs -f {short(self.job)}` follows it"
        )

    def on_away(self, error: Exception) -> None:
        """The daemon went away while we follow."""
        self._away = True
        seconds = self._client.reconnect_seconds if self._client else 0
        name = who(self._client.target if self._client else None, error)
        say(f"{name} is away; the job goes on; waiting for it, at most {seconds:g} s")

    def on_back(self) -> None:
        """The daemon is there again."""
        self._away = False
        say(f"{who(self._client.target if self._client else None)} is back")
        if self._wanted:
            self._ask()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if number == signal.SIGQUIT:
            # Ctrl-\ is what is pressed when Ctrl-C does not help.
            self._interrupts = _KILLING_INTERRUPTS
        kill = self._interrupts >= _KILLING_INTERRUPTS
        was_away = self._away or not self.job
        if self.job:
            asks = number == signal.SIGINT and not kill
            again = "; press Ctrl-C again to kill it" if asks else ""
            say(f"{'killing' if kill else 'stopping'} {short(self.job)}{again}")
        self.stop()
        # Still nobody to ask, and the user insists: the terminal is theirs.
        if kill and was_away and self._wanted:
            raise _Left

    def _ask(self) -> None:
        if self._client is None:
            return
        try:
            self._client.stop(self.job, kill=self._interrupts >= _KILLING_INTERRUPTS)
            self._wanted = self._away = False
        except ClientError as error:
            # While it is away the request is kept; a refusal (the job was removed) is final.
            self._wanted = self._away = is_away(error)
            then = "; it will be asked when it is back"
            then += "; press Ctrl-C again to leave" if self._interrupts else ""
            say(describe(error) + (then if self._away else ""))


class _Output:
    """Writes to our descriptors; when one cannot be written any more, stops the job."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._closed: set[int] = set()
        self._failed = False

    def exit_status(self, status: int) -> int:
        """`status`, unless output was lost: then never 0, and 125 when it was no reader's doing."""
        if self._failed:
            return _FAILURE
        return status or (_READER_GONE if self._closed else 0)

    def write(self, descriptor: int, data: bytes) -> None:
        if descriptor in self._closed:
            return
        try:
            write_all(descriptor, data)
        except OSError as error:
            self._closed.add(descriptor)
            if error.errno != errno.EPIPE:
                self._failed = True
                name = "stderr" if descriptor == 2 else "stdout"  # noqa: PLR2004
                say(f"cannot write to {name} ({error.strerror}); stopping the job")
            self._control.stop()
