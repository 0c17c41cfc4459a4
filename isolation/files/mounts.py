"""What a job's mount namespace has of the kernel's and of its own: /proc, /sys, private places.

Called in the payload between its fork and its exec, as root, in a mount namespace that
nobody else uses, on names fixed here. Lean. Never called in the host's mount namespace.
/dev is `isolation.files.dev_nodes`'s, the tree below all of it `isolation.files.tree`'s.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from isolation.syscalls.mounts import MountFlags, mount

# World-writable places and the per-user sockets: what a job leaves in them, or finds there,
# must not cross its border. /run/user holds the user's D-Bus, over which a job could ask
# the user's own systemd to start a process outside of every limit.
PRIVATE_DIRECTORIES: Final = ("/tmp", "/dev/shm", "/run/user")  # noqa: S108 - the private ones

SAFE: Final = MountFlags.NOSUID | MountFlags.NODEV
INERT: Final = SAFE | MountFlags.NOEXEC
READ_ONLY: Final = INERT | MountFlags.RDONLY
_PAGE: Final = 4096

# Writing them takes uid 0 and no capability: core_pattern alone would let a job of root run
# a program outside of every limit, and sysrq-trigger would end the host.
_KERNEL_SETTINGS: Final = (
    "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs",
)  # fmt: skip
# What the kernel tells of the machine and of other processes' work: those that container
# engines hide, and the keys of whoever started runnerd.
_TELLTALE_FILES: Final = (
    "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug",
    "/proc/latency_stats", "/proc/kmsg",
)  # fmt: skip
_TELLTALE_DIRECTORIES: Final = (
    "/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip


def make_private() -> None:
    """Nothing mounted from here on appears on the host, nor the other way round."""
    mount(None, "/", None, MountFlags.REC | MountFlags.PRIVATE)


def is_directory(path: str) -> bool:
    """Not so for a link: a mount would land wherever it points."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def make_mount_points() -> None:
    """What a job's tree needs in order to be one, the root's owner's; for a tree of its own.

    Raises OSError: ENOTDIR where a foreign tree has something else at these names.
    """
    owner = os.stat("/")
    for path in ("/proc", "/sys", "/dev", "/tmp", "/run", "/run/user"):  # noqa: S108 - private
        try:
            if is_directory(os.path.dirname(path)):
                _make_directory(path, owner.st_uid, owner.st_gid)
        except FileExistsError:
            if path in {"/proc", "/sys", "/dev"} and not is_directory(path):
                raise NotADirectoryError(
                    errno.ENOTDIR, "a root tree needs a directory there", path
                ) from None
        except OSError as error:
            # A host's tree that is shown read-only has what it needs; /run/user is an extra.
            if error.errno != errno.EROFS or path in {"/proc", "/sys", "/dev"}:
                raise


def _make_directory(path: str, uid: int, gid: int) -> None:
    # By descriptor: where changes are kept, their user can put something else in its place.
    os.mkdir(path, 0o755)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    os.fchown(fd, uid, gid)
    os.close(fd)


def mount_proc(*, masked: bool) -> None:
    """A /proc that shows the PID namespace of the caller; `masked` covers its sensitive parts.

    An ordinary user cannot write the settings anyway, nor read the worst of the rest, and
    covering anything would keep the user from mounting a /proc in a user namespace of their
    own (fs/namespace.c, mnt_already_visible): bwrap, bazel. So in a host tree it stays whole.
    """
    mount("proc", "/proc", "proc", INERT)
    for path in _KERNEL_SETTINGS if masked else ():
        if os.path.exists(path):
            mount(path, path, None, MountFlags.BIND)
            make_read_only(path)


def mask() -> None:
    """Cover what tells of the machine, in /proc and /sys; /dev/null must be there by now."""
    for path in _TELLTALE_FILES:
        if os.path.exists(path):
            mount("/dev/null", path, None, MountFlags.BIND)
    # By one empty directory for all; a bind mount has the flags of the first mount.
    empty = None
    for path in filter(is_directory, _TELLTALE_DIRECTORIES):
        if empty is None:
            mount("tmpfs", path, "tmpfs", READ_ONLY, "size=4k,mode=555")
            empty = path
        else:
            mount(empty, path, None, MountFlags.BIND)


def mount_sys(*, fresh: bool) -> None:
    """A read-only /sys of the job's network, and its own cgroup as the whole cgroup tree.

    `fresh`: not over the host's /sys of the same network. On a hybrid host this also covers
    the v1 hierarchies. The file systems below the host's /sys (debugfs, tracefs, bpf,
    efivars) are not put back.
    """
    if fresh:
        mount("sysfs", "/sys", "sysfs", INERT)
    else:
        # There is one sysfs for each network namespace, and mounting it over itself is
        # EBUSY; a bind without what is mounted below comes to the same.
        mount("/sys", "/sys", None, MountFlags.BIND)
    make_read_only("/sys")
    if os.path.isdir("/sys/fs/cgroup"):
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", INERT)
        make_read_only("/sys/fs/cgroup")


def make_read_only(target: str) -> None:
    """The mount there becomes read-only and inert, whatever the file system behind it is."""
    # As a property of this mount: asked for when mounting it would be one of the superblock,
    # which cgroup2 and the host's sysfs share with the host.
    mount(None, target, None, MountFlags.REMOUNT | MountFlags.BIND | READ_ONLY)


def mount_memory(target: str, mode: str, size: int | None) -> None:
    """An empty directory in memory, of at most `size` bytes (None: half of the machine's)."""
    mount("tmpfs", target, "tmpfs", SAFE, memory_options(mode, size))


def memory_options(mode: str, size: int | None) -> str:
    """Options of a tmpfs for mount(2); 0 bytes would mean no bound. tmpfs(5)."""
    return f"mode={mode}" if size is None else f"mode={mode},size={max(size, _PAGE)}"


def make_runtime_directory(name: int, uid: int, gid: int) -> None:
    """/run/user/NAME, which nobody but the job's user may enter."""
    own = f"/run/user/{name}"
    os.mkdir(own, 0o700)
    os.chown(own, uid, gid)
