"""A job as the protocol shows it (docs/PROTOCOL.md, `status` and `list`). No decisions.

A damaged record hides itself, never the other jobs of a list.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from client.protocol import to_wire
from runner import stored
from runner.records import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.rows import Attempt, Job, StoredDependency
    from runner.scheduling.kinds import Cause


class Place(NamedTuple):
    """Of which group a job is, if that has a name, and of a flow, which step."""

    group_name: str | None = None
    step: str | None = None


NO_PLACE: Final = Place()


def summary(
    job: Job,
    *,
    labels: Mapping[str, str] | None = None,
    waits_for: Cause | None = None,
    place: Place = NO_PLACE,
) -> dict[str, Any]:
    """One line of a list. `waits_for`: why it is queued still, where that is known."""
    return _summary(job, _spec(job), labels, waits_for, place)


def _summary(
    job: Job,
    spec: dict[str, Any],
    labels: Mapping[str, str] | None,
    waits_for: Cause | None,
    place: Place,
) -> dict[str, Any]:
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
        "result": result(job),
        "queue": job.queue,
        "priority": job.priority,
        "attempt": job.attempt,
        "labels": dict(labels or {}),
        "held_by_uid": job.held_by_uid,
        "not_before_ns": job.not_before_ns,
        "deadline_ns": job.deadline_ns,
        "reserve": {
            "millicpus": job.reserved_millicpus,
            "memory_bytes": job.reserved_memory_bytes,
        },
        "waits_for": waits_for,
        "group": job.group_id,
        "group_name": place.group_name,
        "member": job.member,
        "step": place.step,
        "fate": job.fate,
    }


def status(  # noqa: PLR0913 - what is asked elsewhere than of the row
    job: Job,
    usage: dict[str, int | None] | None,
    address: str | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    waits_for: Cause | None = None,
    place: Place = NO_PLACE,
    after: Iterable[StoredDependency] = (),
    steps: Mapping[str, str] = MappingProxyType({}),
    attempts: Iterable[Attempt] = (),
) -> dict[str, Any]:
    """Everything that the submitter may know of a job. `address`: its own, once it has one.

    `attempts` are the earlier ones, `steps` the names of those that it comes after in its flow.
    """
    spec = _spec(job)
    return {
        **_summary(job, spec, labels, waits_for, place),
        "idempotency_key": job.idempotency_key,
        "retry": spec["retry"],
        "after": [
            {"job": each.on_id, "step": steps.get(each.on_id), "on": each.kind, "met": each.met}
            for each in after
        ],
        "attempts": [_attempt(each) for each in attempts],
        "limits": _limits(job, spec),
        "logs": spec["logs"],
        "sandbox": _sandbox(spec["sandbox"]),
        "net": {**_net(spec["net"]), "address": address},
        "usage": usage,
    }


def _spec(job: Job) -> dict[str, Any]:
    try:
        return stored.spec(job)
    except RecordError:
        unknown = {"argv": [b"?"], "cwd": b"?", "network": "?", "user": str(job.uid)}
        return {**unknown, "limits": {}, "logs": {}, "retry": None, **stored.unsaid()}


def result(job: Job) -> dict[str, Any] | None:
    """How a job ended; None: it has not."""
    return None if job.result is None else _result(job.result)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "started_ns": attempt.started_ns,
        "ended_ns": attempt.ended_ns,
        "result": _result(attempt.result),
    }


def _result(data: bytes) -> dict[str, Any]:
    """The result of docs/PROTOCOL.md: system calls by their names."""
    result = stored.result(data)
    if result["denied"]:
        # Heavy, and few jobs ask for it.
        from isolation.seccomp.profiles import syscall_name

        result["denied"] = [
            {"syscall": syscall_name(number), "count": count} for number, count in result["denied"]
        ]
    return result


def _sandbox(sandbox: dict[str, Any]) -> dict[str, Any]:
    """In the shapes of a request; a profile's program is nobody's business."""
    shown = {name: value for name, value in sandbox.items() if name != "seccomp_program"}
    for name in ("root", "keep_changes", "seccomp"):
        shown[name] = None if sandbox[name] is None else to_wire(sandbox[name])
    for name in ("readable", "writable", "hide", "devices"):
        shown[name] = [to_wire(path) for path in sandbox[name]]
    shown["binds"] = [
        {"source": to_wire(source), "target": to_wire(target), "read_only": read_only}
        for source, target, read_only in sandbox["binds"]
    ]
    shown["tmpfs"] = [{"path": to_wire(p), "size_bytes": size} for p, size in sandbox["tmpfs"]]
    shown["secrets"] = [{"name": n, "path": to_wire(path)} for n, path in sandbox["secrets"]]
    return shown


def _net(net: dict[str, Any]) -> dict[str, Any]:
    names = ("host_address", "host_port", "port", "protocol")
    publish = [dict(zip(names, entry, strict=True)) for entry in net["publish"]]
    return {**net, "publish": publish}


def limits(job: Job) -> dict[str, Any]:
    """As read back once they were applied; until then as asked for."""
    return _limits(job, _spec(job) if job.limits is None else {})


def _limits(job: Job, spec: dict[str, Any]) -> dict[str, Any]:
    try:
        found = spec["limits"] if job.limits is None else stored.limits(job.limits)
    except RecordError:
        return {}
    io = [{**entry, "path": to_wire(entry["path"])} for entry in found.get("io", ())]
    return {**found, **({"io": io} if io else {})}
