"""Paths of this machine, down to a disk that io.max takes."""

from __future__ import annotations

import os

import pytest

from isolation.devices import disk_of_fd, disk_of_path
from isolation.errors import LimitUnavailable

# The lane mounts its disk here.
ON_DISK = "/var/lib/runnerd"


def test_a_directory_on_ext4_is_on_its_disk() -> None:
    disk = disk_of_path(ON_DISK)
    with open(f"/sys/block/{disk.name}/dev") as file:
        assert file.read().strip() == disk.device


def test_a_descriptor_gives_the_same_as_its_path() -> None:
    fd = os.open(ON_DISK, os.O_PATH | os.O_CLOEXEC)
    try:
        assert disk_of_fd(fd, ON_DISK) == disk_of_path(ON_DISK)
    finally:
        os.close(fd)


def test_a_device_node_is_its_own_disk() -> None:
    disk = disk_of_path(ON_DISK)
    assert disk_of_path(f"/dev/{disk.name}") == disk


@pytest.mark.parametrize(("path", "why"), [("/", "overlay"), ("/run", "memory"), ("/proc", "proc")])
def test_a_path_that_no_disk_holds_is_refused(path: str, why: str) -> None:
    with pytest.raises(LimitUnavailable, match=why) as caught:
        disk_of_path(path)
    assert caught.value.device == path
