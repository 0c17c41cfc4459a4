"""Limits between the protocol's names and the kernel's, and the cap of a monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroups.limit_kinds import AppliedLimits, IoLimit, JobLimits
from runner import limits
from runner.message_limits import LimitsRequest

if TYPE_CHECKING:
    from pathlib import Path

IO: list[dict[str, Any]] = [
    {"path": b"/a", "read_bytes_per_second": 4096, "write_operations_per_second": 7},
    {"path": b"/b", "write_bytes_per_second": 8192},
]
DEVICES = {b"/a": ("8:0",), b"/b": ("8:16", "8:32")}
# The names are the same on both sides.
OF_CGROUPS: dict[str, Any] = {
    "memory_max_bytes": 1, "memory_high_bytes": 2, "memory_swap_max_bytes": 0,
    "oom_policy": "continue", "cpu_max_millicpus": 3, "cpu_weight": 4, "cpu_idle": False,
    "cpu_set": "0-1", "pids_max": 5, "io_weight": 6,
}  # fmt: skip
OTHERS: dict[str, Any] = {
    "rlimits": {"nofile": [1, None]}, "cpu_time_seconds": 1.5, "timeout_seconds": 4.5,
    "warning_seconds": 1.0, "warning_signal": 10, "output_max_bytes": 5000,
    "output_policy": "end", "scratch_max_bytes": 2**20, "net_egress_bits_per_second": 8000,
    "net_ingress_bits_per_second": 9000,
}  # fmt: skip


def test_no_limits_are_none_at_all() -> None:
    assert limits.kernel_limits({}, {}, None) == JobLimits()
    assert limits.shown_limits({}, {}, AppliedLimits()) == {}


def test_every_limit_of_the_protocol_is_of_the_cgroups_or_of_somebody_else() -> None:
    assert {*OF_CGROUPS, *OTHERS, "io"} == set(LimitsRequest.__struct_fields__)


def test_each_limit_goes_to_its_field_and_paths_become_devices() -> None:
    asked = {**OF_CGROUPS, **OTHERS, "io": IO}
    assert limits.kernel_limits(asked, DEVICES, 9) == JobLimits(
        **OF_CGROUPS,
        io=(
            IoLimit("8:0", 4096, None, None, 7),
            IoLimit("8:16", None, 8192),
            IoLimit("8:32", None, 8192),
        ),
        monitor_memory_max_bytes=9,
    )


def test_what_is_shown_is_what_the_kernel_read_back_and_what_others_were_asked() -> None:
    asked = {**OF_CGROUPS, **OTHERS, "memory_max_bytes": 4_200_000, "io": IO}
    kernel = limits.kernel_limits(asked, DEVICES, 77)
    fields = {name: getattr(kernel, name) for name in kernel.__dataclass_fields__}
    applied = AppliedLimits(**{**fields, "memory_max_bytes": 4_198_400})
    nothing = dict.fromkeys((
        "read_bytes_per_second", "write_bytes_per_second",
        "read_operations_per_second", "write_operations_per_second",
    ))  # fmt: skip
    assert limits.shown_limits(asked, DEVICES, applied) == {
        **OF_CGROUPS,
        **OTHERS,
        "memory_max_bytes": 4_198_400,
        "io": [
            {**nothing, "devices": ["8:0"], **IO[0]},
            {**nothing, "devices": ["8:16", "8:32"], **IO[1]},
        ],
    }


def test_what_a_memory_limit_brings_along_is_shown() -> None:
    applied = AppliedLimits(memory_max_bytes=8, memory_swap_max_bytes=0, oom_policy="kill")
    assert limits.shown_limits({"memory_max_bytes": 8}, {}, applied) == {
        "memory_max_bytes": 8,
        "memory_swap_max_bytes": 0,
        "oom_policy": "kill",
    }


def test_two_paths_on_one_device_each_show_what_was_asked_for_them() -> None:
    asked = [
        {"path": b"/a", "read_bytes_per_second": 5000},
        {"path": b"/b", "write_bytes_per_second": 8192, "read_bytes_per_second": 4096},
    ]
    applied = AppliedLimits(io=(IoLimit("8:0", 4096, 8192),))
    devices = {b"/a": ("8:0",), b"/b": ("8:0",)}
    shown = limits.shown_limits({"io": asked}, devices, applied)
    assert [tuple(entry.values()) for entry in shown["io"]] == [
        (b"/a", ["8:0"], 5000, None, None, None),
        (b"/b", ["8:0"], 4096, 8192, None, None),
    ]


def test_a_path_on_several_devices_shows_them_all() -> None:
    applied = AppliedLimits(io=(IoLimit("8:0", 4096), IoLimit("8:16", 4096)))
    asked = {"path": b"/a", "read_bytes_per_second": 4096}
    (shown,) = limits.shown_limits({"io": [asked]}, {b"/a": ("8:0", "8:16")}, applied)["io"]
    assert (shown["devices"], shown["read_bytes_per_second"]) == (["8:0", "8:16"], 4096)


LOGS = {
    "segment_bytes": 4096, "keep_bytes": 1_000_000, "keep_segments": 64,
    "compression": "none", "on_full": "wait",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fstype", "has_room_for_the_log"),
    [("ext4", False), ("xfs", False), ("btrfs", False), ("tmpfs", True), ("overlay", True),
     ("something-new", True), (None, True)],
)  # fmt: skip
def test_a_monitor_has_room_for_a_log_that_lies_in_memory(
    monkeypatch: pytest.MonkeyPatch, fstype: str | None, *, has_room_for_the_log: bool
) -> None:
    monkeypatch.setattr(limits, "_file_system", lambda _path: fstype)
    cap = limits.MonitorMemory.below("/state").cap({"logs": LOGS}, {})
    log = 1_000_000 + 2 * 4096
    assert cap - (log if has_room_for_the_log else 0) == 32 * 2**20


@pytest.mark.parametrize(
    ("asked", "log"),
    [({}, 1_000_000 + 2 * 4096),
     ({"output_max_bytes": 40_000_000, "output_policy": "drop-oldest"}, 40_000_000 + 2 * 4096),
     # All is promised, and each byte may have its record.
     ({"output_max_bytes": 400_000, "output_policy": "end"}, 25 * 400_000 + 2 * 4096),
     ({"output_max_bytes": 400_000, "output_policy": "block"}, 25 * 400_000 + 2 * 4096)],
)  # fmt: skip
def test_a_monitor_has_room_for_what_its_own_job_may_write(asked: dict[str, Any], log: int) -> None:
    assert limits.MonitorMemory(True).cap({"logs": LOGS}, asked) == 32 * 2**20 + log  # noqa: FBT003


def test_a_job_with_large_segments_gets_room_for_two_more() -> None:
    logs = {**LOGS, "segment_bytes": 900_000}
    cap = limits.MonitorMemory(True).cap({"logs": logs}, {})  # noqa: FBT003
    assert cap == 32 * 2**20 + 1_000_000 + 2 * 900_000


def test_the_file_system_of_a_directory_is_looked_up(tmp_path: Path) -> None:
    assert limits._file_system("/proc") == "proc"
    assert limits._file_system(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        limits.MonitorMemory.below(str(tmp_path / "gone"))
