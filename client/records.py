"""What the daemon answers, as types: the shapes of docs/PROTOCOL.md, nothing computed.

Text that comes from the operating system is `str`, or `bytes` when it is not UTF-8;
`client.protocol.to_text` makes one of both. Times are Unix time in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict

Text = str | bytes
# A mapping's key type is invariant: one of these for each kind of dict that a caller may have.
Environment = Mapping[str, str] | Mapping[bytes, bytes] | Mapping[Text, Text]
State = Literal["queued", "starting", "running", "ended"]
Reason = Literal["exit", "signal", "oom", "timeout", "stopped", "launch-error", "log-error", "lost"]
Network = Literal["none", "host"]


class IoLimit(TypedDict):
    """Bytes a second for the device that `path` is on; at least one of the two."""

    path: Text
    read_bytes_per_second: NotRequired[int | None]
    write_bytes_per_second: NotRequired[int | None]
    device: NotRequired[str]


class Limits(TypedDict, total=False):
    """Limits of a job; one that is missing or None does not apply."""

    memory_max_bytes: int | None
    cpu_max_millicpus: int | None
    pids_max: int | None
    timeout_seconds: float | None
    io: list[IoLimit]


class Usage(TypedDict):
    """What a running job uses; None for a figure that this kernel does not give."""

    cpu_usec: int | None
    memory_bytes: int | None
    memory_peak_bytes: int | None
    pids: int | None


class JobResult(TypedDict):
    """How a job ended. `exit_status` is what `runctl run` exits with."""

    reason: Reason
    exit_code: int | None
    signal: int | None
    exit_status: int
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


class JobSummary(TypedDict):
    """A job as `list` gives it."""

    job: str
    name: str | None
    state: State
    uid: int
    gid: int
    user: str
    submitted_by_uid: int
    argv: list[Text]
    cwd: Text
    network: Network
    pid: int | None
    submitted_ns: int
    started_ns: int | None
    ended_ns: int | None
    result: JobResult | None


class JobStatus(JobSummary):
    """A job as `status` gives it."""

    limits: Limits
    usage: Usage | None


class Feature(TypedDict):
    """One thing that the host can or cannot enforce."""

    name: str
    status: Literal["enforced", "unavailable"]
    why: str | None
    remedy: str | None


class Doctor(TypedDict):
    """What `doctor` answers."""

    server: str
    kernel: str
    cgroup_root: str
    state_dir: str
    jobs: dict[str, int]
    features: list[Feature]


class Hello(TypedDict):
    """The daemon's greeting."""

    protocol: int
    server: str
    features: list[str]
    uid: int
    admin: bool
    max_frame_bytes: int
