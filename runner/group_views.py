"""A group as the protocol shows it (docs/PROTOCOL.md, `group` and `list`). No decisions.

Its jobs are shown by `runner.views`; whoever asks reads them, and counts. A damaged record hides
itself, never the others of a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner.group_rows import ARRAY, FLOW, step_name
from runner.views import NO_PLACE, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.group_rows import About, Group, GroupCounts, StepAbout

# Of a job's summary, what a group says of its first job as well.
_SHARED: Final = ("user", "queue")


def summary(
    group: Group,
    about: About | None,
    counts: GroupCounts,
    first: Mapping[str, Any] | None,
    *,
    has_started: bool,
) -> dict[str, Any]:
    """One line of a list. `about` None: it is damaged; `first`: the first job, as it is shown.

    `has_started`: whether any job of it ever has.
    """
    lowest, highest = _ends(group, about)
    has_ended = group.ended_ns is not None
    shared = {name: str(group.submitted_by_uid) if name == "user" else None for name in _SHARED}
    return {
        "group": group.id,
        "kind": group.kind,
        "name": group.name,
        "state": "ended" if has_ended else "running" if has_started else "queued",
        "ok": group.is_ok if has_ended else None,
        "size": group.size,
        "max_running": group.max_running,
        "submitted_by_uid": group.submitted_by_uid,
        **(shared if first is None else {name: first[name] for name in _SHARED}),
        "submitted_ns": group.submitted_ns,
        "ended_ns": group.ended_ns,
        "argv": first["argv"] if first is not None and group.kind == ARRAY else [],
        "counts": {**counts._asdict(), "removed": max(group.size - sum(counts), 0)},
        "first": lowest,
        "last": highest,
    }


def place(group: Group | None, name: str | None) -> Place:
    """Where a job of that name is in its group. `group` None: it cannot be read."""
    if group is None:
        return NO_PLACE
    return Place(group.name, step_name(group.name, name) if group.kind == FLOW else None)


def member(shown: Mapping[str, Any], about: About | None) -> dict[str, Any]:
    """One job of a group, as it is shown by itself, and its place in the group."""
    step = _step(about, shown["member"])
    return {
        **shown,
        "values": {} if step is None else step.values,
        "needs": [] if step is None else [{"step": on, "on": kind} for on, kind in step.needs],
    }


def failed(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the job, as it is shown, for which a group failed."""
    return {name: shown[name] for name in ("job", "name", "member", "result")}


def may_be_unstarted(group: Group, counts: GroupCounts) -> bool:
    """Whether by the counts alone it may be that no job of it has started."""
    under_way = counts.starting + counts.running + counts.paused + counts.ok
    # Of a removed job nobody knows whether it ran: it did, more often than not.
    return not under_way and sum(counts) == group.size


def _ends(group: Group, about: About | None) -> tuple[int, int]:
    """The lowest and the highest number of its jobs, of those that were removed as well."""
    ranges = [] if about is None else about.ranges
    if group.kind != ARRAY or not ranges:
        return 0, group.size - 1
    highest = max(first + (last - first) // stride * stride for first, last, stride in ranges)
    return min(first for first, _, _ in ranges), highest


def _step(about: About | None, number: int | None) -> StepAbout | None:
    steps = [] if about is None else about.steps
    return steps[number] if number is not None and number < len(steps) else None
