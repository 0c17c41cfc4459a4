"""A schedule as the protocol shows it (docs/PROTOCOL.md). No decisions.

What a damaged template runs is not known; the rest of its schedule is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client.protocol import to_wire
from runner import schedule_template
from runner.hook_template import shown_request
from runner.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.messages import Submit
    from runner.schedule_rows import Schedule


def summary(schedule: Schedule, next_ns: int | None, template: bytes | None) -> dict[str, Any]:
    """One line of a list."""
    request = _request(template)
    return {
        "schedule": schedule.id,
        "name": schedule.name,
        "submitted_by_uid": schedule.submitted_by_uid,
        "every": schedule.every,
        "zone": schedule.zone,
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "paused": schedule.paused,
        "created_ns": schedule.created_ns,
        "next_ns": next_ns,
        "last_job": schedule.last_job,
        "last_ns": schedule.last_ns,
        "last_error": schedule.last_error,
        "runs": schedule.runs,
        "failed": schedule.failed,
        "skipped": schedule.skipped,
        "argv": ["?"] if request is None else [to_wire(each) for each in request.argv],
        "queue": None if request is None else request.queue,
    }


def status(schedule: Schedule, next_times: Sequence[int], template: bytes | None) -> dict[str, Any]:
    """Everything of one: its next times, and what it submits but for the environment."""
    request = _request(template)
    return {
        **summary(schedule, next_times[0] if next_times else None, template),
        "next_times_ns": list(next_times),
        "submit": None if request is None else _submission(request),
    }


def _request(template: bytes | None) -> Submit | None:
    try:
        return None if template is None else schedule_template.unpack(template)[1]
    except Refusal:
        return None


def _submission(request: Submit) -> dict[str, Any]:
    """As it was asked for, without what is private and without what a schedule has not."""
    fields: dict[str, Any] = _sendable(schedule_template.plain(request))
    hidden = {"env", *schedule_template.ONCE}
    shown = {name: value for name, value in fields.items() if name not in hidden}
    # A command, and more so an address, may hold a secret.
    return {**shown, "hooks": [shown_request(hook) for hook in request.hooks]}


def _sendable(value: Any) -> Any:  # noqa: ANN401 - what msgpack knows
    if isinstance(value, bytes):
        return to_wire(value)
    if isinstance(value, dict):
        return {name: _sendable(each) for name, each in value.items() if name != "env"}
    return [_sendable(each) for each in value] if isinstance(value, list) else value
