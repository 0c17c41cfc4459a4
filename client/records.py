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
State = Literal["queued", "starting", "running", "paused", "ended"]
Reason = Literal[
    "exit",
    "signal",
    "oom",
    "timeout",
    "cpu-time",
    "output-limit",
    "stopped",
    "launch-error",
    "log-error",
    "lost",
]
Network = Literal["none", "host", "private"]


class IoLimit(TypedDict):
    """Bytes and operations a second for the disks below `path`; at least one of the four.

    `devices` is only in what the daemon answers: "MAJ:MIN" of each disk that is limited.
    """

    path: Text
    read_bytes_per_second: NotRequired[int | None]
    write_bytes_per_second: NotRequired[int | None]
    read_operations_per_second: NotRequired[int | None]
    write_operations_per_second: NotRequired[int | None]
    devices: NotRequired[list[str]]


class Limits(TypedDict, total=False):
    """Limits of a job; one that is missing does not apply.

    In a submission None is the same as missing; in an update it lifts the limit.
    `rlimits` maps names such as "nofile" to [soft, hard], None for unlimited.
    """

    memory_max_bytes: int | None
    memory_high_bytes: int | None
    memory_swap_max_bytes: int | None
    oom_policy: Literal["kill", "continue"] | None
    cpu_max_millicpus: int | None
    cpu_weight: int | None
    cpu_set: str | None
    cpu_idle: bool | None
    pids_max: int | None
    io: list[IoLimit] | None
    io_weight: int | None
    rlimits: dict[str, list[int | None]] | None
    cpu_time_seconds: float | None
    timeout_seconds: float | None
    warning_seconds: float | None
    warning_signal: int | None
    output_max_bytes: int | None
    output_policy: Literal["drop-oldest", "block", "end"] | None
    scratch_max_bytes: int | None
    net_egress_bits_per_second: int | None
    net_ingress_bits_per_second: int | None


class Logs(TypedDict, total=False):
    """How a job's log is kept; one that is missing or None is the daemon's default.

    `keep_bytes` is only in what the daemon answers: a job asks for it by `output_max_bytes`.
    """

    segment_bytes: int | None
    keep_segments: int | None
    compression: Literal["none", "zstd"] | None
    on_full: Literal["wait", "drop", "end"] | None
    keep_bytes: int


class Bind(TypedDict):
    """A file or directory of the host at `target` of the job's tree."""

    source: Text
    target: Text
    read_only: NotRequired[bool]


class Tmpfs(TypedDict):
    """An empty directory in memory."""

    path: Text
    size_bytes: NotRequired[int | None]


class Secret(TypedDict):
    """A file whose content the job finds as /dev/shm/secrets/NAME."""

    name: str
    path: Text


class Sandbox(TypedDict, total=False):
    """What a job sees and may do; what is missing or None is the daemon's default."""

    preset: Literal["untrusted"] | None
    filesystem: Literal["host", "readonly", "overlay", "root"] | None
    root: Text | None
    keep_changes: Text | None
    readable: list[Text]
    writable: list[Text]
    binds: list[Bind]
    tmpfs: list[Tmpfs]
    hide: list[Text]
    hostname: str | None
    userns: bool | None
    capabilities: list[str]
    seccomp: Text | None
    report_denied: bool
    devices: list[Text]
    secrets: list[Secret]


class Publish(TypedDict):
    """A port of the host that leads to one of the job's."""

    host_port: int
    port: int
    protocol: NotRequired[Literal["tcp", "udp"]]
    host_address: NotRequired[str | None]


class Net(TypedDict, total=False):
    """A private network; `allow_egress` None allows everything, a list that alone."""

    name: str | None
    publish: list[Publish]
    allow_egress: list[str] | None


class AppliedNet(Net, total=False):
    """A private network as `status` gives it: `address` is the job's own, once it has one."""

    address: str | None


class Denied(TypedDict):
    """A system call that the job was refused, and how often."""

    syscall: str
    count: int


class ExecResult(TypedDict):
    """How a command ended that was executed in a job; `runctl exec` exits with `exit_status`.

    `exit_code` or `signal` is None, both when it could not be started: `detail` says why.
    """

    exit_code: int | None
    signal: int | None
    exit_status: int
    detail: str | None


class Usage(TypedDict):
    """What a running job uses; None for a figure that this kernel does not give."""

    cpu_usec: int | None
    memory_bytes: int | None
    memory_peak_bytes: int | None
    pids: int | None


class JobResult(TypedDict):
    """How a job ended. `exit_status` is what `runctl run` exits with.

    `denied` is None unless the sandbox asked for `report_denied`.
    """

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
    log_dropped_bytes: int | None
    paused_ns: int | None
    throttled_usec: int | None
    memory_high_hits: int | None
    cpu_pressure_usec: int | None
    memory_pressure_usec: int | None
    io_pressure_usec: int | None
    denied: list[Denied] | None


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
    logs: Logs
    sandbox: Sandbox
    net: AppliedNet
    usage: Usage | None


class Location(TypedDict):
    """Where in a job's output that which was asked for begins, in absolute offsets.

    Read from `cursor`; what stdout has before `stdout`, and stderr before `stderr`, does not
    belong to it. `end` is where it ends now.
    """

    cursor: int
    stdout: int
    stderr: int
    end: int


class Feature(TypedDict):
    """One thing that the host can or cannot enforce."""

    name: str
    status: Literal["enforced", "unavailable"]
    why: str | None
    remedy: str | None


class DiskUse(TypedDict):
    """What a user's jobs take on the disk of the state directory, their output above all."""

    uid: int
    user: str
    jobs: int
    bytes: int


class Disk(TypedDict):
    """The disk of the state directory: its size, what is free, and who takes how much.

    `jobs_bytes` and `users` are of everybody for an admin (of users those who take most), else
    of the peer alone, and `store_bytes` is None then. A disk may have 0 `inodes`, for as many
    as it has room for.
    """

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int
    store_bytes: int | None
    jobs_bytes: int
    users: list[DiskUse]


class Pruned(TypedDict):
    """How many jobs were removed, or would be; what they took on the disk; the first 1,000 ids."""

    jobs: int
    bytes: int
    removed: list[str]


class Problem(TypedDict):
    """Something that is wrong since the daemon began; `job` is whose, if it is of one."""

    text: str
    job: str | None


class Doctor(TypedDict):
    """What `doctor` answers."""

    server: str
    kernel: str
    cgroup_root: str
    state_dir: str
    jobs: dict[str, int]
    draining: bool
    disk: Disk
    problems: list[Problem]
    features: list[Feature]


class Drained(TypedDict):
    """What `drain` answers: whether jobs are not taken, and how many run and wait."""

    draining: bool
    running: int
    queued: int


class Hello(TypedDict):
    """The daemon's greeting."""

    protocol: int
    server: str
    features: list[str]
    uid: int
    admin: bool
    draining: bool
    max_frame_bytes: int
