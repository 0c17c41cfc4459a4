"""Disks, partitions and the members of a btrfs in a sysfs of plain directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isolation.host.block_devices import btrfs_members, whole_disk


@pytest.fixture
def sysfs(tmp_path: Path) -> str:
    """Disks sda (8:0) with its partitions sda2 and sda3, sdb (8:16), and dm-0 above sda2."""
    for path, number in (
        ("devices/pci/block/sda", "8:0"),
        ("devices/pci/block/sda/sda2", "8:2"),
        ("devices/pci/block/sda/sda3", "8:3"),
        ("devices/pci/block/sdb", "8:16"),
        ("devices/virtual/block/dm-0", "251:0"),
    ):
        directory = tmp_path / path
        directory.mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        entry = tmp_path / "dev/block" / number
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.symlink_to(directory)
    for name in ("sda2", "sda3"):
        (tmp_path / "devices/pci/block/sda" / name / "partition").write_text(name[-1] + "\n")
    slaves = tmp_path / "devices/virtual/block/dm-0/slaves"
    slaves.mkdir()
    (slaves / "sda2").symlink_to(tmp_path / "devices/pci/block/sda/sda2")
    return str(tmp_path)


def btrfs(sysfs: str, *members: str) -> None:
    directory = Path(sysfs) / "fs/btrfs/some-uuid/devices"
    directory.mkdir(parents=True)
    (Path(sysfs) / "fs/btrfs/features").mkdir()
    for path in members:
        (directory / os.path.basename(path)).symlink_to(Path(sysfs) / "devices" / path)


def test_a_whole_disk_is_itself(sysfs: str) -> None:
    assert whole_disk(os.makedev(8, 0), sysfs=sysfs) == ("8:0", "sda")


def test_a_partition_becomes_its_disk(sysfs: str) -> None:
    assert whole_disk(os.makedev(8, 2), sysfs=sysfs) == ("8:0", "sda")


def test_a_device_above_others_stays_what_it_is(sysfs: str) -> None:
    assert whole_disk(os.makedev(251, 0), sysfs=sysfs) == ("251:0", "dm-0")


def test_a_device_that_sysfs_does_not_know_is_none(sysfs: str) -> None:
    assert whole_disk(os.makedev(9, 9), sysfs=sysfs) is None


def test_every_disk_of_a_btrfs_is_found_from_any_of_its_devices(sysfs: str) -> None:
    btrfs(sysfs, "pci/block/sda/sda2", "pci/block/sdb")
    for number in (os.makedev(8, 2), os.makedev(8, 16)):
        assert btrfs_members(number, sysfs=sysfs) == (("8:0", "sda"), ("8:16", "sdb"))


def test_two_partitions_of_one_disk_are_one_disk(sysfs: str) -> None:
    btrfs(sysfs, "pci/block/sda/sda2", "pci/block/sda/sda3")
    assert btrfs_members(os.makedev(8, 3), sysfs=sysfs) == (("8:0", "sda"),)


def test_a_device_of_no_btrfs_has_no_members(sysfs: str) -> None:
    assert btrfs_members(os.makedev(8, 0), sysfs=sysfs) == ()
    btrfs(sysfs, "pci/block/sdb")
    assert btrfs_members(os.makedev(8, 0), sysfs=sysfs) == ()
