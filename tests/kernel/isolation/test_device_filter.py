"""Device filters on real cgroups: a node opens where the list says so, and only there."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from isolation import device_filter
from isolation.device_filter import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Spawn = Callable[[str, str], subprocess.Popen[bytes]]

pytestmark = pytest.mark.usefixtures("no_program_is_kept")

ZERO, MEM, KMSG = (1, 5), (1, 1), (1, 11)


@pytest.fixture
def group(root: str) -> str:
    """A cgroup within one of the test's own."""
    os.makedirs(f"{root}/inner")
    return f"{root}/inner"


@pytest.fixture
def nodes() -> Iterator[str]:
    """A file system of the test's own with nodes that anybody may open."""
    place = "/run/test-nodes"
    os.mkdir(place)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    for name, kind, (major, minor) in (
        ("zero", stat.S_IFCHR, ZERO), ("kmsg", stat.S_IFCHR, KMSG), ("disk", stat.S_IFBLK, (98, 0)),
    ):  # fmt: skip
        os.mknod(f"{place}/{name}", kind | 0o666, os.makedev(major, minor))
        os.chmod(f"{place}/{name}", 0o666)  # noqa: S103  modes shall not matter
    yield place
    subprocess.run(["umount", place], check=True)
    os.rmdir(place)


def attach(path: str, devices: Sequence[Device] = ()) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        device_filter.attach(fd, devices)
    finally:
        os.close(fd)


def outcome(spawn: Spawn, group: str, script: str) -> list[str]:
    """Each line of the script by itself: ok, or refused."""
    tried = "; ".join(
        f"({line}) 2>/dev/null && echo ok || echo refused" for line in script.split("\n")
    )
    child = spawn(group, tried)
    assert child.stdout is not None
    return child.stdout.read().decode().split()


def test_it_can_be_had_here() -> None:
    assert device_filter.available() is None


def test_usual_devices_open_and_others_do_not_whatever_their_mode(
    group: str, spawn: Spawn, nodes: str
) -> None:
    script = f": < {nodes}/zero\n: < {nodes}/kmsg\n: < {nodes}/disk\necho > /dev/null"
    assert outcome(spawn, group, script) == ["ok", "ok", "ok", "ok"]
    attach(group)
    assert outcome(spawn, group, script) == ["ok", "refused", "refused", "ok"]


def test_nodes_of_harmless_devices_can_be_made_and_no_others(
    group: str, spawn: Spawn, nodes: str
) -> None:
    attach(group)
    script = (
        f"mknod {nodes}/a c 1 5\nmknod {nodes}/b b 98 0\nmknod {nodes}/c c 1 1\n"
        f"cp -a {nodes}/disk {nodes}/d\nmkfifo {nodes}/e"
    )
    assert outcome(spawn, group, script) == ["ok", "refused", "refused", "refused", "ok"]


def test_what_is_added_opens_as_far_as_it_says(group: str, spawn: Spawn, nodes: str) -> None:
    attach(group, [Device("b", 98, 0, "r")])
    script = f": < {nodes}/disk\n: >> {nodes}/disk\n: < {nodes}/kmsg"
    assert outcome(spawn, group, script) == ["ok", "refused", "refused"]


def test_it_holds_below_and_cannot_be_widened_there(group: str, spawn: Spawn, nodes: str) -> None:
    attach(os.path.dirname(group))
    attach(group, [Device("b", 98, 0, "rw")])
    assert outcome(spawn, group, f": < {nodes}/disk") == ["refused"]


def test_the_hosts_processes_are_not_held(group: str, nodes: str) -> None:
    attach(group)
    with open(f"{nodes}/disk", "rb") as disk:
        assert disk.read(1)


def test_removing_a_file_of_an_overlay_still_works(group: str, spawn: Spawn, nodes: str) -> None:
    """The kernel marks it by a device node 0:0, which it makes itself."""
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{nodes}/{name}")
    for name in ("a", "b"):
        with open(f"{nodes}/lower/{name}", "w", encoding="ascii"):
            pass
    options = f"lowerdir={nodes}/lower,upperdir={nodes}/upper,workdir={nodes}/work"
    subprocess.run(["mount", "-t", "overlay", "o", f"{nodes}/merged", "-o", options], check=True)
    attach(group)
    try:
        script = f"rm {nodes}/merged/a\nmv {nodes}/merged/b {nodes}/merged/c"
        assert outcome(spawn, group, script) == ["ok", "ok"]
        assert os.listdir(f"{nodes}/merged") == ["c"]
    finally:
        subprocess.run(["umount", f"{nodes}/merged"], check=True)
