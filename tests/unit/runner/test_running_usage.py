"""What jobs use together, read from their cgroups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isolation.cgroups.tree import CgroupTree
from runner.running_usage import RunningUsage, used_by

if TYPE_CHECKING:
    from pathlib import Path

IDS = tuple(f"{number:08x}-0000-4000-8000-000000000000" for number in range(4))


def a_cgroup(root: Path, job_id: str, cpu: str | None, memory: str | None) -> None:
    payload = root / f"job-{job_id}" / "payload"
    payload.mkdir(parents=True)
    if cpu is not None:
        (payload.parent / "cpu.stat").write_text(cpu)
    if memory is not None:
        (payload / "memory.current").write_text(memory)


def test_the_usage_of_several_jobs_is_added_up(tmp_path: Path) -> None:
    a_cgroup(tmp_path, IDS[0], "usage_usec 70\nuser_usec 60\n", "4096\n")
    a_cgroup(tmp_path, IDS[1], "usage_usec 5\n", "8192\n")
    assert used_by(CgroupTree(str(tmp_path)), IDS[:2]) == RunningUsage(75, 12288)


def test_a_job_that_has_gone_and_a_host_that_does_not_count_are_nothing(tmp_path: Path) -> None:
    a_cgroup(tmp_path, IDS[0], None, None)
    (tmp_path / f"job-{IDS[1]}").mkdir()
    a_cgroup(tmp_path, IDS[2], "usage_usec 5\n", "1\n")
    assert used_by(CgroupTree(str(tmp_path)), IDS) == RunningUsage(5, 1)


def test_of_no_jobs_nothing_is_used(tmp_path: Path) -> None:
    assert used_by(CgroupTree(str(tmp_path)), []) == RunningUsage()
