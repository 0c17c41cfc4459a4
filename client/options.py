"""What a submission may say, as types: the shapes of docs/PROTOCOL.md, nothing computed.

What the daemon answers is `client.records`', which has the names of here too; bounds are the
daemon's to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "deadline",
    "dependency",
    "lost",
]
Network = Literal["none", "host", "private"]
On = Literal["ok", "any", "fail", "started"]
HookEvent = Literal["started", "paused", "resumed", "retry", "ended", "ok", "fail"]


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


class After(TypedDict):
    """A job that another one comes after, and what has to have become of it (default "ok")."""

    job: str
    on: NotRequired[On]


class RetryRule(TypedDict):
    """What changes before another attempt after an end for this reason.

    `limit` is how often that is tried at most. Factors multiply the limit of the attempt before,
    up to their bounds.
    """

    reason: Reason
    limit: NotRequired[int | None]
    memory_factor: NotRequired[float | None]
    memory_max_bytes: NotRequired[int | None]
    timeout_factor: NotRequired[float | None]
    timeout_max_seconds: NotRequired[float | None]


class Retry(TypedDict):
    """How often a job that failed is tried again, after which waits, and for which reasons.

    `backoff_seconds` doubles with each retry, up to `backoff_max_seconds`.
    """

    limit: int
    backoff_seconds: NotRequired[float]
    backoff_max_seconds: NotRequired[float | None]
    on: NotRequired[list[Reason] | None]
    rules: NotRequired[list[RetryRule]]


class Reserve(TypedDict, total=False):
    """What a job is promised while it runs; None or missing: as much as its limits let it use."""

    millicpus: int | None
    memory_bytes: int | None


class Hook(TypedDict):
    """A command (`argv`) or a web address (`url`) for some changes of state; one of the two.

    `timeout_seconds` is for each of its attempts, `retries` how often it is tried again.
    """

    on: Sequence[HookEvent]
    argv: NotRequired[Sequence[Text]]
    url: NotRequired[str]
    timeout_seconds: NotRequired[float]
    memory_max_bytes: NotRequired[int]
    retries: NotRequired[int]
    network: NotRequired[Network]


class Options(TypedDict, total=False):
    """What a submission may say besides its command; None is the same as missing.

    `cwd`, `env` and `umask` are the caller's own unless given; `env` replaces the whole
    environment (with a preset of `sandbox` a clean one is the default). Paths are absolute. A job
    waits in `queue`; of several the one with the higher `priority` comes first. `after` are jobs
    it comes after, or their ids for "ok". It starts not before `not_before_ns` (Unix time) or
    `delay_seconds` from now, with `hold` not until it is released, and has to end by
    `deadline_ns` or `deadline_seconds` from now. The same `idempotency_key` gives the same job.
    `hooks` are run when its state changes.
    Bounds: docs/PROTOCOL.md.
    """

    cwd: Text | None
    env: Environment | None
    name: str | None
    umask: int | None
    network: Network | None
    user: str | int | None
    group: str | int | None
    limits: Limits | None
    logs: Logs | None
    sandbox: Sandbox | None
    net: Net | None
    queue: str | None
    priority: int | None
    labels: Mapping[str, str] | None
    after: Sequence[After | str] | None
    not_before_ns: int | None
    delay_seconds: float | None
    deadline_ns: int | None
    deadline_seconds: float | None
    hold: bool | None
    retry: Retry | None
    reserve: Reserve | None
    idempotency_key: str | None
    hooks: Sequence[Hook] | None
