"""The arithmetic of limits, and which controllers they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation import cgroup_limits
from isolation.cgroup_limits import (
    IoLimit,
    JobLimits,
    Slice,
    apply,
    by_device,
    cpu_max_for,
    host_swaps,
    needed,
)
from isolation.cgroup_nodes import Cgroup
from isolation.errors import LimitUnavailable

if TYPE_CHECKING:
    from pathlib import Path

HEADING = "Filename Type Size Used Priority\n"
AREA = "/dev/zram0 partition 1024 0 -2\n"
MIB = 1024 * 1024


@given(st.integers(1, 1_024_000))
def test_any_share_is_a_quota_that_the_kernel_takes(millicpus: int) -> None:
    quota, period = cpu_max_for(millicpus)
    assert quota is not None
    assert quota >= 1000
    assert 1000 <= period <= 1_000_000
    assert abs(quota * 1000 / period - millicpus) <= millicpus / 100


def test_usual_shares_have_the_usual_period() -> None:
    assert cpu_max_for(1000) == (100_000, 100_000)
    assert cpu_max_for(10) == (1000, 100_000)


def test_a_tiny_share_has_a_longer_period() -> None:
    assert cpu_max_for(1) == (1000, 1_000_000)


def test_no_share_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 millicpu"):
        cpu_max_for(0)


def test_no_limits_need_no_controller() -> None:
    assert list(needed(JobLimits())) == []


def test_each_limit_names_its_controller() -> None:
    limits = JobLimits(
        memory_max_bytes=1,
        memory_swap_max_bytes=0,
        cpu_max_millicpus=1,
        pids_max=1,
        io=(IoLimit("8:0", 1),),
    )
    assert dict(needed(limits)) == {
        "memory.max": "memory",
        "memory.swap.max": "memory",
        "cpu.max": "cpu",
        "pids.max": "pids",
        "io.max": "io",
    }


def test_a_cap_on_the_monitor_needs_the_memory_controller_too() -> None:
    assert list(needed(JobLimits(monitor_memory_max_bytes=1))) == [("memory.max", "memory")]


def test_two_limits_on_one_disk_become_the_strictest_of_both() -> None:
    limits = [IoLimit("8:0", 100, None), IoLimit("8:16", 5, 5), IoLimit("8:0", 200, 300)]
    assert by_device(limits) == [IoLimit("8:0", 100, 300), IoLimit("8:16", 5, 5)]


def test_a_host_swaps_when_its_table_has_more_than_the_heading(tmp_path: Path) -> None:
    assert not host_swaps(str(tmp_path))
    (tmp_path / "swaps").write_text(HEADING)
    assert not host_swaps(str(tmp_path))
    (tmp_path / "swaps").write_text(HEADING + AREA)
    assert host_swaps(str(tmp_path))


@pytest.fixture
def slice_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slice:
    """Plain files for the kernel's, without memory.swap.max."""
    for name in ("memory.max", "memory.oom.group"):
        (tmp_path / name).touch()
    monkeypatch.setattr(cgroup_limits, "_PROC", str(tmp_path))
    group = Cgroup(str(tmp_path))
    return Slice(group, group, group)


def test_a_memory_limit_is_whole_without_a_swap_limit_where_there_is_no_swap(
    slice_: Slice,
) -> None:
    applied = apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    assert (applied.memory_max_bytes, applied.memory_swap_max_bytes) == (8 * MIB, None)


def test_swap_that_came_after_the_submission_is_not_left_unlimited(
    slice_: Slice, tmp_path: Path
) -> None:
    (tmp_path / "swaps").write_text(HEADING + AREA)
    with pytest.raises(LimitUnavailable, match="swap cannot be limited"):
        apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    apply(slice_, JobLimits())


def test_a_memory_limit_turns_swap_off_where_the_kernel_can(slice_: Slice, tmp_path: Path) -> None:
    (tmp_path / "memory.swap.max").touch()
    applied = apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    assert applied.memory_swap_max_bytes == 0
    assert (tmp_path / "memory.swap.max").read_text() == "0"
