"""What a host can hold a job to: a cgroup root, /proc and sysfs of plain files."""

from __future__ import annotations

from pathlib import Path

import pytest

from isolation.cgroups import limit_checks
from isolation.cgroups.limit_checks import host_swaps, io_weight_holders, needed, require_host
from isolation.cgroups.limit_kinds import IoLimit, JobLimits
from isolation.errors import LimitUnavailable

HEADING = "Filename Type Size Used Priority\n"
AREA = "/dev/zram0 partition 1024 0 -2\n"
FILES = (
    "cgroup.type", "memory.max", "memory.high", "memory.swap.max", "memory.oom.group", "cpu.max",
    "cpu.weight", "cpu.idle", "cpuset.cpus", "pids.max", "io.max", "io.weight", "io.bfq.weight",
)  # fmt: skip
ALL = JobLimits(
    memory_max_bytes=1, memory_high_bytes=1, memory_swap_max_bytes=0, cpu_max_millicpus=1,
    cpu_weight=5, cpu_set="0-1", pids_max=1, io=(IoLimit("8:0", 1),), io_weight=5,
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root that lacks nothing, on a host with CPUs 0 to 3 and a disk sda that has BFQ."""
    root = tmp_path / "top" / "root"
    root.mkdir(parents=True)
    for name in FILES:
        (root / name).touch()
    (root / "cpuset.cpus.effective").write_text("0-3\n")
    queue = tmp_path / "sys/block/sda/queue"
    queue.mkdir(parents=True)
    (queue / "scheduler").write_text("none mq-deadline [bfq]\n")
    monkeypatch.setattr(limit_checks, "_PROC", str(tmp_path))
    monkeypatch.setattr(limit_checks, "_SYSFS", str(tmp_path / "sys"))
    return str(root)


def refusal_of(root: str, limits: JobLimits) -> LimitUnavailable:
    with pytest.raises(LimitUnavailable) as caught:
        require_host(root, limits)
    assert caught.value.remedy
    return caught.value


def test_no_limits_need_no_controller() -> None:
    assert list(needed(JobLimits())) == []


def test_each_limit_names_its_controller() -> None:
    assert dict(needed(ALL)) == {
        "memory.max": "memory",
        "memory.high": "memory",
        "memory.swap.max": "memory",
        "memory.oom.group": "memory",
        "cpu.max": "cpu",
        "cpu.weight": "cpu",
        "cpuset.cpus": "cpuset",
        "pids.max": "pids",
        "io.max": "io",
        "io.weight": "io",
    }


def test_a_cap_on_the_monitor_needs_the_memory_controller_too() -> None:
    assert list(needed(JobLimits(monitor_memory_max_bytes=1))) == [("memory.max", "memory")]


def test_cpu_time_that_nobody_wants_needs_its_file_only_when_it_is_asked_for() -> None:
    assert list(needed(JobLimits(cpu_idle=False))) == []
    assert list(needed(JobLimits(cpu_idle=True))) == [("cpu.idle", "cpu")]


@pytest.mark.parametrize("limit", [IoLimit("8:0", None, 1), IoLimit("8:0", None, None, None, 1)])
def test_a_limit_on_writing_needs_the_memory_controller_to_know_whose_pages_they_are(
    limit: IoLimit,
) -> None:
    assert list(needed(JobLimits(io=(limit,)))) == [("io.max", "io"), ("io.max", "memory")]
    assert list(needed(JobLimits(io=(IoLimit("8:0", 1),)))) == [("io.max", "io")]


def test_a_host_that_lacks_nothing_refuses_nothing(root: str) -> None:
    require_host(root, ALL)
    require_host(root, JobLimits())


@pytest.mark.parametrize(
    ("file", "limits"),
    [
        ("memory.max", ALL),
        ("memory.high", ALL),
        ("memory.oom.group", ALL),
        ("cpu.max", ALL),
        ("cpu.weight", ALL),
        ("cpu.idle", JobLimits(cpu_idle=True)),
        ("cpuset.cpus", ALL),
        ("pids.max", ALL),
        ("io.max", ALL),
    ],
)
def test_a_file_that_this_kernel_lacks_is_named_before_anything_is_made(
    root: str, file: str, limits: JobLimits
) -> None:
    (Path(root) / file).unlink()
    refused = refusal_of(root, limits)
    assert (refused.limit, refused.controller) == (file, file.partition(".")[0])
    assert refused.why == f"this kernel has no {file}"


def test_cpus_that_the_host_lacks_are_refused_by_number(root: str) -> None:
    require_host(root, JobLimits(cpu_set="0-3"))
    refused = refusal_of(root, JobLimits(cpu_set="2-5,9"))
    assert refused.limit == "cpuset.cpus"
    assert "CPU 4-5,9 of 2-5,9 " in refused.why
    assert refused.remedy == "name CPUs of 0-3"


def test_without_any_known_cpu_every_set_is_refused(root: str) -> None:
    (Path(root) / "cpuset.cpus.effective").unlink()
    assert "CPU 0 of 0" in refusal_of(root, JobLimits(cpu_set="0")).why


# Weights of disks


def test_a_disk_with_bfq_heeds_weights(root: str, tmp_path: Path) -> None:
    assert io_weight_holders(root, str(tmp_path / "sys")) == ["BFQ on sda"]


def test_a_disk_with_io_cost_heeds_weights(root: str, tmp_path: Path) -> None:
    (tmp_path / "sys/block/sda/queue/scheduler").write_text("[none] bfq\n")
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    (tmp_path / "sys/dev/block/8:16").symlink_to("../../block/sdb")
    (tmp_path / "top/io.cost.qos").write_text("8:0 enable=0 ctrl=auto\n8:16 enable=1 ctrl=user\n")
    assert io_weight_holders(root, str(tmp_path / "sys")) == ["io.cost on sdb"]


def test_a_weight_that_no_disk_heeds_is_refused(root: str, tmp_path: Path) -> None:
    (tmp_path / "sys/block/sda/queue/scheduler").write_text("[mq-deadline] bfq none\n")
    refused = refusal_of(root, JobLimits(io_weight=5))
    assert (refused.limit, refused.controller) == ("io.weight", "io")
    assert "no disk has the scheduler BFQ" in refused.why
    assert "echo bfq" in refused.remedy


def test_a_weight_is_refused_where_the_kernel_has_none(root: str) -> None:
    for name in ("io.weight", "io.bfq.weight"):
        (Path(root) / name).unlink()
    assert "neither io.weight nor io.bfq.weight" in refusal_of(root, JobLimits(io_weight=5)).why


def test_a_host_without_sysfs_heeds_no_weights(root: str, tmp_path: Path) -> None:
    assert io_weight_holders(root, str(tmp_path / "none")) == []


# Swap


def test_a_host_swaps_when_its_table_has_more_than_the_heading(tmp_path: Path) -> None:
    assert not host_swaps(str(tmp_path))
    (tmp_path / "swaps").write_text(HEADING)
    assert not host_swaps(str(tmp_path))
    (tmp_path / "swaps").write_text(HEADING + AREA)
    assert host_swaps(str(tmp_path))


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("file", [True, False])
def test_a_memory_limit_is_refused_where_the_job_could_swap_instead(
    root: str, tmp_path: Path, *, swap: bool, file: bool
) -> None:
    (tmp_path / "swaps").write_text(HEADING + (AREA if swap else ""))
    if not file:
        (Path(root) / "memory.swap.max").unlink()
    require_host(root, JobLimits(monitor_memory_max_bytes=1 << 20))
    if file or not swap:
        require_host(root, JobLimits(memory_max_bytes=1 << 20))
        return
    refused = refusal_of(root, JobLimits(memory_max_bytes=1 << 20))
    assert (refused.limit, refused.controller) == ("memory.swap.max", "memory")
    assert "swapoff" in str(refused)


def test_a_swap_limit_that_was_asked_for_is_refused_on_a_host_without_swap_too(root: str) -> None:
    (Path(root) / "memory.swap.max").unlink()
    assert refusal_of(root, JobLimits(memory_swap_max_bytes=0)).limit == "memory.swap.max"
