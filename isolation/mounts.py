"""What a job's mount namespace shows: the host's tree with private parts laid over it.

Called in the payload between its fork and its exec, as root, in a mount namespace that
nobody else uses. Lean. Never called in the host's mount namespace.
"""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from isolation.syscalls import (
    AT_FDCWD,
    MountFlags,
    OpenTreeFlags,
    ResolveFlags,
    mount,
    move_mount,
    open_tree,
    openat2,
)

# World-writable places and the per-user sockets: what a job leaves in them, or finds there,
# must not cross its border. /run/user holds the user's D-Bus, over which a job could ask
# the user's own systemd to start a process outside of every limit.
PRIVATE_DIRECTORIES: Final = ("/tmp", "/dev/shm", "/run/user")  # noqa: S108 - the private ones
# Below these a working directory is put back. Not below /run/user, for the reason above.
_PUT_BACK: Final = ("/tmp", "/dev/shm")  # noqa: S108 - the private ones

_SAFE: Final = MountFlags.NOSUID | MountFlags.NODEV
_INERT: Final = _SAFE | MountFlags.NOEXEC
_READ_ONLY: Final = _INERT | MountFlags.RDONLY

# Writing them takes uid 0 and no capability: core_pattern alone would let a job of root run
# a program outside of every limit, and sysrq-trigger would end the host.
_KERNEL_SETTINGS: Final = (
    "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs",
)  # fmt: skip


class WorkingDirectory(NamedTuple):
    """Where the job will start: the real path, and a descriptor when it must be put back."""

    path: str
    fd: int | None


def make_private() -> None:
    """Nothing mounted from here on appears on the host, nor the other way round."""
    mount(None, "/", None, MountFlags.REC | MountFlags.PRIVATE)


def open_working_directory(cwd: str) -> WorkingDirectory:
    """Find the directory before the private ones cover it. Called with the caller's identity.

    A directory below /tmp would vanish under the private /tmp; it alone is put back.
    Raises OSError when the caller may not reach it.
    """
    fd = openat2(AT_FDCWD, cwd, os.O_PATH | os.O_DIRECTORY, ResolveFlags.NO_MAGICLINKS)
    real = os.readlink(f"/proc/self/fd/{fd}")
    if any(real.startswith(f"{place}/") for place in _PUT_BACK):
        return WorkingDirectory(real, fd)
    os.close(fd)
    return WorkingDirectory(real, None)


def detach(directory: WorkingDirectory) -> WorkingDirectory:
    """Turn the descriptor into a detached copy of its mount, while its path still leads there."""
    if directory.fd is None:
        return directory
    tree_fd = open_tree(directory.fd, OpenTreeFlags.CLONE | OpenTreeFlags.CLOEXEC)
    os.close(directory.fd)
    return WorkingDirectory(directory.path, tree_fd)


def mount_proc(uid: int) -> None:
    """A /proc that shows the PID namespace of the caller; for root the settings are read-only.

    Others cannot write them anyway, and covering them would keep a user from mounting a /proc
    in a user namespace of their own (fs/namespace.c, mnt_already_visible): bwrap, bazel.
    """
    mount("proc", "/proc", "proc", _INERT)
    for path in _KERNEL_SETTINGS if uid == 0 else ():
        if os.path.exists(path):
            mount(path, path, None, MountFlags.BIND)
            _make_read_only(path)


def mount_message_queues() -> None:
    """The POSIX message queues of the job's own IPC namespace: a mount shows its maker's."""
    if _is_directory("/dev/mqueue"):
        mount("mqueue", "/dev/mqueue", "mqueue", _INERT)


def mount_sys(*, own_network: bool) -> None:
    """A read-only /sys of the job's network, and its own cgroup as the whole cgroup tree.

    On a hybrid host this also covers the v1 hierarchies. The file systems below the host's
    /sys (debugfs, tracefs, bpf, efivars) are not put back.
    """
    if own_network:
        mount("sysfs", "/sys", "sysfs", _INERT)
    else:
        # There is one sysfs for each network namespace, and mounting it over itself is
        # EBUSY; a bind without what is mounted below comes to the same.
        mount("/sys", "/sys", None, MountFlags.BIND)
    _make_read_only("/sys")
    if os.path.isdir("/sys/fs/cgroup"):
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", _INERT)
        _make_read_only("/sys/fs/cgroup")


def _make_read_only(target: str) -> None:
    # As a property of this mount: asked for when mounting it would be one of the superblock,
    # which cgroup2 and the host's sysfs share with the host.
    mount(None, target, None, MountFlags.REMOUNT | MountFlags.BIND | _READ_ONLY)


def mount_private_directories(uid: int, gid: int) -> None:
    """Empty ones over /tmp, /dev/shm and /run/user, with a runtime directory for the user."""
    for place in PRIVATE_DIRECTORIES:
        if not _is_directory(place):
            continue
        mode = "0755" if place == "/run/user" else "1777"
        mount("tmpfs", place, "tmpfs", _SAFE, f"mode={mode}")
    if _is_directory("/run/user"):
        own = f"/run/user/{uid}"
        os.mkdir(own, 0o700)
        os.chown(own, uid, gid)


def _is_directory(path: str) -> bool:
    """Not so for a link: a mount would land wherever it points."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def restore_working_directory(directory: WorkingDirectory) -> None:
    """Put a directory that a private one covers back at its own path."""
    if directory.fd is None:
        return
    os.makedirs(directory.path, 0o755, exist_ok=True)
    move_mount(directory.fd, directory.path)
    os.close(directory.fd)
