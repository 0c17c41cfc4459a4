"""The monitor: pid 1 of one job's PID namespace, from its fork to its exit record.

Theory of operation. The launcher clones it into `job-<id>/monitor`. It is root, in the
host's mount namespace, not dumpable, and connected to nobody: it holds descriptors
(`runner.handles`) and reads what to run from `spec`. It begins the log, which is the
durable sign that the job may have run, runs the job (`runner.run_loop`), writes `exit`, and
ends. Should it die instead, the kernel kills the whole PID namespace.

Lean: imported by the launcher, paid for by each fork.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation import syscalls
from runner import outcome, records
from runner.handles import Handles, kill_payload
from runner.logs.writer import SegmentWriter
from runner.run_loop import RunLoop
from runner.usage import read_usage

if TYPE_CHECKING:
    from runner.outcome import Outcome

_TEXT_CHARS: Final = 500


class _Times(NamedTuple):
    unix_ns: int
    monotonic_ns: int


def main(handles: Handles, job_id: str, files: dict[bytes, bytes]) -> None:
    """Run the job that the directory's spec describes. Returns when `exit` is written."""
    _detach(handles)
    started = _Times(time.time_ns(), time.monotonic_ns())
    try:
        result, log_bytes = _run(handles, job_id, files)
    # A defect of ours must not look like a job that still runs, nor like a success.
    except Exception as error:  # noqa: BLE001
        kill_payload(handles)
        text = f"its monitor failed: {type(error).__name__}: {error}"
        result, log_bytes = outcome.lost(text[:_TEXT_CHARS]), None
    fields = {"job": job_id, "log_bytes": log_bytes, **_fields(result, handles, started)}
    _write_exit(handles, fields)


def _run(handles: Handles, job_id: str, files: dict[bytes, bytes]) -> tuple[Outcome, int | None]:
    """How the job ended, and the bytes that it wrote."""
    spec = _read_spec(handles, job_id)
    try:
        log = SegmentWriter(
            handles.log_dir,
            segment_bytes=spec["log_segment_bytes"],
            keep_bytes=spec["log_keep_bytes"],
        )
    except OSError as error:
        return outcome.no_log(error.errno or errno.EIO), None
    result = RunLoop(handles, spec, log, files).run()
    # What cannot be synced is still in the page cache; the end of the job stays known.
    with suppress(OSError):
        log.close()
    return result, log.total_bytes


def _detach(handles: Handles) -> None:
    """Keep nothing of the launcher but the handles."""
    syscalls.close_all_except([0, 1, 2, *handles.present().values()])
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd, inheritable=False)
    os.close(null)
    os.setsid()
    syscalls.set_process_name("runnerd-monitor")


def _read_spec(handles: Handles, job_id: str) -> dict[str, Any]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(records.SPEC, flags, dir_fd=handles.job_dir)
    with open(fd, "rb") as file:
        spec = records.unpack(file.read(records.MAX_SPEC_BYTES))
    if spec["job"] != job_id:
        raise records.RecordError(f"the spec is that of job {spec['job']}")
    return spec


def _fields(result: Outcome, handles: Handles, started: _Times) -> dict[str, Any]:
    return {
        **result._asdict(),
        "started_ns": started.unix_ns,
        "ended_ns": time.time_ns(),
        "wall_ns": time.monotonic_ns() - started.monotonic_ns,
        **read_usage(handles.job_cgroup, handles.payload_cgroup),
    }


def _write_exit(handles: Handles, fields: dict[str, Any]) -> None:
    """Over the blank that was made with the directory: a full disk must not hide an end."""
    data = records.pack(fields)
    directory = handles.job_dir
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(records.EXIT_TEMPORARY, flags, 0o600, dir_fd=directory)
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))
    os.fsync(fd)
    os.rename(records.EXIT_TEMPORARY, records.EXIT, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
