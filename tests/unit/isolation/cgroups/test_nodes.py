"""Formats of the v2 files, and what the nodes refuse. Plain files stand for the kernel's."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.cgroups.kinds import (
    CountersFile,
    CpuMax,
    CpuMaxFile,
    DefaultWeightFile,
    MaxFile,
    NestedFile,
    PidsFile,
    WordSetFile,
)
from isolation.cgroups.nodes import Cgroup, optional
from isolation.errors import CgroupError

if TYPE_CHECKING:
    from pathlib import Path

limits = st.none() | st.integers(min_value=0, max_value=2**63)
devices = st.builds("{}:{}".format, st.integers(0, 4095), st.integers(0, 2**20))


@given(limits)
def test_a_limit_reads_as_it_was_written_and_none_is_max(value: int | None) -> None:
    file = MaxFile("memory.max")
    (text,) = file.texts(value)
    assert file.sanitize_get(text) == value
    assert (text == "max") == (value is None)


@pytest.mark.parametrize("value", [-1, True, "12", 1.5])
def test_a_limit_that_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"memory\.max takes a number"):
        MaxFile("memory.max").sanitize_set(value)


@given(limits, st.integers(1000, 1_000_000))
def test_cpu_max_is_a_pair(quota: int | None, period: int) -> None:
    file = CpuMaxFile("cpu.max")
    assert file.sanitize_get(file.sanitize_set(CpuMax(quota, period))) == (quota, period)


@given(st.integers(1, 10_000), st.dictionaries(devices, st.integers(1, 10_000)))
def test_a_weight_is_the_default_and_no_single_devices(weight: int, others: dict[str, int]) -> None:
    file = DefaultWeightFile("io.weight")
    (text,) = file.texts(weight)
    assert text == f"default {weight}"
    lines = [text, *(f"{device} {other}" for device, other in others.items())]
    assert file.sanitize_get("\n".join(lines)) == weight


@given(st.dictionaries(devices, st.fixed_dictionaries({"rbps": limits, "wbps": limits})))
def test_io_max_is_written_one_device_at_a_time(value: dict[str, dict[str, int | None]]) -> None:
    file = NestedFile("io.max")
    texts = list(file.texts(value))
    assert len(texts) == len(value)
    assert file.sanitize_get("\n".join(texts)) == value


def test_an_empty_counters_file_has_no_counters() -> None:
    file = CountersFile("memory.events")
    assert file.sanitize_get("") == {}
    assert file.sanitize_get("low 0\noom_kill 2") == {"low": 0, "oom_kill": 2}


def test_controllers_are_enabled_together_and_none_disabled() -> None:
    file = WordSetFile("cgroup.subtree_control")
    assert list(file.texts(frozenset({"pids", "cpu"}))) == ["+cpu +pids"]
    assert list(file.texts(frozenset())) == []
    assert file.sanitize_get("") == frozenset()


def test_pids_are_written_one_a_write() -> None:
    file = PidsFile("cgroup.procs")
    assert list(file.texts([7, 8])) == ["7", "8"]
    assert file.sanitize_get("") == []


@pytest.fixture
def group(tmp_path: Path) -> Cgroup:
    for name in ("memory.max", "cgroup.procs", "cgroup.events"):
        (tmp_path / name).write_text("max\n" if name == "memory.max" else "")
    return Cgroup(str(tmp_path))


def test_a_file_is_read_and_written_through_its_attribute(group: Cgroup) -> None:
    assert group.memory.max is None
    group.memory.max = 4096
    assert group.memory.max == 4096


def test_a_misspelt_limit_is_an_error_and_not_an_attribute(group: Cgroup) -> None:
    with pytest.raises(AttributeError, match="MemoryController has no file 'maximum'"):
        group.memory.maximum = 5


def test_files_of_v1_are_not_there(group: Cgroup) -> None:
    assert group.core.tasks is None
    with pytest.raises(AttributeError, match="tasks"):
        group.core.tasks = [1]  # type: ignore[assignment]


def test_a_read_only_file_is_not_written(group: Cgroup) -> None:
    with pytest.raises(AttributeError, match=r"cgroup\.events is read-only"):
        group.core.events = {}


def test_a_missing_file_is_never_created(group: Cgroup) -> None:
    with pytest.raises(CgroupError) as caught:
        group.memory.high = 5
    assert caught.value.errno == errno.ENOENT
    assert not os.path.exists(group.memory.path("memory.high"))


def test_a_missing_file_reads_as_none_where_that_is_expected(group: Cgroup) -> None:
    assert optional(lambda: group.memory.peak) is None
    with pytest.raises(CgroupError):
        _ = group.memory.peak


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/b", "memory.max", ".hidden", "a b", "a\n", "x" * 129]
)
def test_a_name_that_could_lead_elsewhere_is_refused(group: Cgroup, name: str) -> None:
    with pytest.raises(ValueError, match="not a name for a cgroup"):
        group.create_cgroup(name)


def test_a_child_is_made_once(group: Cgroup) -> None:
    child = group.create_cgroup("daemon")
    assert child.exists()
    assert group.child_names() == ["daemon"]
    with pytest.raises(CgroupError, match="EEXIST"):
        group.create_cgroup("daemon")


def test_a_child_knows_its_path_and_its_controllers(group: Cgroup) -> None:
    child = group.child("a").child("b")
    assert child.directory == group.directory + "/a/b"
    assert child.memory.path("memory.max") == child.directory + "/memory.max"
    assert child == Cgroup(child.directory)
