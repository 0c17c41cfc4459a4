"""The monitor: pid 1 of one job's PID namespace, from its fork to its exit record.

Theory of operation. The launcher clones it into `job-<id>/monitor`. It is root, in the
host's mount namespace, not dumpable, and connected to nobody: it holds descriptors
(`runner.handles`) and reads what to run from `spec`. It begins the log, the sign that the job may
have run, runs the job (`runner.run_loop`), writes `exit`, and ends. Should it die instead, the
kernel kills the whole PID namespace. What it waits for the disk with is `Syncing`.

Lean: imported by the launcher, paid for by each fork.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation import syscalls
from runner import daemon_watch, outcome, records
from runner.handles import Given, Handles, kill_payload
from runner.logs.writer import SegmentWriter
from runner.pump import plan_output
from runner.run_loop import RunLoop
from runner.usage import read_usage

if TYPE_CHECKING:
    from runner.outcome import Outcome

_TEXT_CHARS: Final = 500


class _Times(NamedTuple):
    unix_ns: int
    monotonic_ns: int


class Syncing(NamedTuple):
    """What is on the disk by the monitor's doing: where runnerd's commits do not say it instead.

    `begin`: the log's beginning, before the command is executed. `daemon` is a pidfd of runnerd,
    None where it is not known: the exit record, if that runnerd is gone. A record that is blank or
    torn after a power cut is none (`runner.reconcile`).
    """

    begin: bool
    daemon: int | None


def main(handles: Handles, job_id: str, given: Given, syncing: Syncing) -> None:
    """Run the job that the directory's spec describes. Returns when `exit` is written."""
    _detach(handles, syncing.daemon)
    started = _Times(time.time_ns(), time.monotonic_ns())
    try:
        result, facts = _run(handles, job_id, given, sync_begin=syncing.begin)
    # A defect of ours must not look like a job that still runs, nor like a success.
    except Exception as error:  # noqa: BLE001
        kill_payload(handles)
        text = f"its monitor failed: {type(error).__name__}: {error}"
        result, facts = outcome.lost(text[:_TEXT_CHARS]), {}
    unknown = {"log_bytes": None, "log_dropped_bytes": None}
    fields = {"job": job_id, **unknown, **_fields(result, handles, started), **facts}
    _write_exit(handles, fields, is_synced=not daemon_watch.lives(syncing.daemon))


def _run(
    handles: Handles, job_id: str, given: Given, *, sync_begin: bool
) -> tuple[Outcome, dict[str, Any]]:
    """How the job ended, and what is to be said of it besides."""
    spec = _read_spec(handles, job_id)
    plan = plan_output(spec, spec["limits"])
    try:
        log = SegmentWriter(
            handles.log_dir,
            segment_bytes=plan.segment_bytes,
            keep_bytes=plan.keep_bytes,
            keep_segments=plan.keep_segments,
            compression=spec["logs"]["compression"],
            sync_begin=sync_begin,
        )
    except OSError as error:
        return outcome.no_log(error.errno or errno.EIO), {}
    loop = RunLoop(handles, spec, log, given)
    result = loop.run()
    # What cannot be synced is still in the page cache; the end of the job stays known.
    with suppress(OSError):
        log.close()
    written = {"log_bytes": log.total_bytes, "log_dropped_bytes": log.dropped_bytes}
    return result, {**written, **loop.report()}


def _detach(handles: Handles, daemon: int | None) -> None:
    """Keep nothing of the launcher but the handles and what tells of runnerd."""
    kept = [0, 1, 2, *handles.present().values(), *([] if daemon is None else [daemon])]
    syscalls.close_all_except(kept)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd, inheritable=False)
    os.close(null)
    os.setsid()
    syscalls.set_process_name("runnerd-monitor")


def _read_spec(handles: Handles, job_id: str) -> dict[str, Any]:
    spec = records.read(handles.job_dir, records.SPEC, records.MAX_SPEC_BYTES)
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


def _write_exit(handles: Handles, fields: dict[str, Any], *, is_synced: bool) -> None:
    """Over the blank that was made with the directory: a full disk must not hide an end."""
    data = records.pack(fields)
    directory = handles.job_dir
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(records.EXIT_TEMPORARY, flags, 0o600, dir_fd=directory)
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))
    if is_synced:
        os.fsync(fd)
    os.rename(records.EXIT_TEMPORARY, records.EXIT, src_dir_fd=directory, dst_dir_fd=directory)
    if is_synced:
        os.fsync(directory)
