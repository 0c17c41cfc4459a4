"""mountinfo: whatever may stand in a name, and lines that are no mounts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from isolation.host import mountinfo

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (
    "27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"
    "41 31 0:38 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    "99 27 0:50 /sub /mnt/a\\040b rw - btrfs /dev/sda2 rw,subvolid=5\n"
)


def test_optional_fields_may_be_absent_or_many() -> None:
    root, cgroup, btrfs = mountinfo.parse(TEXT)
    assert (root.device, root.fstype, root.source) == ("254:0", "ext4", "/dev/vda")
    assert (cgroup.mount_id, cgroup.fstype) == (41, "cgroup2")
    assert btrfs.root == "/sub"


def test_escaped_spaces_are_spaces_again() -> None:
    assert mountinfo.parse(TEXT)[2].point == "/mnt/a b"


def test_a_mount_is_read_only_by_its_own_option_or_the_file_systems() -> None:
    root, cgroup, _ = mountinfo.parse(TEXT)
    assert not root.read_only
    assert cgroup.read_only
    assert root._replace(super_options=("ro",)).read_only


def test_lines_that_are_no_mounts_are_left_out() -> None:
    assert mountinfo.parse("\nnonsense\n1 2 - x\n") == []


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_mount_point_survives_the_kernels_escaping(name: str) -> None:
    escaped = name
    for character in "\\ \t\n":
        escaped = escaped.replace(character, f"\\{ord(character):03o}")
    line = f"1 2 0:1 / /{escaped} rw - tmpfs none rw"
    (mount,) = mountinfo.parse(line)
    assert mount.point == "/" + name


def test_the_mount_of_an_open_file_is_found(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        mount = mountinfo.by_id(mountinfo.read(), mountinfo.mount_id_of(fd))
    finally:
        os.close(fd)
    assert mount is not None
    assert os.path.commonpath((mount.point, os.path.realpath(tmp_path))) == mount.point


def test_an_unknown_mount_is_none() -> None:
    assert mountinfo.by_id(mountinfo.parse(TEXT), 12345) is None
