"""The job's own /dev: the usual nodes, its own terminals, shared memory and queues. Lean.

Called in the payload, as root, in the job's mount namespace. Which devices a job may open at
all is held by their permissions and by the filter on its cgroup (`isolation.device_filter`);
here is only what it finds by name.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from isolation.files import mounts
from isolation.files.mounts import is_directory, mount_memory
from isolation.syscalls.mounts import (
    MountAttributes,
    MountFlags,
    OpenTreeFlags,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isolation.files.user_paths import Device

# What may be opened by everybody anywhere: Documentation/admin-guide/devices.txt.
_NODES: Final = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0),
)  # fmt: skip
_LINKS: Final = (
    ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"), ("core", "/proc/kcore"),
)  # fmt: skip
# Nodes, links and directories need no more; it is root's, so that only a job of root could fill it.
_DEV_OPTIONS: Final = "mode=755,size=64k"
_MOST_GROUP_BYTES: Final = 1 << 20
_SHM: Final = "/dev/shm"  # noqa: S108 - the private one


def mount_own(devices: Sequence[Device], shm_bytes: int | None) -> None:
    """A /dev with nothing of the host's but `devices`, whose descriptors are detached mounts.

    The umask of the caller must be 0.
    """
    # Not NOEXEC: programs map /dev/zero for code.
    mount("tmpfs", "/dev", "tmpfs", MountFlags.NOSUID, _DEV_OPTIONS)
    for name, major, minor in _NODES:
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, target in _LINKS:
        os.symlink(target, f"/dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"/dev/{name}", 0o755)
    _mount_private(shm_bytes)
    for device in devices:
        _add(device)


def keep_host(host: int | None, shm_bytes: int | None) -> None:
    """The host's /dev as it is, with terminals, shared memory and queues of the job's own.

    `host` is a detached copy of it for a tree that has another root, None where it is there.
    """
    if host is not None:
        # A tree that is thrown away: a job of root could still write files into the host's.
        mount_setattr(host, MountAttributes.RDONLY, recursive=True)
        move_mount(host, "/dev")
        os.close(host)
    _mount_private(shm_bytes)


def copy_host() -> int:
    """A detached copy of the host's /dev and of what is mounted below it."""
    fd = os.open("/dev", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = OpenTreeFlags.CLONE | OpenTreeFlags.RECURSIVE | OpenTreeFlags.CLOEXEC
        return open_tree(fd, flags)
    finally:
        os.close(fd)


def _mount_private(shm_bytes: int | None) -> None:
    if is_directory("/dev/pts"):
        mount("devpts", "/dev/pts", "devpts", mounts.INERT & ~MountFlags.NODEV, TERMINALS)
    if is_directory(_SHM):
        mount_memory(_SHM, "1777", shm_bytes)
    if is_directory("/dev/mqueue"):
        # A mount shows the queues of its maker's IPC namespace.
        mount("mqueue", "/dev/mqueue", "mqueue", mounts.INERT)


def tty_group(path: str = "/etc/group") -> int | None:
    """The number of the group tty, read without the machinery of nsswitch(5)."""
    try:
        with open(path, "rb") as file:
            text = b"\n" + file.read(_MOST_GROUP_BYTES)
    except OSError:
        return None
    fields = text.partition(b"\ntty:")[2].partition(b"\n")[0].split(b":")
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None


def _terminal_options(group: int | None) -> str:
    """A set of terminals of its own. Of the group tty where there is one: write(1), wall(1)."""
    suffix = "" if group is None else f",gid={group}"
    return f"newinstance,mode=620,ptmxmode=666{suffix}"


# The host's, once, when the launcher starts: asking in each job takes as long as two mounts.
TERMINALS: Final = _terminal_options(tty_group())


def _add(device: Device) -> None:
    """A bind of the very node that was opened as the user: it keeps owner, mode and ACL."""
    path = b"/dev/" + device.name
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    if not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    mount_setattr(device.fd, MountAttributes.NOSUID | MountAttributes.NOEXEC)
    move_mount(device.fd, path)
    os.close(device.fd)
