"""What the tree refuses before it touches anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from isolation.cgroups.tree import AppliedLimits, CgroupTree, IoLimit, JobCgroup, JobLimits
from isolation.errors import CgroupError, LimitUnavailable

if TYPE_CHECKING:
    from pathlib import Path

JOB = "3f2a0000-0000-4000-8000-000000000001"


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
        (JobLimits(cpu_set="0"), "cpuset.cpus", "cpuset"),
        (JobLimits(io_weight=5), "io.weight", "io"),
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


def test_the_host_is_looked_at_only_when_the_controllers_are_there(
    tree: CgroupTree, tmp_path: Path
) -> None:
    (tmp_path / "cgroup.type").touch()
    tree.available = frozenset({"cpu"})
    with pytest.raises(LimitUnavailable, match=r"this kernel has no cpu\.weight") as caught:
        tree.require(JobLimits(cpu_weight=5))
    assert caught.value.remedy


def test_a_change_that_this_host_cannot_make_writes_nothing(
    tree: CgroupTree, tmp_path: Path
) -> None:
    payload = tmp_path / ("job-" + JOB) / "payload"
    payload.mkdir(parents=True)
    (payload / "pids.max").write_text("max")
    tree.available = frozenset({"pids"})
    job = tree.job(JOB)
    assert job is not None
    with pytest.raises(LimitUnavailable, match="cpu controller"):
        job.update(JobLimits(), JobLimits(pids_max=5, cpu_weight=5))
    assert (payload / "pids.max").read_text() == "max"


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


def test_cgroups_without_anybody_are_removed_by_name_and_others_stay(
    tree: CgroupTree, tmp_path: Path
) -> None:
    made = tree.create_job(JOB)
    names = {"", "/monitor", "/payload"}
    assert {path.removeprefix(made.directory) for path, _, _ in os.walk(made.directory)} == names
    made.open_fds().close()
    # As a process, or a cgroup of the job's own, would keep one from going.
    (tmp_path / f"job-{JOB}" / "payload" / "own").mkdir()
    assert not tree.remove_empty(JOB)
    assert tree.job(JOB) is not None
    (tmp_path / f"job-{JOB}" / "payload" / "own").rmdir()
    assert tree.remove_empty(JOB)
    assert tree.job(JOB) is None
    assert tree.remove_empty(JOB)


def test_what_is_no_uuid_is_never_removed(tree: CgroupTree, tmp_path: Path) -> None:
    (tmp_path / "job-x").mkdir()
    with pytest.raises(ValueError, match="not a job's id"):
        tree.remove_empty("x")
    assert (tmp_path / "job-x").exists()


def test_cgroups_that_are_there_already_are_left_alone(tree: CgroupTree) -> None:
    tree.create_job(JOB)
    with pytest.raises(CgroupError, match="EEXIST"):
        tree.create_job(JOB)
    assert tree.jobs() == [JOB]


def test_without_limits_nothing_is_written(tree: CgroupTree) -> None:
    assert tree.create_job(JOB).apply(JobLimits()) == AppliedLimits()


def files_of(tree: CgroupTree, pids: str, memory: str) -> JobCgroup:
    """A job's cgroups of ordinary files, which keep of their text what is not written over."""
    made = tree.create_job(JOB)
    payload, monitor = made.children
    for path, text in ((f"{payload}/pids.max", pids), (f"{monitor}/memory.max", memory)):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    return made


def test_the_usual_limits_are_written_and_read_back(tree: CgroupTree) -> None:
    made = files_of(tree, "max\n", "max.\n")
    applied = made.apply(JobLimits(pids_max=123, monitor_memory_max_bytes=4096))
    assert applied == AppliedLimits(pids_max=123, monitor_memory_max_bytes=4096)


@pytest.mark.parametrize(
    ("pids", "memory", "limit"),
    [("max more\n", "max.\n", "memory.max"), ("max\n", "max.more\n", "memory.max")],
)
def test_what_the_kernel_shows_otherwise_is_looked_at_as_any_other(
    tree: CgroupTree, pids: str, memory: str, limit: str
) -> None:
    made = files_of(tree, pids, memory)
    with pytest.raises(LimitUnavailable) as caught:
        made.apply(JobLimits(pids_max=123, monitor_memory_max_bytes=4096))
    assert caught.value.limit == limit
