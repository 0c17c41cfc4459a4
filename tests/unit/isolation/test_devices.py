"""From a path to a disk, on described hosts: a sysfs of plain directories, mounts as text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isolation import devices, mountinfo
from isolation.errors import LimitUnavailable


@pytest.fixture
def sysfs(tmp_path: Path) -> str:
    """Disks sda (8:0) with its partition sda2 (8:2), and sdb (8:16)."""
    for path, number in (
        ("devices/pci/block/sda", "8:0"),
        ("devices/pci/block/sda/sda2", "8:2"),
        ("devices/pci/block/sdb", "8:16"),
    ):
        directory = tmp_path / path
        directory.mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        entry = tmp_path / "dev/block" / number
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.symlink_to(directory)
    (tmp_path / "devices/pci/block/sda/sda2/partition").write_text("2\n")
    return str(tmp_path)


def mount(fstype: str, source: str, options: str = "rw") -> mountinfo.Mount:
    (found,) = mountinfo.parse(f"50 1 0:44 / /mnt rw - {fstype} {source} {options}")
    return found


def test_a_whole_disk_is_itself(sysfs: str) -> None:
    assert devices.whole_disk(os.makedev(8, 0), "/x", sysfs=sysfs) == ("8:0", "sda")


def test_a_partition_becomes_its_disk(sysfs: str) -> None:
    assert devices.whole_disk(os.makedev(8, 2), "/x", sysfs=sysfs) == ("8:0", "sda")


def test_a_device_that_sysfs_does_not_know_is_refused(sysfs: str) -> None:
    with pytest.raises(LimitUnavailable, match="no block device 9:9") as caught:
        devices.whole_disk(os.makedev(9, 9), "/x", sysfs=sysfs)
    assert caught.value.device == "/x"
    assert caught.value.limit == "io.max"


@pytest.mark.parametrize(
    ("fstype", "source", "why"),
    [
        ("tmpfs", "tmpfs", "in memory"),
        ("nfs4", "server:/export", "network file system"),
        ("overlay", "overlay", "on an overlay"),
        ("overlay", "/dev/sda", "on an overlay"),
        ("zfs", "pool/home", "zfs from pool/home"),
        ("proc", "proc", "not on one disk"),
        ("btrfs", "/dev/nonexistent", "No such file"),
        ("btrfs", "/dev/null", "not a disk"),
        ("bcachefs", "/dev/sda:/dev/sdb", "No such file"),
    ],
)
def test_a_file_system_that_no_single_disk_holds_is_refused(
    sysfs: str, fstype: str, source: str, why: str
) -> None:
    with pytest.raises(LimitUnavailable, match=why) as caught:
        devices.disk_of_mount(mount(fstype, source), "/mnt/x", sysfs=sysfs)
    assert caught.value.remedy


def test_the_remedy_for_an_overlay_names_its_upper_directory(sysfs: str) -> None:
    layered = mount("overlay", "overlay", "rw,lowerdir=/,upperdir=/data/up,workdir=/data/w")
    with pytest.raises(LimitUnavailable) as caught:
        devices.disk_of_mount(layered, "/x", sysfs=sysfs)
    assert "/data/up" in caught.value.remedy


def test_a_btrfs_on_one_partition_is_on_its_disk(sysfs: str) -> None:
    (Path(sysfs) / "fs/btrfs/some-uuid/devices/sda2").mkdir(parents=True)
    (Path(sysfs) / "fs/btrfs/features").mkdir()
    found = devices.single_disk(mount("btrfs", "/dev/sda2"), os.makedev(8, 2), "/x", sysfs=sysfs)
    assert found == ("8:0", "sda")


def test_a_btrfs_on_several_disks_is_refused(sysfs: str) -> None:
    for name in ("sda2", "sdb"):
        (Path(sysfs) / "fs/btrfs/some-uuid/devices" / name).mkdir(parents=True)
    with pytest.raises(LimitUnavailable, match="several devices: sda2, sdb"):
        devices.single_disk(mount("btrfs", "/dev/sda2"), os.makedev(8, 2), "/x", sysfs=sysfs)


def test_a_path_that_does_not_exist_is_the_systems_error(sysfs: str) -> None:
    with pytest.raises(FileNotFoundError):
        devices.disk_of_path("/nonexistent/path", sysfs=sysfs)


def test_a_path_on_proc_is_refused_by_its_mount() -> None:
    with pytest.raises(LimitUnavailable, match="not on one disk"):
        devices.disk_of_path("/proc/self/status")
