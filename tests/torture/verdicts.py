"""What may be true of a job, given its plan and its trail: its log, its result. Pure.

A difference is a sentence. Whatever was not disturbed must be exact; what was disturbed may
differ in the one way that the disturbance explains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.torture import plan as plans
from tests.torture.programs import STDERR, STDOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.torture.ledger import Trail
    from tests.torture.plan import JobPlan

_STATUS_OF: Final = {plans.TIMEOUT: 124, plans.OUTPUT_LIMIT: 153, plans.DEADLINE: 124}
# What may have ended a command before its first line, or instead of it.
_NOTHING_RAN: Final = ("lost", "stopped", "launch-error", "log-error", "dependency")
_MAY_NOT_RUN: Final = (plans.TIMEOUT, plans.DEADLINE)
_MOST_BY_HAND: Final = 5
_NO_ROOM: Final = ("No space left", "ENOSPC", "disk is full", "database or disk is full")
# A guest on a busy machine may stand still for seconds, and a monitor may have been stopped.
_LATEST_TIMEOUT_SECONDS: Final = 60.0


class DifferenceError(Exception):
    """Something is not as it must be. The text says what."""


class LogCheck:
    """Compares a log with what was expected, item by item, in memory for none of it.

    `gaps` are the reasons for which bytes may be missing. After a gap in a log of two streams
    nobody knows how many bytes each of them lacks: then only offsets are compared.
    """

    def __init__(self, expected: dict[int, bytes], gaps: frozenset[str]) -> None:
        self._expected = expected
        self._gaps = gaps
        self._one_stream = not expected[STDERR]
        self._blind = False
        self._at = {STDOUT: 0, STDERR: 0}
        self.offset = 0
        self.compared = 0
        self.missing: dict[str, int] = {}

    def gap(self, offset: int, gap_bytes: int, why: str) -> None:
        """Bytes that are not there. Raises DifferenceError when they had to be."""
        if self.offset + gap_bytes != offset or gap_bytes <= 0:
            raise DifferenceError(f"a gap of {gap_bytes} to {offset}, from {self.offset}")
        if why not in self._gaps:
            raise DifferenceError(f"{gap_bytes} bytes from {self.offset} on are missing ({why})")
        self.missing[why] = self.missing.get(why, 0) + gap_bytes
        self.offset = offset
        self._at[STDOUT] = offset
        self._blind = not self._one_stream

    def chunk(self, offset: int, stream: int, data: bytes) -> None:
        """Bytes that are there. Raises DifferenceError when others were expected."""
        if offset != self.offset:
            raise DifferenceError(f"output from offset {offset}, not from {self.offset}")
        self.offset += len(data)
        if self._blind:
            return
        start = self._at[stream]
        if self._expected[stream][start : start + len(data)] != data:
            raise DifferenceError(self._first_difference(stream, data))
        self._at[stream] = start + len(data)
        self.compared += len(data)

    def _first_difference(self, stream: int, data: bytes) -> str:
        start = self._at[stream]
        wanted = self._expected[stream][start : start + len(data)]
        pairs = zip(data, wanted, strict=False)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(data), len(wanted)))
        return (
            f"stream {stream} differs at its byte {start + at} (log offset {self.offset}): "
            f"{data[at : at + 40]!r}, expected {wanted[at : at + 40]!r}"
        )

    def finish(self, *, complete: bool, log_bytes: int | None) -> None:
        """The log is at its end. Raises DifferenceError when something is missing there."""
        if log_bytes is not None and self.offset != log_bytes:
            raise DifferenceError(f"the log ends at {self.offset}, the result says {log_bytes}")
        total = sum(map(len, self._expected.values()))
        if complete and self.offset != total:
            raise DifferenceError(f"the log has {self.offset} bytes of {total}")


def is_complete(plan: JobPlan, result: dict[str, Any], attempt: int = 1) -> bool:
    """Whether all that the attempt was to print must be in its log."""
    ending, _ = plan.planned(attempt)
    return result["reason"] in ("exit", "signal", "output-limit") and ending not in (
        plans.TIMEOUT, plans.STOP, plans.DEADLINE,
    )  # fmt: skip


def allowed_gaps(plan: JobPlan, trail: Trail, result: dict[str, Any] | None) -> frozenset[str]:
    """Why bytes of this log may be missing."""
    torn = trail.power_cut and (result is None or result["reason"] == "lost")
    # What is to be ended for a lack of room has lost something only then.
    unharmed = result is not None and result["reason"] != "log-error"
    gaps = frozenset() if unharmed and plan.logs.get("on_full") == "end" else plan.gaps
    return gaps | ({"damaged"} if torn else frozenset())


def check_end(
    plan: JobPlan, trail: Trail, earlier: Sequence[dict[str, Any]], result: dict[str, Any]
) -> None:
    """Whether the job may have ended so, after these earlier attempts. Raises DifferenceError."""
    numbers = [attempt["attempt"] for attempt in earlier]
    if numbers != list(range(1, len(earlier) + 1)):
        raise DifferenceError(f"its attempts are {numbers}")
    if earlier and not plan.wishes.has_attempts:
        raise DifferenceError(f"it had {len(earlier) + 1} attempts")
    if plan.wishes.again and len(earlier) > (_MOST_BY_HAND if trail.again else 0):
        raise DifferenceError(f"it had {len(earlier) + 1} attempts, by hand")
    for attempt in earlier:
        _check_earlier(plan, trail, attempt["attempt"], attempt["result"])
    check_result(plan, trail, result, len(earlier) + 1)
    if plan.wishes.is_retried(len(earlier) + 1, result) and not _stoppers(plan, trail):
        raise DifferenceError(f"attempt {len(earlier) + 1} ended by {result['reason']}: the last")


def _check_earlier(plan: JobPlan, trail: Trail, attempt: int, result: dict[str, Any]) -> None:
    check_result(plan, trail, result, attempt)
    if not plan.wishes.again and not plan.wishes.is_retried(attempt, result):
        raise DifferenceError(f"attempt {attempt} ended by {result['reason']}: not the last")


def check_result(plan: JobPlan, trail: Trail, result: dict[str, Any], number: int = 1) -> None:
    """Whether the attempt of that number may have ended so. Raises DifferenceError."""
    reason = result["reason"]
    if reason == "lost" and (trail.monitor_killed or trail.power_cut):
        _same(result, exit_code=None, signal=None, exit_status=125)
    elif reason == "dependency" and trail.after:
        # Whether rightly so: when all ends are known, `histories` says it.
        _same(result, exit_code=None, signal=None, exit_status=125)
    elif reason == "stopped" and (stoppers := _stoppers(plan, trail)):
        if result["stopped_by_uid"] not in stoppers:
            raise DifferenceError(f"stopped by {result['stopped_by_uid']}: {stoppers}")
    elif reason in ("launch-error", "log-error") and trail.disk_full and names_no_room(result):
        _same(result, exit_status=125)
    else:
        _check_planned(plan, result, *plan.planned(number))


def _stoppers(plan: JobPlan, trail: Trail) -> list[int]:
    return trail.stopped_by + (trail.group_stopped_by if plan.ending == plans.STOP else [])


def names_no_room(result: dict[str, Any]) -> bool:
    """Whether an attempt ended because the disk was full."""
    return any(text in (result["detail"] or "") for text in _NO_ROOM)


def _check_planned(plan: JobPlan, result: dict[str, Any], ending: str, value: int) -> None:
    if result["reason"] != ending:
        raise DifferenceError(f"ended by {result['reason']} ({result['detail']}), not {ending}")
    match ending:
        case "exit":
            _same(result, exit_code=value, signal=None, exit_status=value)
        case "signal":
            _same(result, exit_code=None, signal=value, exit_status=128 + value)
        case "timeout":
            _same(result, exit_status=124)
            _check_time(plan, result)
        case _:
            _same(result, exit_status=_STATUS_OF[ending])


def _check_time(plan: JobPlan, result: dict[str, Any]) -> None:
    """A time limit strikes when its time has passed, whatever was done to the clock."""
    ran = (result["wall_ns"] - (result["paused_ns"] or 0)) / 1e9
    limit = plan.limits["timeout_seconds"]
    if not limit - 0.01 <= ran <= limit + _LATEST_TIMEOUT_SECONDS:
        raise DifferenceError(f"its time limit of {limit} s struck after {ran:.3f} s")


def _same(result: dict[str, Any], **wanted: int | None) -> None:
    for name, value in wanted.items():
        if result[name] != value:
            raise DifferenceError(f"{name} is {result[name]}, not {value} ({result['reason']})")


def check_starts(plan: JobPlan, trail: Trail, counts: dict[int, int]) -> None:
    """How often each attempt's command began: once, or never where nothing of it ran."""
    often = {attempt: count for attempt, count in counts.items() if count > 1}
    if often:
        raise DifferenceError(f"attempts that ran more than once: {often}")
    if trail.result is None:
        return
    results = [*(attempt["result"] for attempt in trail.attempts), trail.result]
    unknown = counts.keys() - range(1, len(results) + 1)
    if unknown:
        raise DifferenceError(f"attempts that nobody told of ran: {unknown}")
    for attempt, result in enumerate(results, 1):
        excused = result["reason"] in _NOTHING_RAN or plan.planned(attempt)[0] in _MAY_NOT_RUN
        if attempt not in counts and not excused:
            raise DifferenceError(f"attempt {attempt} ended without having run")
