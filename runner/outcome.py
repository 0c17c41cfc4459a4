"""How a job ended: from the facts that the monitor saw to one reason. Pure, lean.

A reason says whose doing it was; the first cause wins. What the words mean is in the
table of ARCHITECTURE.md.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Final, NamedTuple

EXIT: Final = "exit"
SIGNAL: Final = "signal"
OOM: Final = "oom"
TIMEOUT: Final = "timeout"
CPU_TIME: Final = "cpu-time"
OUTPUT_LIMIT: Final = "output-limit"
STOPPED: Final = "stopped"
LAUNCH_ERROR: Final = "launch-error"
LOG_ERROR: Final = "log-error"
LOST: Final = "lost"
DEADLINE: Final = "deadline"
DEPENDENCY: Final = "dependency"
REASONS: Final = (
    EXIT, SIGNAL, OOM, TIMEOUT, CPU_TIME, OUTPUT_LIMIT, STOPPED, LAUNCH_ERROR, LOG_ERROR, LOST,
    DEADLINE, DEPENDENCY,
)  # fmt: skip

# What env(1), timeout(1) and a shell exit with; 125 says that it was not the command.
STATUS_OURS: Final = 125
STATUS_TIMEOUT: Final = 124
STATUS_NOT_EXECUTABLE: Final = 126
STATUS_NOT_FOUND: Final = 127
STATUS_SIGNAL_BASE: Final = 128
# As of a program that writes a file larger than it may.
STATUS_OUTPUT_LIMIT: Final = STATUS_SIGNAL_BASE + signal.SIGXFSZ

_NOT_STORED: Final = "its output could not be stored"

# What ends a job from outside: the monitor on somebody's behalf (`runner.watchdog`).
_STATUS: Final = {
    TIMEOUT: STATUS_TIMEOUT,
    DEADLINE: STATUS_TIMEOUT,
    CPU_TIME: STATUS_TIMEOUT,
    OUTPUT_LIMIT: STATUS_OUTPUT_LIMIT,
    LOG_ERROR: STATUS_OURS,
}


class Facts(NamedTuple):
    """What the monitor saw. `wait_status` as of wait(2), None when nothing was ever forked.

    `cause` is STOPPED, TIMEOUT, DEADLINE, CPU_TIME, OUTPUT_LIMIT or LOG_ERROR when the monitor
    ended the job for it; `excess` says that there was more output than was allowed to be kept;
    `log_errno` why output could not be stored, `dropped_bytes` how much was not.
    """

    wait_status: int | None
    oom_kills: int = 0
    hit_memory_limit: bool = True
    stopped_by_uid: int | None = None
    cause: str | None = None
    excess: bool = False
    log_errno: int = 0
    dropped_bytes: int = 0
    failed_step: str | None = None
    failed_errno: int = 0
    failed_text: str = ""
    is_exec_step: bool = False


class Outcome(NamedTuple):
    """The verdict. `exit_status` is what `runctl run` exits with."""

    reason: str
    exit_code: int | None
    signal: int | None
    exit_status: int
    detail: str | None = None
    stopped_by_uid: int | None = None


def judge(facts: Facts) -> Outcome:  # noqa: PLR0911 - one line a cause, in their order
    """The reason for an end, in the order of causes: what ended it first is named."""
    code, number = _decode(facts.wait_status)
    natural = code if code is not None else STATUS_SIGNAL_BASE + (number or 0)
    if facts.cause == STOPPED:
        return Outcome(STOPPED, code, number, natural, None, facts.stopped_by_uid)
    if facts.cause is not None:
        detail = _unstored(facts) if facts.cause == LOG_ERROR else None
        return Outcome(facts.cause, code, number, _STATUS[facts.cause], detail)
    if facts.excess:
        # It had ended before it could be: its last output is lost, which is no success.
        return Outcome(OUTPUT_LIMIT, code, number, STATUS_OUTPUT_LIMIT)
    if facts.log_errno:
        return Outcome(LOG_ERROR, code, number, STATUS_OURS, _unstored(facts))
    if facts.oom_kills and number == signal.SIGKILL:
        detail = None if facts.hit_memory_limit else "the host ran out of memory"
        return Outcome(OOM, None, number, natural, detail)
    if facts.failed_step is not None:
        return _launch_error(facts)
    if number is not None:
        return Outcome(SIGNAL, None, number, natural)
    return Outcome(EXIT, code, None, natural)


def _unstored(facts: Facts) -> str:
    count = facts.dropped_bytes
    dropped = "1 byte was dropped" if count == 1 else f"{count} bytes were dropped"
    return f"{_NOT_STORED}: {os.strerror(facts.log_errno)}; {dropped}"


def _decode(wait_status: int | None) -> tuple[int | None, int | None]:
    """(exit code, signal): one of them is None."""
    if wait_status is None:
        return STATUS_OURS, None
    code = os.waitstatus_to_exitcode(wait_status)
    return (code, None) if code >= 0 else (None, -code)


def _launch_error(facts: Facts) -> Outcome:
    text = facts.failed_text
    detail = text if facts.is_exec_step else f"{facts.failed_step}: {text}"
    return Outcome(LAUNCH_ERROR, None, None, _launch_status(facts), detail)


def _launch_status(facts: Facts) -> int:
    if not facts.is_exec_step:
        return STATUS_OURS
    if facts.failed_errno in (errno.ENOENT, errno.ENOTDIR):
        return STATUS_NOT_FOUND
    return STATUS_NOT_EXECUTABLE


def never_started(detail: str) -> Outcome:
    """The launch itself failed: nothing of the job ever ran."""
    return Outcome(LAUNCH_ERROR, None, None, STATUS_OURS, detail)


def no_log(number: int) -> Outcome:
    """The log could not even be begun: nothing of the job ever ran."""
    detail = f"{_NOT_STORED}: {os.strerror(number)}"
    return Outcome(LOG_ERROR, None, None, STATUS_OURS, detail)


def stopped_in_queue(uid: int) -> Outcome:
    """Stopped before it started; as a shell would see a SIGTERM."""
    status = STATUS_SIGNAL_BASE + signal.SIGTERM
    return Outcome(STOPPED, None, None, status, "it had not started", uid)


def past_deadline() -> Outcome:
    """Its deadline passed before it could start."""
    return Outcome(DEADLINE, None, None, STATUS_TIMEOUT, "it had not started")


def unmet(detail: str) -> Outcome:
    """A job that it was to come after did not become what it had to: it never starts."""
    return Outcome(DEPENDENCY, None, None, STATUS_OURS, detail)


def lost(detail: str) -> Outcome:
    """What happened to it cannot be known: never reported as a success."""
    return Outcome(LOST, None, None, STATUS_OURS, detail)
