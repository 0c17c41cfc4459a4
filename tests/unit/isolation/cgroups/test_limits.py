"""Limits written into plain files for the kernel's: order, undoing, reading back, use."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from isolation.cgroups import limit_checks
from isolation.cgroups.limit_kinds import AppliedLimits, IoLimit, JobLimits
from isolation.cgroups.limits import Slice, apply, update
from isolation.cgroups.nodes import Cgroup, Controller
from isolation.errors import CgroupError, LimitBelowUse, LimitUnavailable, ReadBackError

if TYPE_CHECKING:
    from collections.abc import Callable

HEADING = "Filename Type Size Used Priority\n"
AREA = "/dev/zram0 partition 1024 0 -2\n"
MIB = 1024 * 1024
NEW = {
    "memory.max": "max", "memory.high": "max", "memory.swap.max": "max", "memory.oom.group": "0",
    "memory.current": "0", "memory.swap.current": "0", "memory.stat": "", "pids.max": "max",
    "pids.current": "0", "cpu.max": "max 100000", "cpu.weight": "100", "cpu.idle": "0",
    "cpuset.cpus": "", "cpuset.cpus.effective": "0-3", "io.max": "", "io.weight": "default 100",
    "io.bfq.weight": "default 100",
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a new cgroup; the host has no swap."""
    for name, text in NEW.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(limit_checks, "_PROC", str(tmp_path))
    return tmp_path


@pytest.fixture
def slice_(files: Path, monkeypatch: pytest.MonkeyPatch) -> Slice:
    """One directory for all three, whose files hold what was written last, as the kernel's do."""

    def write(controller: Controller, filename: bytes, value: object) -> None:
        path = Path(controller.path(filename))
        if not path.exists():
            raise CgroupError(errno.ENOENT, "write", str(path), str(value))
        path.write_text(str(value))
        if filename == b"cpuset.cpus" and str(value).strip():
            (files / "cpuset.cpus.effective").write_text(str(value))

    monkeypatch.setattr(Controller, "set_property", write)
    group = Cgroup(str(files))
    return Slice(group, group, group)


def fail_at(monkeypatch: pytest.MonkeyPatch, file: str, number: int) -> list[tuple[str, str]]:
    """Let a write fail, always; the list is of all that was tried."""
    tried: list[tuple[str, str]] = []
    write: Callable[[Controller, bytes, object], None] = Controller.set_property

    def failing(controller: Controller, filename: bytes, value: object) -> None:
        tried.append((filename.decode(), str(value)))
        if filename.decode() == file:
            raise CgroupError(number, "write", controller.path(filename), str(value))
        write(controller, filename, value)

    monkeypatch.setattr(Controller, "set_property", failing)
    return tried


def contents(files: Path) -> dict[str, str]:
    return {name: (files / name).read_text().strip() for name in NEW}


# Applied


def test_what_is_applied_is_what_reads_back(slice_: Slice, files: Path) -> None:
    limits = JobLimits(
        memory_max_bytes=8 * MIB, memory_high_bytes=4 * MIB, cpu_max_millicpus=250,
        cpu_weight=300, cpu_set="0-1", pids_max=7, io_weight=200,
    )  # fmt: skip
    applied = apply(slice_, limits)
    assert (applied.memory_max_bytes, applied.memory_high_bytes) == (8 * MIB, 4 * MIB)
    assert (applied.memory_swap_max_bytes, applied.oom_policy) == (0, "kill")
    assert (applied.cpu_max_millicpus, applied.cpu_weight, applied.cpu_idle) == (250, 300, None)
    assert (applied.cpu_set, applied.pids_max, applied.io_weight) == ("0-1", 7, 200)
    assert (files / "io.bfq.weight").read_text() == "default 109"


def test_a_file_that_is_missing_after_all_is_a_missing_feature(slice_: Slice, files: Path) -> None:
    (files / "memory.max").unlink()
    with pytest.raises(LimitUnavailable, match=r"this kernel has no memory\.max"):
        apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    assert (files / "memory.oom.group").read_text() == "0"


def test_a_job_may_outlive_its_hungriest_process_where_that_is_asked_for(
    slice_: Slice, files: Path
) -> None:
    applied = apply(slice_, JobLimits(memory_max_bytes=8 * MIB, oom_policy="continue"))
    assert applied.oom_policy == "continue"
    assert (files / "memory.oom.group").read_text() == "0"


def test_idle_is_written_and_shown(slice_: Slice, files: Path) -> None:
    assert apply(slice_, JobLimits(cpu_idle=True)).cpu_idle is True
    assert (files / "cpu.idle").read_text() == "1"


@pytest.mark.parametrize("file", ["io.weight", "io.bfq.weight"])
def test_one_of_the_two_weights_of_disks_is_enough(slice_: Slice, files: Path, file: str) -> None:
    (files / file).unlink()
    assert apply(slice_, JobLimits(io_weight=200)).io_weight == 200


def test_a_value_that_reads_back_otherwise_is_an_error_and_is_taken_back(
    slice_: Slice, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[[Controller, bytes, object], None] = Controller.set_property

    def rounding(controller: Controller, filename: bytes, value: object) -> None:
        write(controller, filename, "5" if value == "7" else value)

    monkeypatch.setattr(Controller, "set_property", rounding)
    with pytest.raises(ReadBackError, match="reads back as '5'"):
        apply(slice_, JobLimits(cpu_weight=300, pids_max=7))
    assert contents(files) == NEW


def test_cpus_that_the_job_does_not_really_get_are_an_error(
    slice_: Slice, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(controller: Controller, filename: bytes, value: object) -> None:
        Path(controller.path(filename)).write_text(str(value))

    monkeypatch.setattr(Controller, "set_property", write)
    with pytest.raises(ReadBackError, match="0-3"):
        apply(slice_, JobLimits(cpu_set="0-1"))
    assert contents(files)["cpuset.cpus"] == ""


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EOPNOTSUPP])
def test_a_device_that_takes_no_limit_is_named(
    slice_: Slice, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_at(monkeypatch, "io.max", number)
    with pytest.raises(LimitUnavailable, match="no limit for the device 8:1") as caught:
        apply(slice_, JobLimits(io=(IoLimit("8:1", 4096),)))
    assert (caught.value.limit, caught.value.device) == ("io.max", "8:1")


# Swap


def test_a_memory_limit_is_whole_without_a_swap_limit_where_there_is_no_swap(
    slice_: Slice, files: Path
) -> None:
    (files / "memory.swap.max").unlink()
    applied = apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    assert (applied.memory_max_bytes, applied.memory_swap_max_bytes) == (8 * MIB, None)
    assert update(slice_, JobLimits(memory_max_bytes=8 * MIB), JobLimits()) == AppliedLimits()


def test_swap_that_came_after_the_submission_is_not_left_unlimited(
    slice_: Slice, files: Path
) -> None:
    (files / "memory.swap.max").unlink()
    (files / "swaps").write_text(HEADING + AREA)
    with pytest.raises(LimitUnavailable, match="swap cannot be limited"):
        apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    apply(slice_, JobLimits())


def test_a_memory_limit_turns_swap_off_where_the_kernel_can(slice_: Slice, files: Path) -> None:
    applied = apply(slice_, JobLimits(memory_max_bytes=8 * MIB))
    assert applied.memory_swap_max_bytes == 0
    assert (files / "memory.swap.max").read_text() == "0"


# Changed


OLD = JobLimits(cpu_weight=300, pids_max=7, memory_max_bytes=8 * MIB)


def test_a_change_writes_what_differs_and_lifts_what_is_gone(slice_: Slice, files: Path) -> None:
    apply(slice_, OLD)
    applied = update(slice_, OLD, JobLimits(pids_max=9, cpu_idle=True))
    assert (applied.pids_max, applied.cpu_idle, applied.memory_max_bytes) == (9, True, None)
    assert contents(files) == {**NEW, "pids.max": "9", "cpu.idle": "1"}


@pytest.mark.parametrize("file", ["memory.max", "cpu.max", "pids.max"])
def test_a_change_that_fails_anywhere_changes_nothing(
    slice_: Slice, files: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    apply(slice_, OLD)
    before = contents(files)
    fail_at(monkeypatch, file, errno.EIO)
    new = JobLimits(pids_max=9, memory_max_bytes=16 * MIB, cpu_max_millicpus=100, cpu_idle=True)
    with pytest.raises(CgroupError) as caught:
        update(slice_, OLD, new)
    assert caught.value.errno == errno.EIO
    assert str(caught.value.filename).endswith(file)
    assert contents(files) == before


def test_what_cannot_be_written_back_is_said(
    slice_: Slice, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(slice_, OLD)
    write: Callable[[Controller, bytes, object], None] = Controller.set_property

    def failing(controller: Controller, filename: bytes, value: object) -> None:
        if filename == b"pids.max" or (filename == b"cpu.max" and str(value).startswith("max")):
            raise CgroupError(errno.EIO, "write", controller.path(filename), str(value))
        write(controller, filename, value)

    monkeypatch.setattr(Controller, "set_property", failing)
    with pytest.raises(CgroupError, match=r"cannot write back 'max 100000' to .*cpu\.max.*after"):
        update(slice_, OLD, replace(OLD, pids_max=9, cpu_max_millicpus=10))


def test_a_disk_that_is_gone_needs_no_lifting(
    slice_: Slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "io.max", errno.ENODEV)
    assert update(slice_, JobLimits(io=(IoLimit("7:0", 4096),)), JobLimits()).io == ()


def test_a_job_that_has_ended_meanwhile_is_no_missing_feature(
    slice_: Slice, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "pids.max", errno.ENOENT)
    monkeypatch.setattr(Cgroup, "exists", lambda _self: False)
    with pytest.raises(CgroupError, match="ENOENT"):
        update(slice_, JobLimits(), JobLimits(pids_max=5, cpu_weight=5))
    assert contents(files)["cpu.weight"] == "100"


# Below what is used


@pytest.mark.parametrize(
    ("file", "used", "limits", "asked"),
    [
        ("pids.current", 12, JobLimits(pids_max=11), 11),
        ("memory.swap.current", 2 * MIB, JobLimits(memory_swap_max_bytes=MIB), MIB),
        ("memory.current", 9 * MIB, JobLimits(memory_max_bytes=8 * MIB), 8 * MIB),
    ],
)
def test_less_than_is_used_is_refused_with_both_numbers(
    slice_: Slice, files: Path, file: str, used: int, limits: JobLimits, asked: int
) -> None:
    (files / file).write_text(str(used))
    before = contents(files)
    with pytest.raises(LimitBelowUse) as caught:
        update(slice_, JobLimits(), limits)
    assert (caught.value.asked, caught.value.used) == (asked, used)
    assert caught.value.limit == file.replace("current", "max")
    assert str(asked) in str(caught.value)
    assert str(used) in str(caught.value)
    assert contents(files) == before


@pytest.mark.parametrize(
    ("file", "limits"),
    [("pids.current", JobLimits(pids_max=12)), ("memory.current", JobLimits(memory_max_bytes=12))],
)
def test_as_much_as_is_used_may_be_asked_for(
    slice_: Slice, files: Path, file: str, limits: JobLimits
) -> None:
    (files / file).write_text("12")
    if limits.memory_max_bytes is None:
        assert update(slice_, JobLimits(), limits).pids_max == 12
    else:
        with pytest.raises(ReadBackError, match="reads back"):
            update(slice_, JobLimits(), limits)


def test_a_limit_that_stays_is_not_measured_against_what_is_used(
    slice_: Slice, files: Path
) -> None:
    apply(slice_, OLD)
    (files / "pids.current").write_text("7000")
    assert update(slice_, OLD, replace(OLD, cpu_weight=5)).cpu_weight == 5


def test_memory_that_the_kernel_takes_back_is_no_use(
    slice_: Slice, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "memory.current").write_text(str(20 * MIB))
    (files / "memory.reclaim").touch()
    asked: list[int] = []
    write: Callable[[Controller, bytes, object], None] = Controller.set_property

    def reclaim(controller: Controller, filename: bytes, value: object) -> None:
        if filename != b"memory.reclaim":
            return write(controller, filename, value)
        asked.append(int(str(value)))
        # The kernel gives back half of it and says that it is not all.
        now = int((files / "memory.current").read_text())
        (files / "memory.current").write_text(str(now - int(str(value)) // 2 - 1))
        raise CgroupError(errno.EAGAIN, "write", controller.path(filename), str(value))

    monkeypatch.setattr(Controller, "set_property", reclaim)
    with pytest.raises(LimitBelowUse) as caught:
        update(slice_, JobLimits(), JobLimits(memory_max_bytes=8 * MIB))
    assert asked[0] == 12 * MIB
    assert 8 * MIB < caught.value.used < 9 * MIB
    enough = JobLimits(memory_max_bytes=caught.value.used // MIB * MIB + MIB)
    assert update(slice_, JobLimits(), enough).memory_max_bytes == enough.memory_max_bytes


def test_without_memory_reclaim_clean_cache_is_what_the_kernel_could_take_back(
    slice_: Slice, files: Path
) -> None:
    (files / "memory.current").write_text(str(20 * MIB))
    stat = {"active_file": 6, "inactive_file": 8, "file_dirty": 1, "file_writeback": 0}
    (files / "memory.stat").write_text("".join(f"{n} {v * MIB}\n" for n, v in stat.items()))
    with pytest.raises(LimitBelowUse) as caught:
        update(slice_, JobLimits(), JobLimits(memory_max_bytes=6 * MIB))
    assert caught.value.used == 7 * MIB
    applied = update(slice_, JobLimits(), JobLimits(memory_max_bytes=7 * MIB))
    assert applied.memory_max_bytes == 7 * MIB
