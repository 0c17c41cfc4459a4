"""Paths of this machine, down to the disks that io.max takes, and devices upon devices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from isolation.caller import Caller, ask_as
from isolation.cgroups.tree import IoLimit, JobLimits
from isolation.errors import LimitUnavailable
from isolation.host.devices import disks_of_fd, disks_of_path
from tests.kernel import stacks

if TYPE_CHECKING:
    from isolation.cgroups.tree import JobCgroup

# The lane mounts its disk here.
ON_DISK = "/var/lib/runnerd"


def test_a_directory_on_ext4_is_on_its_disk() -> None:
    (disk,) = disks_of_path(ON_DISK)
    with open(f"/sys/block/{disk.name}/dev") as file:
        assert file.read().strip() == disk.device


def test_a_descriptor_gives_the_same_as_its_path() -> None:
    fd = os.open(ON_DISK, os.O_PATH | os.O_CLOEXEC)
    try:
        assert disks_of_fd(fd, ON_DISK) == disks_of_path(ON_DISK)
    finally:
        os.close(fd)


def test_a_device_node_is_its_own_disk() -> None:
    (disk,) = disks_of_path(ON_DISK)
    assert disks_of_path(f"/dev/{disk.name}") == (disk,)


def test_a_user_finds_the_disk_as_root_does() -> None:
    asked = ask_as(Caller(4001, 4001, ()), lambda: disks_of_path(ON_DISK))
    assert asked.result(timeout=20) == disks_of_path(ON_DISK)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/", "overlay"), ("/run", "memory"), ("/proc", "proc"), ("/sys/fs/cgroup", "cgroup2")],
)
def test_a_path_that_no_disk_holds_is_refused(path: str, why: str) -> None:
    with pytest.raises(LimitUnavailable, match=why) as caught:
        disks_of_path(path)
    assert caught.value.device == path


@pytest.mark.parametrize("stack", stacks.STACKS)
def test_the_uppermost_of_several_devices_is_limited_and_no_other(
    job: JobCgroup, stack: str
) -> None:
    with stacks.STACKS[stack](ON_DISK) as device, stacks.mounted(device) as place:
        (disk,) = disks_of_path(place)
        assert disk.device == stacks.number_of(device)
        limit = IoLimit(disk.device, 1 << 20, 2 << 20, 30, 40)
        assert job.apply(JobLimits(io=(limit,))).io == (limit,)
        assert list(job.cgroups.job.io.max) == [disk.device]
        job.update(JobLimits(io=(limit,)), JobLimits())
        assert job.cgroups.job.io.max == {}
