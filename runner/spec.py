"""What a job is: the one map that is committed with it and that its monitor reads.

Built once from a validated request and the submitter's credentials; a request's defaults
are filled in here, so that a later change of the configuration changes no accepted job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import records

if TYPE_CHECKING:
    from runner.config import Config
    from runner.messages import LimitsRequest, Submit
    from runner.users import Account


def build(job_id: str, request: Submit, account: Account, config: Config) -> dict[str, Any]:
    """The spec of an accepted job. Text is bytes in it, as the kernel will see it."""
    return {
        "job": job_id,
        "argv": [bytes(argument) for argument in request.argv],
        "env": {bytes(name): bytes(value) for name, value in request.env.items()},
        "cwd": bytes(request.cwd),
        "umask": request.umask,
        "network": request.network,
        "uid": account.uid,
        "gid": account.gid,
        "groups": list(account.groups),
        "user": account.name,
        "limits": _limits(request.limits, config),
        "timeout_seconds": request.limits.timeout_seconds,
        "stop_grace_seconds": config.jobs.stop_grace_seconds,
        "log_segment_bytes": config.logs.segment_bytes,
        "log_keep_bytes": config.logs.keep_bytes,
    }


def _limits(request: LimitsRequest, config: Config) -> dict[str, Any]:
    """The limits that apply, in the names of the protocol; what is not limited is left out."""
    limits = {
        "memory_max_bytes": request.memory_max_bytes or config.jobs.default_memory_max,
        "cpu_max_millicpus": request.cpu_max_millicpus,
        "pids_max": request.pids_max or config.jobs.default_pids_max or None,
        "timeout_seconds": request.timeout_seconds,
        "io": [_io(entry.path, entry.read_bytes_per_second, entry.write_bytes_per_second)
               for entry in request.io],
    }  # fmt: skip
    return {name: value for name, value in limits.items() if value not in (None, [])}


def _io(path: bytes, read: int | None, write: int | None) -> dict[str, Any]:
    entry = {"path": bytes(path), "read_bytes_per_second": read, "write_bytes_per_second": write}
    return {name: value for name, value in entry.items() if value is not None}


def pack(spec: dict[str, Any]) -> bytes:
    """As it is committed and as it lies in the job's directory; read back by `runner.stored`."""
    return records.pack(spec)
