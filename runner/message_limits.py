"""The limits that a request may ask for, or change: fields, units and bounds.

What a limit means to the kernel is `runner.limits`'s; which of them contradict each other
is looked at in `runner.message_checks`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from runner.message_kinds import MIB, PIB, Closed, OsText

MEMORY_MIN_BYTES: Final = 4 * MIB
# setrlimit(2), without the RLIMIT_ of the name.
RLIMIT_NAMES: Final = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip

_Rate = Annotated[int, Meta(ge=4096, le=PIB)]
_Operations = Annotated[int, Meta(ge=1, le=1_000_000_000)]
_Weight = Annotated[int, Meta(ge=1, le=10_000)]
_Bits = Annotated[int, Meta(ge=8_000, le=10**12)]
_Memory = Annotated[int, Meta(ge=MEMORY_MIN_BYTES, le=PIB)]
_Swap = Annotated[int, Meta(ge=0, le=PIB)]
_Millicpus = Annotated[int, Meta(ge=10, le=1_024_000)]
_CpuSet = Annotated[
    str,
    Meta(
        max_length=1024,
        pattern=r"\A[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*\Z",
        description="CPU numbers and ranges such as 0-3,8",
    ),
]
_Pids = Annotated[int, Meta(ge=1, le=4_194_304)]
_Seconds = Annotated[float, Meta(ge=0.001, le=315_360_000)]
_Signal = Annotated[int, Meta(ge=1, le=64)]
_Output = Annotated[int, Meta(ge=4096, le=PIB)]
_Scratch = Annotated[int, Meta(ge=MIB, le=PIB)]
_OomPolicy = Annotated[Literal["kill", "continue"], Meta(description="kill or continue")]
_OutputPolicy = Annotated[
    Literal["drop-oldest", "block", "end"], Meta(description="drop-oldest, block or end")
]
# [soft, hard]; nil is "unlimited".
_Bound = Annotated[int, Meta(ge=0, le=2**63 - 1)] | None
_Rlimit = Annotated[list[_Bound], Meta(min_length=2, max_length=2, description="[soft, hard]")]
_Rlimits = Annotated[dict[str, _Rlimit], Meta(max_length=len(RLIMIT_NAMES))]


class IoRequest(Closed, frozen=True):
    """Limits on the disks below a path: bytes and operations a second."""

    path: OsText
    read_bytes_per_second: _Rate | None = None
    write_bytes_per_second: _Rate | None = None
    read_operations_per_second: _Operations | None = None
    write_operations_per_second: _Operations | None = None


_Io = Annotated[list[IoRequest], Meta(max_length=16)]


class LimitsRequest(Closed, frozen=True):
    """What a job may use. None: the daemon's default, or no limit."""

    memory_max_bytes: _Memory | None = None
    memory_high_bytes: _Memory | None = None
    memory_swap_max_bytes: _Swap | None = None
    oom_policy: _OomPolicy | None = None
    cpu_max_millicpus: _Millicpus | None = None
    cpu_weight: _Weight | None = None
    cpu_set: _CpuSet | None = None
    cpu_idle: bool | None = None
    pids_max: _Pids | None = None
    io: _Io = []
    io_weight: _Weight | None = None
    rlimits: _Rlimits = {}
    cpu_time_seconds: _Seconds | None = None
    timeout_seconds: _Seconds | None = None
    warning_seconds: _Seconds | None = None
    warning_signal: _Signal | None = None
    output_max_bytes: _Output | None = None
    output_policy: _OutputPolicy | None = None
    scratch_max_bytes: _Scratch | None = None
    net_egress_bits_per_second: _Bits | None = None
    net_ingress_bits_per_second: _Bits | None = None


class LimitsUpdate(Closed, frozen=True):
    """What to change of a job's limits. Missing: leave it; None (nil): lift it."""

    memory_max_bytes: _Memory | UnsetType | None = UNSET
    memory_high_bytes: _Memory | UnsetType | None = UNSET
    memory_swap_max_bytes: _Swap | UnsetType | None = UNSET
    oom_policy: _OomPolicy | UnsetType | None = UNSET
    cpu_max_millicpus: _Millicpus | UnsetType | None = UNSET
    cpu_weight: _Weight | UnsetType | None = UNSET
    cpu_set: _CpuSet | UnsetType | None = UNSET
    cpu_idle: bool | UnsetType | None = UNSET
    pids_max: _Pids | UnsetType | None = UNSET
    io: _Io | UnsetType | None = UNSET
    io_weight: _Weight | UnsetType | None = UNSET
    rlimits: _Rlimits | UnsetType | None = UNSET
    cpu_time_seconds: _Seconds | UnsetType | None = UNSET
    timeout_seconds: _Seconds | UnsetType | None = UNSET
    warning_seconds: _Seconds | UnsetType | None = UNSET
    warning_signal: _Signal | UnsetType | None = UNSET
    output_max_bytes: _Output | UnsetType | None = UNSET
    output_policy: _OutputPolicy | UnsetType | None = UNSET
    scratch_max_bytes: _Scratch | UnsetType | None = UNSET
    net_egress_bits_per_second: _Bits | UnsetType | None = UNSET
    net_ingress_bits_per_second: _Bits | UnsetType | None = UNSET
