"""What a job may use, as a submission asks for it and as an update changes it.

Fields, units and bounds of docs/PROTOCOL.md; what a limit means to the kernel is runnerd's.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from gateway.rest.kinds import MIB, PIB, Closed, Maybe, Span, Text

_Rate = Annotated[int, Meta(ge=4096, le=PIB)]
_Operations = Annotated[int, Meta(ge=1, le=1_000_000_000)]
_Weight = Annotated[int, Meta(ge=1, le=10_000)]
_Bits = Annotated[int, Meta(ge=8_000, le=10**12)]
_Memory = Annotated[int, Meta(ge=4 * MIB, le=PIB)]
_Swap = Annotated[int, Meta(ge=0, le=PIB)]
_Millicpus = Annotated[int, Meta(ge=10, le=1_024_000, description="1000 are one CPU.")]
_CpuSet = Annotated[
    str,
    Meta(
        max_length=1024,
        pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$",
        description="CPU numbers and ranges such as 0-3,8.",
    ),
]
_Pids = Annotated[int, Meta(ge=1, le=4_194_304)]
_Signal = Annotated[int, Meta(ge=1, le=64)]
_Output = Annotated[int, Meta(ge=4096, le=PIB)]
_Scratch = Annotated[int, Meta(ge=MIB, le=PIB)]
_Bound = Annotated[int, Meta(ge=0, le=2**63 - 1)] | None
_Rlimit = Annotated[list[_Bound], Meta(min_length=2, max_length=2, description="[soft, hard]")]
_Rlimits = Annotated[
    dict[str, _Rlimit],
    Meta(
        max_length=16,
        description="Limits of each process, setrlimit(2), by names such as nofile; null: none.",
    ),
]


class IoLimit(Closed, frozen=True, kw_only=True):
    """Bytes and operations a second for the disks below `path`; at least one of the four."""

    path: Text
    read_bytes_per_second: Maybe[_Rate] = UNSET
    write_bytes_per_second: Maybe[_Rate] = UNSET
    read_operations_per_second: Maybe[_Operations] = UNSET
    write_operations_per_second: Maybe[_Operations] = UNSET


_Io = Annotated[list[IoLimit], Meta(max_length=16)]


class Limits(Closed, frozen=True, kw_only=True):
    """What a job may use. In a submission null is the same as missing; in an update it lifts."""

    memory_max_bytes: Maybe[_Memory] = UNSET
    memory_high_bytes: Maybe[_Memory] = UNSET
    memory_swap_max_bytes: Maybe[_Swap] = UNSET
    oom_policy: Maybe[Literal["kill", "continue"]] = UNSET
    cpu_max_millicpus: Maybe[_Millicpus] = UNSET
    cpu_weight: Maybe[_Weight] = UNSET
    cpu_set: Maybe[_CpuSet] = UNSET
    cpu_idle: Maybe[bool] = UNSET
    pids_max: Maybe[_Pids] = UNSET
    io: Maybe[_Io] = UNSET
    io_weight: Maybe[_Weight] = UNSET
    rlimits: Maybe[_Rlimits] = UNSET
    cpu_time_seconds: Maybe[Span] = UNSET
    timeout_seconds: Maybe[Span] = UNSET
    warning_seconds: Maybe[Span] = UNSET
    warning_signal: Maybe[_Signal] = UNSET
    output_max_bytes: Maybe[_Output] = UNSET
    output_policy: Maybe[Literal["drop-oldest", "block", "end"]] = UNSET
    scratch_max_bytes: Maybe[_Scratch] = UNSET
    net_egress_bits_per_second: Maybe[_Bits] = UNSET
    net_ingress_bits_per_second: Maybe[_Bits] = UNSET
