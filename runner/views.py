"""A job as the protocol shows it (docs/PROTOCOL.md, `status` and `list`). No decisions.

A damaged record hides itself, never the other jobs of a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client.protocol import to_wire
from runner import stored
from runner.records import RecordError

if TYPE_CHECKING:
    from runner.rows import Job


def summary(job: Job) -> dict[str, Any]:
    """One line of a list."""
    spec = _spec(job)
    return {
        "job": job.id,
        "name": job.name,
        "state": job.state.value,
        "uid": job.uid,
        "gid": job.gid,
        "user": spec["user"],
        "submitted_by_uid": job.submitted_by_uid,
        "argv": [to_wire(argument) for argument in spec["argv"]],
        "cwd": to_wire(spec["cwd"]),
        "network": spec["network"],
        "pid": job.monitor_pid,
        "submitted_ns": job.submitted_ns,
        "started_ns": job.started_ns,
        "ended_ns": job.ended_ns,
        "result": None if job.result is None else stored.result(job.result),
    }


def status(job: Job, usage: dict[str, int | None] | None) -> dict[str, Any]:
    """Everything that the submitter may know of a job."""
    return {**summary(job), "limits": _limits(job), "usage": usage}


def _spec(job: Job) -> dict[str, Any]:
    try:
        return stored.spec(job)
    except RecordError:
        return {"argv": [b"?"], "cwd": b"?", "network": "?", "user": str(job.uid), "limits": {}}


def _limits(job: Job) -> dict[str, Any]:
    """As read back once they were applied; until then as asked for."""
    try:
        limits = _spec(job)["limits"] if job.limits is None else stored.limits(job.limits)
    except RecordError:
        return {}
    io = [{**entry, "path": to_wire(entry["path"])} for entry in limits.get("io", ())]
    return {**limits, **({"io": io} if io else {})}
