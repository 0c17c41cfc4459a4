"""From a path to its disks, on described hosts: a sysfs of plain directories, mounts as text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isolation.errors import LimitUnavailable
from isolation.host import devices, mountinfo

SDA = os.makedev(8, 0)
SDA2 = os.makedev(8, 2)
NONE = os.makedev(0, 44)


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


def nodes(monkeypatch: pytest.MonkeyPatch, numbers: dict[str, int]) -> None:
    """Block device nodes in /dev, which only root could make."""
    real = os.stat

    def stat(path: str) -> os.stat_result:
        if path not in numbers:
            return real(path)
        return os.stat_result((0o60660, *range(9)), {"st_rdev": numbers[path]})

    monkeypatch.setattr(os, "stat", stat)


@pytest.mark.parametrize(
    ("fstype", "source", "why"),
    [
        ("tmpfs", "tmpfs", "in memory"),
        ("nfs4", "server:/export", "network file system"),
        ("fuse.sshfs", "host:", "network file system"),
        ("overlay", "overlay", "on an overlay"),
        ("overlay", "/dev/sda", "on an overlay"),
        ("fuse.bindfs", "/home", "in his own name"),
        ("hostfs", "none", "in his own name"),
        ("zfs", "pool/home", "zfs from pool/home"),
        ("proc", "proc", "not on one disk"),
        ("btrfs", "/dev/nonexistent", "No such file"),
        ("btrfs", "/dev/null", "not a disk"),
        ("bcachefs", "/dev/sda:/dev/sdb", "No such file"),
    ],
)
def test_a_file_system_that_no_disk_holds_is_refused(
    sysfs: str, fstype: str, source: str, why: str
) -> None:
    for writes in (True, False):
        with pytest.raises(LimitUnavailable, match=why) as caught:
            devices.disks_of_mount(mount(fstype, source), NONE, "/x", writes=writes, sysfs=sysfs)
        assert caught.value.remedy
        assert (caught.value.limit, caught.value.device) == ("io.max", "/x")


def test_a_disk_that_a_process_reads_and_writes_for_others_is_refused(sysfs: str) -> None:
    with pytest.raises(LimitUnavailable, match="in his own name"):
        devices.disks_of_mount(mount("fuseblk", "/dev/sda2"), SDA2, "/x", sysfs=sysfs)


def test_the_remedy_for_an_overlay_names_its_upper_directory(sysfs: str) -> None:
    layered = mount("overlay", "overlay", "rw,lowerdir=/,upperdir=/data/up,workdir=/data/w")
    with pytest.raises(LimitUnavailable) as caught:
        devices.disks_of_mount(layered, NONE, "/x", sysfs=sysfs)
    assert "/data/up" in caught.value.remedy


@pytest.mark.parametrize("fstype", ["ext2", "ext3", "ext4", "xfs", "f2fs"])
def test_a_file_system_on_a_partition_is_on_its_disk(sysfs: str, fstype: str) -> None:
    found = devices.disks_of_mount(mount(fstype, "/dev/root"), SDA2, "/x", sysfs=sysfs)
    assert found == (("8:0", "sda"),)


def test_a_device_that_sysfs_does_not_know_is_refused(sysfs: str) -> None:
    with pytest.raises(LimitUnavailable, match="no block device 9:9"):
        devices.disks_of_mount(mount("ext4", "/dev/md9"), os.makedev(9, 9), "/x", sysfs=sysfs)


@pytest.mark.parametrize(("fstype", "options"), [("vfat", "rw"), ("ext4", "rw,data=journal")])
def test_writing_that_the_kernel_does_in_nobodys_name_cannot_be_limited_but_reading_can(
    sysfs: str, fstype: str, options: str
) -> None:
    found = mount(fstype, "/dev/sda", options)
    with pytest.raises(LimitUnavailable, match="on whose behalf it writes") as caught:
        devices.disks_of_mount(found, SDA, "/x", sysfs=sysfs)
    assert "limit reading only" in caught.value.remedy
    assert devices.disks_of_mount(found, SDA, "/x", writes=False, sysfs=sysfs) == (("8:0", "sda"),)


def test_where_nothing_is_written_no_write_is_missed(sysfs: str) -> None:
    image = mount("squashfs", "/dev/loop0", "ro")
    assert devices.disks_of_mount(image, SDA, "/x", sysfs=sysfs) == (("8:0", "sda"),)


def test_a_btrfs_on_one_partition_is_on_its_disk(
    sysfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(monkeypatch, {"/dev/sda2": SDA2})
    found = devices.disks_of_mount(mount("btrfs", "/dev/sda2"), NONE, "/x", sysfs=sysfs)
    assert found == (("8:0", "sda"),)


def test_a_btrfs_on_several_disks_is_limited_on_each(
    sysfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = Path(sysfs) / "fs/btrfs/some-uuid/devices"
    members.mkdir(parents=True)
    for name in ("sda/sda2", "sdb"):
        (members / os.path.basename(name)).symlink_to(Path(sysfs) / "devices/pci/block" / name)
    nodes(monkeypatch, {"/dev/sda2": SDA2})
    found = devices.disks_of_mount(mount("btrfs", "/dev/sda2"), NONE, "/x", sysfs=sysfs)
    assert found == (("8:0", "sda"), ("8:16", "sdb"))


def test_the_real_time_device_of_an_xfs_is_limited_too(
    sysfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes(monkeypatch, {"/dev/sdb": os.makedev(8, 16)})
    found = mount("xfs", "/dev/sda2", "rw,noquota,rtdev=/dev/sdb")
    assert devices.disks_of_mount(found, SDA2, "/x", sysfs=sysfs) == (
        ("8:0", "sda"),
        ("8:16", "sdb"),
    )


def test_a_path_that_does_not_exist_is_the_systems_error(sysfs: str) -> None:
    with pytest.raises(FileNotFoundError):
        devices.disks_of_path("/nonexistent/path", sysfs=sysfs)


def test_a_path_on_proc_is_refused_by_its_mount() -> None:
    with pytest.raises(LimitUnavailable, match="not on one disk"):
        devices.disks_of_path("/proc/self/status")


def test_a_mount_is_found_by_its_device_where_its_id_is_not_to_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hidden(_fd: int) -> int:
        raise PermissionError

    monkeypatch.setattr(mountinfo, "mount_id_of", hidden)
    with pytest.raises(LimitUnavailable, match="not on one disk"):
        devices.disks_of_path("/proc/self/status")
