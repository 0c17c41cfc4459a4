"""A job as the protocol shows it (docs/PROTOCOL.md, `status` and `list`). No decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from client.protocol import to_wire
from runner import records
from runner import spec as specs

if TYPE_CHECKING:
    from runner.rows import Job


def summary(job: Job) -> dict[str, Any]:
    """One line of a list."""
    try:
        spec = specs.unpack(job.spec)
    except records.RecordError:
        # One damaged row must not hide the others.
        spec = {"argv": [b"?"], "cwd": b"?", "network": "?", "user": "?", "limits": {}}
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
        "result": None if job.result is None else _result(job.result),
    }


def _result(data: bytes) -> dict[str, Any]:
    result = records.unpack(data)
    del result["version"]
    return result


def status(job: Job, usage: dict[str, int | None] | None) -> dict[str, Any]:
    """Everything that the submitter may know of a job."""
    applied = None if job.limits is None else msgpack.unpackb(job.limits)
    shown = summary(job)
    if applied is None:
        applied = specs.unpack(job.spec)["limits"] if shown["user"] != "?" else {}
    return {**shown, "limits": _limits(applied), "usage": usage}


def _limits(limits: dict[str, Any]) -> dict[str, Any]:
    io = [{**entry, "path": to_wire(entry["path"])} for entry in limits.get("io", ())]
    return {**limits, **({"io": io} if io else {})}
