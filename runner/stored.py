"""Checks what the daemon reads back from disk as if a stranger had written it.

A record may be torn, garbled or of another program. One that is not what it should be is a
RecordError, which quarantines its one job; nothing else may come of it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from runner import records
from runner.outcome import LOST, REASONS, STATUS_OURS
from runner.records import RecordError


class _Spec(msgspec.Struct, frozen=True):
    """A spec: `runner.spec`."""

    job: str
    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: bytes
    umask: int
    network: str
    uid: int
    gid: int
    groups: list[int]
    user: str
    limits: dict[str, Any]
    timeout_seconds: float | None
    stop_grace_seconds: float
    log_segment_bytes: int
    log_keep_bytes: int


class _Result(msgspec.Struct, frozen=True):
    """The `result` of docs/PROTOCOL.md."""

    reason: str
    exit_status: int
    exit_code: int | None
    signal: int | None
    detail: str | None
    stopped_by_uid: int | None
    wall_ns: int | None
    cpu_usec: int | None
    cpu_user_usec: int | None
    cpu_system_usec: int | None
    memory_peak_bytes: int | None
    oom_kills: int | None
    pids_peak: int | None
    pids_max_hits: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    log_bytes: int | None


class _Exit(_Result, frozen=True):
    """An exit record: `runner.monitor`."""

    job: str
    started_ns: int
    ended_ns: int


class _Io(msgspec.Struct, frozen=True):
    path: bytes
    device: str = ""
    read_bytes_per_second: int | None = None
    write_bytes_per_second: int | None = None


class _Limits(msgspec.Struct, frozen=True):
    """Limits, asked for or read back: `runner.limits`."""

    memory_max_bytes: int | None = None
    cpu_max_millicpus: int | None = None
    pids_max: int | None = None
    timeout_seconds: float | None = None
    io: list[_Io] = []


RESULT_FIELDS: Final = _Result.__struct_fields__


def spec(data: bytes) -> dict[str, Any]:
    """A job's spec. Raises RecordError."""
    fields = _checked(records.unpack(data), _Spec)
    _checked(fields["limits"], _Limits)
    return fields


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
    return {name: fields[name] for name in RESULT_FIELDS}


def limits(data: bytes) -> dict[str, Any]:
    """The limits as they were read back. Raises RecordError."""
    fields = records.unpack(data)
    del fields["version"]
    return _checked(fields, _Limits)


def _checked(fields: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    try:
        msgspec.convert(fields, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise RecordError(str(error)) from None
    return fields
