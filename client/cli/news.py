"""What is said of a job that somebody waits for: why it does not start, how attempts ended.

Lines for stderr, never in the middle of its output. The job's own end is `client.cli.output`'s.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from client.cli.common import say, short
from client.errors import ClientError
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self

    from client.api import Client
    from client.contexts import Target
    from client.records import Attempt, JobStatus, Submitted, Why

# How long a start may take before it is worth a word.
_MOMENT_SECONDS: Final = 0.5


def existing(submitted: Submitted) -> str:
    """What is said when a key gave a job that was there already."""
    state = "has ended" if submitted["state"] == "ended" else f"is {printable(submitted['state'])}"
    return f"job {short(submitted['job'])} has this key already; it {state}"


class LateStart:
    """Says once what the job waits for, if it has not started in a moment: a context manager.

    The main thread sits in a blocking read meanwhile; a timer's signal handler asks, on a
    connection of its own. Once there is output, or another attempt, it is too late for that.
    """

    def __init__(self, client: Client, job: str) -> None:
        self._target = client.target
        self._job = job
        self._before: Any = None
        self._is_waiting = True

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, _MOMENT_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.has_begun()
        signal.signal(signal.SIGALRM, self._before)

    def has_begun(self) -> None:
        """The job has begun: there is nothing to say."""
        if self._is_waiting:
            self._is_waiting = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        # A courtesy: whatever is wrong, the stream that is read will meet it, too.
        with suppress(ClientError):
            text = _why(self._target, self._job)
            if text and self._is_waiting:
                say(f"job {short(self._job)} {text}")


def _why(target: Target, job: str) -> str:
    """What a queued job waits for, the first thing alone; "" for one that does not wait."""
    from client.api import Client
    from client.cli.asking_why import known
    from client.cli.waiting import waits_lines

    with Client(target) as client:
        why = client.why(job)
        if why["state"] != "queued":
            return ""
        causes = why["because"][:1]
        # The start is asked for again in `runctl why`: until then it changes.
        first: Why = {**why, "because": causes, "start_ns": None}
        return waits_lines(first, known(client, job, causes), time.time_ns())[0]


class Attempts:
    """Says how an attempt ended, once its output was shown, and when the next one begins."""

    def __init__(self, client: Client, job: str) -> None:
        self._client = client
        self._job = job
        self._current: int | None = None

    def notice(self, attempt: int | None, tell: Callable[[str], None]) -> None:
        """What is read from now on is of this attempt; None: nobody has said so."""
        if attempt is None or attempt == self._current:
            return
        earlier, self._current = self._current, attempt
        if earlier is None and attempt == 1:
            return
        with suppress(ClientError):
            for line in _ends(self._client.status(self._job), earlier or attempt - 1, attempt):
                tell(line)


def _ends(job: JobStatus, first: int, current: int) -> list[str]:
    """How the attempts from `first` on ended, before `current`."""
    from client.cli.queue_facts import attempt_end, attempt_stage

    earlier: list[Attempt] = [
        item for item in job.get("attempts") or [] if first <= item["attempt"] < current
    ]
    lines = [f"job {short(job['job'])}: attempt {attempt_end(job, item)}" for item in earlier]
    if lines and job.get("attempt") == current:
        lines[-1] += f"; attempt {current}{attempt_stage(job, time.time_ns())}"
    return lines
