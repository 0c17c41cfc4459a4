"""What the tree refuses before it touches anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isolation import cgroup_limits
from isolation.cgroups import CgroupTree, IoLimit, JobLimits
from isolation.errors import CgroupError, LimitUnavailable

if TYPE_CHECKING:
    from pathlib import Path

JOB = "3f2a0000-0000-4000-8000-000000000001"


def describe_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on: bool) -> None:
    """A host of plain files with or without swap."""
    line = "/dev/zram0 partition 1024 0 -2\n" if on else ""
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n" + line)
    monkeypatch.setattr(cgroup_limits, "_PROC", str(tmp_path))


@pytest.fixture
def tree(tmp_path: Path) -> CgroupTree:
    return CgroupTree(str(tmp_path))


@pytest.mark.parametrize(
    "job_id",
    ["", "..", "../../etc", "3f2a", JOB.upper(), JOB + "\n", JOB + "/..", JOB.replace("-", "")],
)
def test_what_is_no_uuid_names_no_cgroup(tree: CgroupTree, job_id: str) -> None:
    with pytest.raises(ValueError, match="not a job's id"):
        tree.create_job(job_id)
    with pytest.raises(ValueError, match="not a job's id"):
        tree.job(job_id)


def test_a_job_without_cgroups_is_none(tree: CgroupTree) -> None:
    assert tree.job(JOB) is None


def test_only_directories_named_as_jobs_are_jobs(tree: CgroupTree, tmp_path: Path) -> None:
    for name in ("job-" + JOB, "job-x", "daemon", JOB):
        (tmp_path / name).mkdir()
    assert tree.jobs() == [JOB]


def test_listing_a_root_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="ENOENT"):
        CgroupTree(str(tmp_path / "gone")).jobs()


@pytest.mark.parametrize(
    ("limits", "limit", "controller"),
    [
        (JobLimits(memory_max_bytes=1 << 20), "memory.max", "memory"),
        (JobLimits(cpu_max_millicpus=1000), "cpu.max", "cpu"),
        (JobLimits(pids_max=5), "pids.max", "pids"),
        (JobLimits(io=(IoLimit("8:0", 4096),)), "io.max", "io"),
    ],
)
def test_a_limit_without_its_controller_is_refused_by_name(
    tree: CgroupTree, limits: JobLimits, limit: str, controller: str
) -> None:
    with pytest.raises(LimitUnavailable) as caught:
        tree.require(limits)
    assert (caught.value.limit, caught.value.controller) == (limit, controller)
    assert caught.value.remedy


def test_no_limits_are_never_refused(tree: CgroupTree) -> None:
    tree.require(JobLimits())


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("file", [True, False])
def test_a_memory_limit_is_refused_where_the_job_could_swap_instead(
    tree: CgroupTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, swap: bool, file: bool
) -> None:
    describe_swap(tmp_path, monkeypatch, on=swap)
    (tmp_path / "cgroup.type").touch()
    if file:
        (tmp_path / "memory.swap.max").touch()
    tree.available = frozenset({"memory"})
    tree.require(JobLimits(monitor_memory_max_bytes=1 << 20))
    if file or not swap:
        tree.require(JobLimits(memory_max_bytes=1 << 20))
        return
    with pytest.raises(LimitUnavailable, match="swapoff") as caught:
        tree.require(JobLimits(memory_max_bytes=1 << 20))
    assert (caught.value.limit, caught.value.controller) == ("memory.swap.max", "memory")


def test_a_swap_limit_that_was_asked_for_is_refused_on_a_host_without_swap_too(
    tree: CgroupTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe_swap(tmp_path, monkeypatch, on=False)
    (tmp_path / "cgroup.type").touch()
    tree.available = frozenset({"memory"})
    with pytest.raises(LimitUnavailable, match=r"memory\.swap\.max"):
        tree.require(JobLimits(memory_swap_max_bytes=0))


def test_a_job_whose_cgroups_are_gone_reads_as_empty(tree: CgroupTree, tmp_path: Path) -> None:
    (tmp_path / ("job-" + JOB)).mkdir()
    job = tree.job(JOB)
    assert job is not None
    (tmp_path / ("job-" + JOB)).rmdir()
    assert job.monitor_pids() == []
    assert not job.populated()
    assert set(job.usage()) == {None}
    job.kill()
    job.remove()


def test_descriptors_of_a_missing_cgroup_are_an_error(tree: CgroupTree, tmp_path: Path) -> None:
    (tmp_path / ("job-" + JOB)).mkdir()
    job = tree.job(JOB)
    assert job is not None
    with pytest.raises(CgroupError, match=r"monitor.*ENOENT"):
        job.open_fds()
