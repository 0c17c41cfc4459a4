"""What a job used, from interface files that may be missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runner import stored
from runner.usage import OutOfMemory, out_of_memory, read_usage

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
    (cgroups.job_path / "cpu.stat").write_text("usage_usec 30\nuser_usec 20\nsystem_usec 10\n")
    (cgroups.job_path / "io.stat").write_text("8:0 rbytes=1 wbytes=2\n8:16 rbytes=10 wbytes=20\n")
    (cgroups.payload_path / "memory.peak").write_text("4096\n")
    (cgroups.payload_path / "memory.events").write_text("max 5\noom_kill 0\n")
    (cgroups.payload_path / "pids.peak").write_text("7\n")
    (cgroups.payload_path / "pids.events").write_text("max 9\n")
    assert cgroups.usage() == {
        "cpu_usec": 30, "cpu_user_usec": 20, "cpu_system_usec": 10,
        "io_read_bytes": 11, "io_write_bytes": 22,
        "memory_peak_bytes": 4096, "oom_kills": 0, "pids_peak": 7, "pids_max_hits": 9,
    }  # fmt: skip


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
