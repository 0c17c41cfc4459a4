"""Checks what the daemon reads back from disk as if a stranger had written it.

A record may be torn, garbled or of another program. One that is not what it should be is a
RecordError, which quarantines its one job; nothing else may come of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from runner import records
from runner.message_queue import RetryReason  # noqa: TC001 - msgspec looks it up
from runner.outcome import LOST, REASONS, STATUS_OURS
from runner.policy import MAX_UID
from runner.records import MAX_DENIED, RecordError
from runner.spec import DEFAULT_HOSTNAME

if TYPE_CHECKING:
    from runner.rows import Job, NewJob


# What SQLite can hold, and what the kernel takes for a user.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_UID)]
_Size = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Number = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=2**32)]
_Factor = Annotated[float, msgspec.Meta(ge=1, le=2**32)]


class _Sandbox(msgspec.Struct, frozen=True):
    """The surroundings in a spec: `runner.spec.sandbox`."""

    preset: str | None = None
    filesystem: Literal["host", "readonly", "overlay", "root"] = "host"
    root: bytes | None = None
    keep_changes: bytes | None = None
    readable: list[bytes] = []
    writable: list[bytes] = []
    binds: list[tuple[bytes, bytes, bool]] = []
    tmpfs: list[tuple[bytes, _Size | None]] = []
    hide: list[bytes] = []
    hostname: str = "job"
    userns: bool = False
    capabilities: list[str] = []
    seccomp: bytes = b"none"
    seccomp_program: bytes | None = None
    report_denied: bool = False
    devices: list[bytes] = []
    secrets: list[tuple[str, bytes]] = []


class _Net(msgspec.Struct, frozen=True):
    """A private network in a spec: `runner.spec.net`."""

    name: str | None = None
    publish: list[tuple[str | None, int, int, str]] = []
    allow_egress: list[str] | None = None


class _Logs(msgspec.Struct, frozen=True):
    """How a log is kept, in a spec: `runner.spec.logs`."""

    segment_bytes: _Size
    keep_bytes: _Size
    keep_segments: _Size
    compression: Literal["none", "zstd"]
    on_full: Literal["wait", "drop", "end"]


class _RetryRule(msgspec.Struct, frozen=True):
    """What changes after an end for a reason, in a spec: `runner.spec.retry`."""

    reason: RetryReason
    limit: _Count | None
    memory_factor: _Factor | None
    memory_max_bytes: _Count | None
    timeout_factor: _Factor | None
    timeout_max_seconds: _Seconds | None


class _Retry(msgspec.Struct, frozen=True):
    """How a job is tried again, in a spec: `runner.spec.retry`."""

    limit: _Count
    backoff_seconds: _Seconds
    backoff_max_seconds: _Seconds | None
    on: list[RetryReason]
    rules: list[_RetryRule]


class _Spec(msgspec.Struct, frozen=True):
    """A spec: `runner.spec`."""

    job: str
    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: bytes
    umask: Annotated[int, msgspec.Meta(ge=0, le=0o777)]
    network: Literal["none", "host", "private"]
    uid: _Id
    gid: _Id
    groups: list[_Id]
    user: str
    limits: dict[str, Any]
    stop_grace_seconds: _Seconds
    logs: _Logs
    # Jobs that an older runnerd accepted have none of these.
    net: _Net = _Net()
    sandbox: _Sandbox = _Sandbox()
    retry: _Retry | None = None
    deadline_ns: _Count | None = None


class _Result(msgspec.Struct, frozen=True):
    """The `result` of docs/PROTOCOL.md."""

    reason: str
    exit_status: Annotated[int, msgspec.Meta(ge=0, le=255)]
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] | None
    signal: Annotated[int, msgspec.Meta(ge=1, le=64)] | None
    detail: str | None
    stopped_by_uid: _Id | None
    wall_ns: _Count | None
    cpu_usec: _Count | None
    cpu_user_usec: _Count | None
    cpu_system_usec: _Count | None
    memory_peak_bytes: _Count | None
    oom_kills: _Count | None
    pids_peak: _Count | None
    pids_max_hits: _Count | None
    io_read_bytes: _Count | None
    io_write_bytes: _Count | None
    log_bytes: _Count | None
    # A monitor of an older runnerd says nothing of these.
    paused_ns: _Count | None = None
    log_dropped_bytes: _Count | None = None
    throttled_usec: _Count | None = None
    memory_high_hits: _Count | None = None
    cpu_pressure_usec: _Count | None = None
    memory_pressure_usec: _Count | None = None
    io_pressure_usec: _Count | None = None
    # Pairs of a system call's number, -1 for none at all, and how often it was refused.
    denied: Annotated[list[tuple[_Number, _Count]], msgspec.Meta(max_length=MAX_DENIED)] | None = (
        None
    )


class _Exit(_Result, frozen=True, kw_only=True):
    """An exit record: `runner.monitor`."""

    job: str
    started_ns: _Count
    ended_ns: _Count


class _Io(msgspec.Struct, frozen=True):
    path: bytes
    devices: list[str] = []
    read_bytes_per_second: _Count | None = None
    write_bytes_per_second: _Count | None = None
    read_operations_per_second: _Count | None = None
    write_operations_per_second: _Count | None = None


class _Limits(msgspec.Struct, frozen=True):
    """Limits, asked for or read back: `runner.limits`."""

    memory_max_bytes: _Count | None = None
    memory_high_bytes: _Count | None = None
    memory_swap_max_bytes: _Count | None = None
    oom_policy: Literal["kill", "continue"] | None = None
    cpu_max_millicpus: _Count | None = None
    cpu_weight: _Count | None = None
    cpu_set: str | None = None
    cpu_idle: bool | None = None
    pids_max: _Count | None = None
    io: list[_Io] = []
    io_weight: _Count | None = None
    rlimits: dict[str, tuple[_Count | None, _Count | None]] = {}
    cpu_time_seconds: _Seconds | None = None
    timeout_seconds: _Seconds | None = None
    warning_seconds: _Seconds | None = None
    warning_signal: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    output_max_bytes: _Count | None = None
    output_policy: Literal["drop-oldest", "block", "end"] | None = None
    scratch_max_bytes: _Count | None = None
    net_egress_bits_per_second: _Count | None = None
    net_ingress_bits_per_second: _Count | None = None


class _Intent(msgspec.Struct, frozen=True):
    """An update that is under way: `runner.updating`."""

    limits: _Limits
    devices: dict[bytes, list[str]]
    uid: _Id


RESULT_FIELDS: Final = _Result.__struct_fields__
_SANDBOX: Final = frozenset(_Sandbox.__struct_fields__)
_NET: Final = frozenset(_Net.__struct_fields__)


def spec(job: Job | NewJob) -> dict[str, Any]:
    """A job's spec, which must agree with its row. Raises RecordError.

    One that the jobs of a group have in common, in which `job` is the group's id, becomes its own.
    The deadline is the row's: a retry by hand takes one that has passed away there alone.
    """
    fields = _checked(_with_logs(records.unpack(job.spec)), _Spec)
    _checked(fields["limits"], _Limits)
    if job.group_id is not None and fields["job"] == job.group_id:
        _make_own(fields, job.group_id, job.id)
    if (fields["job"], fields["uid"], fields["gid"]) != (job.id, job.uid, job.gid):
        raise RecordError("it is the spec of another job or of another user")
    if fields.get("timeout_seconds") is not None:
        # Where older versions kept it.
        fields["limits"].setdefault("timeout_seconds", fields.pop("timeout_seconds"))
    if not (fields.get("sandbox", {}).keys() >= _SANDBOX and fields.get("net", {}).keys() >= _NET):
        for name, defaults in unsaid().items():
            fields[name] = {**defaults, **fields.get(name, {})}
    fields.setdefault("retry", None)
    fields["deadline_ns"] = job.deadline_ns
    return fields


def _make_own(fields: dict[str, Any], group_id: str, job_id: str) -> None:
    """What of a group's spec would be the job's if it had been submitted alone."""
    fields["job"] = job_id
    sandbox = fields.get("sandbox", {})
    if sandbox.get("hostname") == DEFAULT_HOSTNAME.format(group_id[:8]):
        sandbox["hostname"] = DEFAULT_HOSTNAME.format(job_id[:8])


def _with_logs(fields: dict[str, Any]) -> dict[str, Any]:
    """Older versions wrote down two sizes of the log, and it was kept in one way."""
    if "logs" in fields:
        return fields
    segment, keep = (fields.get(f"log_{name}") for name in ("segment_bytes", "keep_bytes"))
    if type(segment) is not int or type(keep) is not int or segment < 1:
        return fields
    logs = {
        "segment_bytes": segment,
        "keep_bytes": keep,
        # Enough of them for what was to be kept: no other bound was known.
        "keep_segments": keep // segment + 2,
        "compression": "none",
        "on_full": "wait",
    }
    others = {name: value for name, value in fields.items() if not str(name).startswith("log_")}
    return {**others, "logs": logs}


def unsaid() -> dict[str, dict[str, Any]]:
    """The surroundings of a job whose spec says nothing of them."""
    return {
        "sandbox": msgspec.structs.asdict(_Sandbox()),
        "net": msgspec.structs.asdict(_Net()),
    }


def pack_spec(fields: dict[str, Any]) -> bytes:
    """A spec that `spec` gave, changed."""
    return records.pack({name: value for name, value in fields.items() if name != "version"})


def exit_record(data: bytes, job_id: str) -> dict[str, Any]:
    """The exit record of that job. Raises RecordError."""
    fields = _checked(records.unpack(data), _Exit)
    if fields["job"] != job_id:
        raise RecordError("it is the record of another job")
    if fields["reason"] not in REASONS:
        raise RecordError(f"it gives an unknown reason: {fields['reason']!a}")
    return fields


def result(data: bytes) -> dict[str, Any]:
    """The result of an ended job; one that cannot be read says so in the job's own record."""
    try:
        fields = _checked(records.unpack(data), _Result)
    except RecordError as error:
        unknown = dict.fromkeys(RESULT_FIELDS)
        detail = f"its result is damaged: {error}"
        return {**unknown, "reason": LOST, "exit_status": STATUS_OURS, "detail": detail}
    return {name: fields.get(name) for name in RESULT_FIELDS}


def limits(data: bytes) -> dict[str, Any]:
    """The limits as they were read back. Raises RecordError."""
    fields = records.unpack(data)
    del fields["version"]
    return _checked(fields, _Limits)


def intent(data: bytes) -> dict[str, Any]:
    """An update that was under way. Raises RecordError."""
    return _checked(records.unpack(data), _Intent)


def _checked(fields: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    try:
        msgspec.convert(fields, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise RecordError(str(error)) from None
    return fields
