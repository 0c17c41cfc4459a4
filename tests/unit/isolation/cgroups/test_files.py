"""Interface files as ordinary files: what is read of them, and what absence means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.cgroups import files as cgroup_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[int]:
    before = set(os.listdir("/proc/self/fd"))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_file_that_this_kernel_lacks_reads_as_nothing(cgroup: int) -> None:
    assert cgroup_files.read(cgroup, "memory.peak") is None
    assert cgroup_files.read_int(cgroup, "memory.peak") is None
    assert cgroup_files.read_keyed(cgroup, "memory.events") == {}
    assert cgroup_files.sum_nested(cgroup, "io.stat", "rbytes") is None


def test_a_file_that_cannot_be_read_reads_as_nothing(cgroup: int, tmp_path: Path) -> None:
    """read(2) of a directory fails, as that of a pressure file does with psi=0."""
    (tmp_path / "cpu.pressure").mkdir()
    assert cgroup_files.read(cgroup, "cpu.pressure") is None


def test_text_is_stripped_and_an_empty_file_is_empty(cgroup: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("domain threaded\n")
    (tmp_path / "b").write_text("")
    assert cgroup_files.read(cgroup, "a") == "domain threaded"
    assert cgroup_files.read(cgroup, "b") == ""
    assert cgroup_files.read_int(cgroup, "b") is None
    assert cgroup_files.sum_nested(cgroup, "b", "rbytes") == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("0\n", 0), (f"{2**63}\n", 2**63), ("max\n", None), ("-1\n", None), ("1 2\n", None)],
)
def test_a_number_is_one_and_max_is_none(
    cgroup: int, tmp_path: Path, text: str, number: int | None
) -> None:
    (tmp_path / "pids.max").write_text(text)
    assert cgroup_files.read_int(cgroup, "pids.max") == number


def test_flat_keyed_files_are_maps_of_numbers(cgroup: int, tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom_kill 3\nodd max\n\nlonely\n")
    assert cgroup_files.read_keyed(cgroup, "memory.events") == {"low": 0, "oom_kill": 3}


def test_nested_files_are_summed_over_all_devices(cgroup: int, tmp_path: Path) -> None:
    text = "8:0 rbytes=5 wbytes=7 rios=1\n8:16 rbytes=100 wbytes=x\n253:0\n8:32 dbytes=9\n"
    (tmp_path / "io.stat").write_text(text)
    assert cgroup_files.sum_nested(cgroup, "io.stat", "rbytes") == 105
    assert cgroup_files.sum_nested(cgroup, "io.stat", "wbytes") == 7
    assert cgroup_files.sum_nested(cgroup, "io.stat", "none") == 0


@given(data=st.binary(max_size=300))
def test_whatever_a_file_holds_reading_it_raises_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-cgroup"
    path.mkdir(exist_ok=True)
    (path / "file").write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        cgroup_files.read_int(fd, "file")
        assert all(value >= 0 for value in cgroup_files.read_keyed(fd, "file").values())
        cgroup_files.sum_nested(fd, "file", "rbytes")
    finally:
        os.close(fd)


def test_a_value_is_written(cgroup: int, tmp_path: Path) -> None:
    (tmp_path / "cgroup.kill").write_text("")
    cgroup_files.write(cgroup, "cgroup.kill", "1")
    assert (tmp_path / "cgroup.kill").read_text() == "1"


def test_writing_what_this_kernel_lacks_is_an_error_and_makes_no_file(
    cgroup: int, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        cgroup_files.write(cgroup, "cgroup.kill", "1")
    assert os.listdir(tmp_path) == []
