"""The arithmetic of limits, and which controllers they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.cgroup_limits import IoLimit, JobLimits, by_device, cpu_max_for, needed


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
