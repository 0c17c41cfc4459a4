"""The arithmetic of limits: shares, weights, pages, sets of CPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.cgroups.limit_kinds import (
    IoLimit,
    JobLimits,
    bfq_weight,
    by_device,
    cpu_max_for,
    cpu_ranges,
    cpus_beyond,
    cpus_of,
    oom_policy,
    swap_max,
)

RANGES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda r: (r[0], r[0] + r[1])),
    min_size=1, max_size=8,
)  # fmt: skip


def as_text(ranges: list[tuple[int, int]]) -> str:
    return ",".join(f"{low}-{high}" if low != high else f"{low}" for low, high in ranges)


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


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_weight_for_bfq_is_in_its_range_and_in_the_same_order(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= bfq_weight(low) <= bfq_weight(high) <= 1000


@pytest.mark.parametrize(("weight", "bfq"), [(1, 1), (100, 100), (10_000, 1000), (200, 109)])
def test_a_weight_for_bfq_is_the_same_up_to_the_default_and_squeezed_above(
    weight: int, bfq: int
) -> None:
    assert bfq_weight(weight) == bfq


def test_limits_on_one_device_become_the_strictest_of_each_rate() -> None:
    limits = [
        IoLimit("8:0", 100, None, 7, None),
        IoLimit("8:16", 5, 5),
        IoLimit("8:0", 200, 300, 6, 9),
    ]
    assert by_device(limits) == [IoLimit("8:0", 100, 300, 6, 9), IoLimit("8:16", 5, 5)]


def test_a_memory_limit_brings_a_policy_and_no_swap_unless_they_are_asked_for() -> None:
    assert (oom_policy(JobLimits()), swap_max(JobLimits())) == (None, None)
    limited = JobLimits(memory_max_bytes=1)
    assert (oom_policy(limited), swap_max(limited)) == ("kill", 0)
    asked = JobLimits(memory_max_bytes=1, memory_swap_max_bytes=5, oom_policy="continue")
    assert (oom_policy(asked), swap_max(asked)) == ("continue", 5)
    # memory.high kills nobody, and it is there to make a job swap.
    assert swap_max(JobLimits(memory_high_bytes=1)) is None


def test_sets_of_cpus_are_read_as_the_kernel_writes_them() -> None:
    assert cpus_of("") == frozenset()
    assert cpus_of("0-2,8") == {0, 1, 2, 8}
    assert list(cpu_ranges("0-2,8")) == [(0, 2), (8, 8)]


@pytest.mark.parametrize("text", ["3-1", "x", "1-", "-1", "0--1"])
def test_what_is_no_set_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|not a range"):
        cpus_of(text)


@given(RANGES, st.frozensets(st.integers(0, 200), max_size=30))
def test_the_cpus_that_a_host_lacks_are_named(
    ranges: list[tuple[int, int]], host: frozenset[int]
) -> None:
    asked = as_text(ranges)
    assert cpus_of(cpus_beyond(asked, host)) == cpus_of(asked) - host


def test_a_set_that_spans_very_many_cpus_costs_as_little_as_the_host_has() -> None:
    asked = ",".join(["0-99999"] * 90)
    assert cpus_beyond(asked, frozenset(range(4))) == "4-99999"
