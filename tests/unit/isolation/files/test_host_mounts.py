"""The mount table as a job's set-up reads it, and what of it must not be handed into a job."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.files import host_mounts
from isolation.files.host_mounts import HostMount
from isolation.host import mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = rb"""24 1 0:19 / / rw,relatime - overlay overlay rw,lowerdir=/
25 24 0:20 / /proc rw - proc proc rw
26 24 0:21 / /mnt/a\040b\011c\134d rw master:1 shared:2 - ext4 /dev/sda1 rw
27 24 0:22 / /srv rw - fuse.sshfs a@b:/ - rw
"""


def test_every_line_gives_a_mount_with_its_real_name() -> None:
    assert host_mounts.parse(TABLE) == [
        HostMount(24, b"/", b"overlay"),
        HostMount(25, b"/proc", b"proc"),
        HostMount(26, b"/mnt/a b\tc\\d", b"ext4"),
        HostMount(27, b"/srv", b"fuse.sshfs"),
    ]


def escaped(text: bytes) -> bytes:
    """As the kernel writes it: fs/proc_namespace.c, mangle()."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in text)


@given(st.binary().filter(lambda text: b"\0" not in text))
def test_any_name_comes_back_as_it_was(name: bytes) -> None:
    assert host_mounts.unescape(escaped(name)) == name


@given(st.binary(min_size=1).filter(lambda text: b"\0" not in text), st.integers(1, 10**6))
def test_a_mount_point_of_any_name_is_one_mount(name: bytes, number: int) -> None:
    line = b"%d 1 0:1 / /%s rw - ext4 none rw\n" % (number, escaped(name))
    assert host_mounts.parse(line) == [HostMount(number, b"/" + name, b"ext4")]


def test_it_reads_what_the_daemons_own_reader_reads() -> None:
    theirs = [(m.mount_id, os.fsencode(m.point), m.fstype.encode()) for m in mountinfo.read()]
    assert [tuple(mount) for mount in host_mounts.read()] == theirs


@pytest.fixture
def here() -> Iterator[int]:
    fd = os.open(".", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_the_kind_of_file_system_is_that_of_the_mount_of_a_descriptor(here: int) -> None:
    number = host_mounts.mount_id_of(here)
    assert number == mountinfo.mount_id_of(here)
    table = [HostMount(number + 1, b"/", b"wrong"), HostMount(number, b"/", b"right")]
    assert host_mounts.kind_of(here, table) == b"right"
    assert host_mounts.kind_of(here, []) == b""


@pytest.mark.parametrize("kind", [b"proc", b"sysfs", b"cgroup2", b"devtmpfs", b"nsfs"])
def test_a_file_system_that_leads_out_of_a_job_is_refused_by_name(here: int, kind: bytes) -> None:
    table = [HostMount(host_mounts.mount_id_of(here), b"/x", kind)]
    with pytest.raises(PermissionError, match=f"it is on {kind.decode()}"):
        host_mounts.require_ordinary(b"/x", here, table)


CHROOT = HostMount(10**9, b"/srv/chroot/proc", b"proc")


@pytest.mark.parametrize("path", [b"/srv", b"/", b"/srv/chroot"])
def test_what_contains_such_a_file_system_is_refused(here: int, path: bytes) -> None:
    own = HostMount(host_mounts.mount_id_of(here), b"/", b"ext4")
    with pytest.raises(PermissionError) as caught:
        host_mounts.require_ordinary(path, here, [own, CHROOT])
    assert caught.value.filename == path
    assert caught.value.strerror == (
        "it contains /srv/chroot/proc (proc): name the directories you need"
    )


@pytest.mark.parametrize("path", [b"/srv/chroot/proc/x", b"/srv/chro", b"/home"])
def test_what_only_stands_beside_such_a_file_system_is_not(here: int, path: bytes) -> None:
    own = HostMount(host_mounts.mount_id_of(here), b"/", b"ext4")
    host_mounts.require_ordinary(path, here, [own, CHROOT])
