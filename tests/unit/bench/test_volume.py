"""What is decided about the benchmark's own file system. To make one takes root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench import volume

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = (
    "/dev/vda / ext4 rw 0 0\n"
    "tmpfs /run tmpfs rw 0 0\n"
    "/dev/loop1 /var/lib/b ext4 rw 0 0\n"
    "/dev/loop2 /var/lib/b ext4 rw 0 0\n"
)


def test_it_is_as_large_as_everybody_needs_or_as_most_of_what_is_free() -> None:
    assert volume.size_for(1 << 40) == volume.BYTES
    assert volume.size_for(10 << 30) == 8 << 30
    with pytest.raises(volume.VolumeError, match="only 1024 MiB are free"):
        volume.size_for(1 << 30)


def test_the_device_is_that_of_the_mount_on_top() -> None:
    assert volume.mounted_at("/var/lib/b", MOUNTS) == ("/dev/loop2", "ext4")
    assert volume.mounted_at("/var/lib", MOUNTS) is None


def test_a_path_lies_on_the_nearest_mount_above_it() -> None:
    assert volume.type_of("/run/x/y", MOUNTS) == "tmpfs"
    assert volume.type_of("/var/lib/c", MOUNTS) == "ext4"
    assert volume.type_of("/x", "") == "unknown"


def test_where_it_cannot_be_had_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "_MAKE", ("/bin/false",))
    monkeypatch.setattr(volume, "_free", lambda _: 1 << 40)
    with pytest.raises(volume.VolumeError, match="/bin/false: it ended with 1"):
        volume.make(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_result_says_on_what_the_files_lay_and_why() -> None:
    said = volume.machines_own("/proc", "no loop device")
    assert said == "proc, the machine's own (no loop device)"
