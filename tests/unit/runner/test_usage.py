"""What a job used, from interface files that may be missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runner import stored
from runner.usage import OutOfMemory, cpu_seconds, out_of_memory, read_usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Cgroups:
    """A job's and its payload's directories, with files as the kernel would show them."""

    def __init__(self, path: Path) -> None:
        self.job_path, self.payload_path = path, path / "payload"
        self.payload_path.mkdir()
        self.job = os.open(self.job_path, os.O_RDONLY)
        self.payload = os.open(self.payload_path, os.O_RDONLY)

    def usage(self) -> dict[str, int | None]:
        return read_usage(self.job, self.payload)


@pytest.fixture
def cgroups(tmp_path: Path) -> Iterator[Cgroups]:
    made = Cgroups(tmp_path)
    yield made
    os.close(made.job)
    os.close(made.payload)


def test_a_host_without_controllers_gives_no_figure_and_no_error(cgroups: Cgroups) -> None:
    assert set(cgroups.usage().values()) == {None}
    assert set(cgroups.usage()) <= set(stored.RESULT_FIELDS)
    assert out_of_memory(cgroups.payload) == OutOfMemory(0, hit_own_limit=False)


def test_cpu_and_io_are_the_whole_jobs_memory_and_processes_the_payloads(cgroups: Cgroups) -> None:
    cpu = "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_throttled 2\nthrottled_usec 5\n"
    (cgroups.job_path / "cpu.stat").write_text(cpu)
    (cgroups.job_path / "io.stat").write_text("8:0 rbytes=1 wbytes=2\n8:16 rbytes=10 wbytes=20\n")
    (cgroups.payload_path / "memory.peak").write_text("4096\n")
    (cgroups.payload_path / "memory.events").write_text("high 3\nmax 5\noom_kill 0\n")
    (cgroups.payload_path / "pids.peak").write_text("7\n")
    (cgroups.payload_path / "pids.events").write_text("max 9\n")
    assert cgroups.usage() == {
        "cpu_usec": 30, "cpu_user_usec": 20, "cpu_system_usec": 10,
        "io_read_bytes": 11, "io_write_bytes": 22,
        "memory_peak_bytes": 4096, "oom_kills": 0, "pids_peak": 7, "pids_max_hits": 9,
        "throttled_usec": 5, "memory_high_hits": 3,
        "cpu_pressure_usec": None, "memory_pressure_usec": None, "io_pressure_usec": None,
    }  # fmt: skip


def test_pressure_is_the_time_in_which_some_process_waited(cgroups: Cgroups) -> None:
    lines = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 total=9\n"
    (cgroups.job_path / "cpu.pressure").write_text(lines.format(11))
    (cgroups.job_path / "io.pressure").write_text(lines.format(12))
    (cgroups.job_path / "memory.pressure").write_text(lines.format(99))
    (cgroups.payload_path / "memory.pressure").write_text(lines.format(13))
    used = cgroups.usage()
    found = [used[f"{name}_pressure_usec"] for name in ("cpu", "io", "memory")]
    assert found == [11, 12, 13]
    (cgroups.job_path / "cpu.pressure").write_text("some total=max\nfull total=3\n")
    (cgroups.job_path / "io.pressure").write_text("")
    assert [cgroups.usage()[f"{name}_pressure_usec"] for name in ("cpu", "io")] == [None, None]


def test_cpu_time_is_the_payloads_and_none_where_there_is_no_file(cgroups: Cgroups) -> None:
    assert cpu_seconds(cgroups.payload) == 0
    (cgroups.payload_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (cgroups.job_path / "cpu.stat").write_text("usage_usec 9000000\n")
    assert cpu_seconds(cgroups.payload) == 2.5


@pytest.mark.parametrize(
    ("events", "killed"),
    [
        ("oom_kill 0\n", 0),
        ("oom_kill 1\n", 1),
        ("oom_kill 2\noom_group_kill 1\n", 1),
        ("oom_kill 6\noom_group_kill 1\n", 5),
        ("oom_kill 1\noom_group_kill 1\n", 1),
    ],
)
def test_a_group_kill_counts_its_first_victim_once(
    cgroups: Cgroups, events: str, killed: int
) -> None:
    (cgroups.payload_path / "memory.events").write_text(events)
    assert cgroups.usage()["oom_kills"] == killed


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ("max 3\noom 0\noom_kill 1\n", OutOfMemory(1, hit_own_limit=False)),
        ("max 3\noom 2\noom_kill 1\n", OutOfMemory(1, hit_own_limit=True)),
        ("oom 1\n", OutOfMemory(0, hit_own_limit=True)),
    ],
)
def test_a_kill_by_the_host_is_told_from_one_by_the_jobs_own_limit(
    cgroups: Cgroups, events: str, found: OutOfMemory
) -> None:
    (cgroups.payload_path / "memory.events").write_text(events)
    assert out_of_memory(cgroups.payload) == found
