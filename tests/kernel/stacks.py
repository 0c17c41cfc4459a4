"""Block devices upon block devices, for tests of limits: loop, device mapper, md. All removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MIB = 1024 * 1024
_SECTORS = 2048


def call(*command: str) -> str:
    """What a program says; it must succeed."""
    # The directories of programs for root are not in everybody's PATH.
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path) or command[0]
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.strip()


def number_of(device: str) -> str:
    """MAJ:MIN of a device node."""
    found = os.stat(device).st_rdev
    return f"{os.major(found)}:{os.minor(found)}"


@contextmanager
def loop(directory: str, mebibytes: int = 24) -> Iterator[str]:
    """A loop device over a file of its own."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        # Written, not sparse: a first write would have the host's file system look for room.
        file.write(bytes(mebibytes * _MIB))
        file.flush()
        device = call("losetup", "--find", "--show", file.name)
        try:
            yield device
        finally:
            call("losetup", "--detach", device)


@contextmanager
def mapped(table: str) -> Iterator[str]:
    """A device of the device mapper."""
    name = f"test-{os.getpid()}"
    call("dmsetup", "create", name, "--table", table)
    try:
        call("dmsetup", "mknodes")
        yield os.path.realpath(f"/dev/mapper/{name}")
    finally:
        call("dmsetup", "remove", "--retry", name)


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


@contextmanager
def array(level: str, members: list[str], mebibytes: int = 20) -> Iterator[str]:
    """An md array without metadata, made by sysfs (Documentation/admin-guide/md.rst)."""
    name = f"md_{level}"
    top = f"/sys/block/{name}/md"
    if not os.path.exists(top):
        write("/sys/module/md_mod/parameters/new_array", name)
    write(f"{top}/level", level)
    write(f"{top}/raid_disks", str(len(members)))
    write(f"{top}/metadata_version", "none")
    if level == "raid0":
        write(f"{top}/chunk_size", "65536")
    else:
        write(f"{top}/component_size", str(mebibytes * 1024))
        # Nothing to bring in step: that would compete with what is measured.
        write(f"{top}/resync_start", "none")
    for slot, member in enumerate(members):
        write(f"{top}/new_dev", number_of(member))
        write(f"{top}/dev-{os.path.basename(member)}/slot", str(slot))
        write(f"{top}/dev-{os.path.basename(member)}/size", str(mebibytes * 1024))
    write(f"{top}/array_state", "active")
    with open(f"/sys/block/{name}/dev", encoding="ascii") as file:
        major, minor = map(int, file.read().split(":"))
    node = f"/run/{name}-{os.getpid()}"
    os.mknod(node, 0o60600, os.makedev(major, minor))
    try:
        yield node
    finally:
        os.unlink(node)
        write(f"{top}/array_state", "clear")
        wait_until(lambda: not os.listdir(f"/sys/block/{name}/slaves"))


@contextmanager
def mounted(device: str, owner: int = 0) -> Iterator[str]:
    """A new ext4 on a device, without a journal, whose writes would belong to nobody."""
    call("mkfs.ext4", "-q", "-F", "-O", "^has_journal", device)
    place = tempfile.mkdtemp(dir="/run")
    try:
        call("mount", device, place)
        os.chown(place, owner, owner)
        yield place
    finally:
        call("umount", place)
        os.rmdir(place)


@contextmanager
def linear(directory: str) -> Iterator[str]:
    """Device mapper's plainest target, which a logical volume usually is."""
    with loop(directory) as below, mapped(f"0 {20 * _SECTORS} linear {below} 0") as device:
        yield device


@contextmanager
def striped(directory: str) -> Iterator[str]:
    """Two devices, each with every other stripe."""
    with ExitStack() as opened:
        one, two = (opened.enter_context(loop(directory)) for _ in range(2))
        table = f"0 {40 * _SECTORS} striped 2 128 {one} 0 {two} 0"
        yield opened.enter_context(mapped(table))


@contextmanager
def bfq_on(path: str) -> Iterator[str]:
    """The name of the disk below a path, with a scheduler that heeds weights."""
    device = os.stat(path).st_dev
    entry = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    scheduler = f"{entry}/queue/scheduler"
    with open(scheduler, encoding="ascii") as file:
        before = file.read().partition("[")[2].partition("]")[0]
    write(scheduler, "bfq")
    try:
        yield os.path.basename(entry)
    finally:
        write(scheduler, before)


def _array(level: str) -> Callable[[str], Iterator[str]]:
    def make(directory: str) -> Iterator[str]:
        with ExitStack() as opened:
            members = [opened.enter_context(loop(directory)) for _ in range(2)]
            yield opened.enter_context(array(level, members))

    return make


STACKS = {
    "loop": loop,
    "dm-linear": linear,
    "dm-striped": striped,
    "md-raid0": contextmanager(_array("raid0")),
    "md-raid1": contextmanager(_array("raid1")),
}
