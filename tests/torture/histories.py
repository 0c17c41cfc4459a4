"""What may follow what in the events of jobs, and which jobs may have come after others. Pure.

Events are as a follower was given them, or as the store has them: number, job, kind, data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.torture import plan as plans
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.torture.ledger import Trail

_GOING: Final = ("starting", "running", "paused")
_NEXT: Final = {
    ("", "submit"): "queued",
    ("queued", "launch"): "starting",
    ("starting", "requeue"): "queued",
    ("starting", "started"): "running",
    ("running", "pause"): "paused",
    ("paused", "resume"): "running",
    ("ended", "retry"): "queued",
    ("ended", "remove"): "removed",
    ("queued", "finish"): "ended",
    **{(state, "finish"): "ended" for state in _GOING},
    **{(state, "retry"): "queued" for state in _GOING},
}
_CHANGING: Final = frozenset(kind for _, kind in _NEXT)


class Event(NamedTuple):
    """One event; `data` without anything is empty."""

    seq: int
    job: str
    kind: str
    data: dict[str, Any]


class History:
    """One job's events, one after the other."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.state = ""
        self.launched_at: int | None = None
        self.started_at: int | None = None
        self.finished_at: int | None = None
        self.reason: str | None = None
        self.retries = 0

    def add(self, event: Event) -> None:
        """The next one. Raises DifferenceError when it cannot follow."""
        if event.kind not in _CHANGING:
            return
        state = _NEXT.get((self.state, event.kind))
        if state is None:
            raise DifferenceError(f"event {event.seq}: {event.kind} of a job that is {self.state}")
        if event.kind == "retry" and (self.state == "ended") != ("by_uid" in event.data):
            raise DifferenceError(f"event {event.seq}: a retry of a job that is {self.state}")
        self._note(event)
        self.state = state

    def _note(self, event: Event) -> None:
        match event.kind:
            case "launch":
                self.launched_at = self.launched_at or event.seq
            case "started":
                self.started_at = self.started_at or event.seq
            case "finish":
                self.finished_at, self.reason = event.seq, event.data.get("reason")
            case "retry":
                self.retries += 1


def histories(events: Iterable[Event]) -> dict[str, History]:
    """Those of all jobs. Raises DifferenceError for what is out of order."""
    found: dict[str, History] = {}
    last = 0
    for event in events:
        if event.seq <= last:
            raise DifferenceError(f"event {event.seq} after event {last}")
        last = event.seq
        history = found.get(event.job)
        if history is None:
            history = found[event.job] = History(event.job)
        history.add(event)
    return found


def check_told(history: History, trail: Trail) -> None:
    """Its events say what was told of it. Raises DifferenceError."""
    if trail.result is None:
        return
    if history.state not in ("ended", "removed") or history.reason != trail.result["reason"]:
        told = trail.result["reason"]
        raise DifferenceError(f"told {told}; its events: {history.state}, {history.reason}")
    if history.retries != len(trail.attempts):
        raise DifferenceError(f"{history.retries} retries, {len(trail.attempts)} attempts before")


class Target(NamedTuple):
    """A job that another one comes after."""

    trail: Trail
    history: History


def check_after(trail: Trail, own: History, targets: dict[int, Target]) -> None:
    """It came after what it was to come after, and ended when that cannot be. DifferenceError."""
    if trail.result is None:
        return
    after = [(number, on) for number, on in trail.after if number in targets]
    fates = [_fate(targets[number], on) for number, on in after]
    if own.launched_at is not None:
        for (number, on), (met, at) in zip(after, fates, strict=True):
            if met is False or (at is not None and at > own.launched_at):
                raise DifferenceError(f"started before job {number} had come to be {on}")
    reason = trail.result["reason"]
    if reason == "dependency" and all(met for met, _ in fates):
        raise DifferenceError(f"nothing kept it from coming after {trail.after}")
    if reason not in ("dependency", "stopped", plans.DEADLINE) and any(
        met is False for met, _ in fates
    ):
        raise DifferenceError(f"it ended by {reason}, and could not come after {trail.after}")


def _fate(target: Target, on: str) -> tuple[bool | None, int | None]:
    """Whether it has become that, None: either may be; and by which event."""
    result, history = target.trail.result, target.history
    assert result is not None
    if on == "started":
        if history.started_at is None and history.launched_at is not None:
            # It ran or not, and nobody was there to see it.
            return None, None
        return history.started_at is not None, history.started_at
    is_ok = result["reason"] == "exit" and result["exit_code"] == 0
    return on == "any" or is_ok == (on == "ok"), history.finished_at
