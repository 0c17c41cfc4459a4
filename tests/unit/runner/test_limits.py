"""Limits between the protocol's names and the kernel's, and the cap of a monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroup_limits import AppliedLimits, IoLimit, JobLimits
from runner import limits

if TYPE_CHECKING:
    from pathlib import Path

IO: list[dict[str, Any]] = [
    {"path": b"/a", "read_bytes_per_second": 4096},
    {"path": b"/b", "write_bytes_per_second": 8192},
]
DEVICES = {b"/a": "8:0", b"/b": "8:16"}


def test_no_limits_are_none_at_all() -> None:
    assert limits.kernel_limits({}, {}, None) == JobLimits()
    assert limits.shown_limits({}, {}, AppliedLimits()) == {}


def test_each_limit_goes_to_its_field_and_paths_become_devices() -> None:
    asked = {
        "memory_max_bytes": 1,
        "cpu_max_millicpus": 2,
        "pids_max": 3,
        "timeout_seconds": 4.5,
        "io": IO,
    }
    assert limits.kernel_limits(asked, DEVICES, 5) == JobLimits(
        memory_max_bytes=1,
        cpu_max_millicpus=2,
        pids_max=3,
        io=(IoLimit("8:0", 4096, None), IoLimit("8:16", None, 8192)),
        monitor_memory_max_bytes=5,
    )


def test_what_is_shown_is_what_the_kernel_read_back_and_the_timeout_that_was_asked() -> None:
    asked = {"memory_max_bytes": 4_200_000, "timeout_seconds": 4.5, "io": IO}
    applied = AppliedLimits(
        memory_max_bytes=4_198_400,
        memory_swap_max_bytes=0,
        cpu_max_millicpus=None,
        pids_max=None,
        io=(IoLimit("8:0", 4096, None), IoLimit("8:16", None, 8192)),
        monitor_memory_max_bytes=77,
    )
    assert limits.shown_limits(asked, DEVICES, applied) == {
        "memory_max_bytes": 4_198_400,
        "timeout_seconds": 4.5,
        "io": [
            {
                "path": b"/a",
                "device": "8:0",
                "read_bytes_per_second": 4096,
                "write_bytes_per_second": None,
            },
            {
                "path": b"/b",
                "device": "8:16",
                "read_bytes_per_second": None,
                "write_bytes_per_second": 8192,
            },
        ],
    }


def test_two_paths_on_one_device_both_show_what_holds_for_it() -> None:
    applied = AppliedLimits(io=(IoLimit("8:0", 4096, 8192),))
    shown = limits.shown_limits({"io": IO}, dict.fromkeys(DEVICES, "8:0"), applied)
    assert [tuple(entry.values()) for entry in shown["io"]] == [
        (b"/a", "8:0", 4096, 8192),
        (b"/b", "8:0", 4096, 8192),
    ]


@pytest.mark.parametrize(
    ("fstype", "has_room_for_the_log"),
    [("ext4", False), ("xfs", False), ("btrfs", False), ("tmpfs", True), ("overlay", True),
     ("something-new", True), (None, True)],
)  # fmt: skip
def test_a_monitor_has_room_for_a_log_that_lies_in_memory(
    monkeypatch: pytest.MonkeyPatch, fstype: str | None, *, has_room_for_the_log: bool
) -> None:
    monkeypatch.setattr(limits, "_file_system", lambda _path: fstype)
    log = 10 * 2**30
    cap = limits.monitor_memory_bytes("/state", log)
    assert cap - (log if has_room_for_the_log else 0) == 32 * 2**20


def test_the_file_system_of_a_directory_is_looked_up(tmp_path: Path) -> None:
    assert limits._file_system("/proc") == "proc"
    assert limits._file_system(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        limits.monitor_memory_bytes(str(tmp_path / "gone"), 1)
