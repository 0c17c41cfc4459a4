"""A tree of the job's own out of overlays: built below a stage, entered by pivot_root. Lean.

Called in the payload, as root, in the job's mount namespace. Lower layers come in as open
descriptors (`isolation.files.tree` opened them as the user); what changes goes to memory or to a
directory of the user. After `enter` nothing of the host's tree is mounted for the job but as
a lower layer of an overlay, which is never written. See Documentation/filesystems/overlayfs.

What kept changes must not become: the kernel asks for the job's rights on what an overlay
shows, and for its mounter's, root's, on the lower layers. A directory is shown with owner and
mode of the upper layer, if that has one: so one that a user made in the kept changes would
open another's of the same name. Between the two goes an overlay whose mounter has the job's
rights (`_as_the_job_may`), or there is none, and the file system is read-only.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.files.idmaps import map_if_possible, map_or_refuse
from isolation.files.mounts import SAFE, is_directory, memory_options
from isolation.files.user_paths import Opened, open_beneath, refusal
from isolation.syscalls.mounts import (
    MountAttributes,
    MountFlags,
    OpenTreeFlags,
    ResolveFlags,
    detach_mount,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
    pivot_root,
)

if TYPE_CHECKING:
    from isolation.files.places import Identity

# In the job's mount namespace alone, and out of its sight with the old root.
_STAGE: Final = "/tmp"  # noqa: S108 - a mount point, nothing is shared there
UPPER: Final = b"upper"
WORK: Final = b"work"
_MEMORY_MODE: Final = "755"
_PERMISSIONS: Final = 0o1777
# Not what the distribution's kernel prefers: a kept directory has to be readable by every
# kernel, and nobody else's file must be reached by a redirect.
_OPTIONS: Final = "index=off,metacopy=off,redirect_dir=nofollow,xino=off"
_ACL: Final = "system.posix_acl_access"
_NO_ACL: Final = frozenset({errno.ENODATA, errno.EOPNOTSUPP})
_STRICT: Final = ResolveFlags.IN_ROOT | ResolveFlags.NO_SYMLINKS | ResolveFlags.NO_MAGICLINKS
# Of a file system that cannot be a layer, or lies too deep in overlays already.
_NO_LAYER: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES, errno.ELOOP})
_CLONE: Final = OpenTreeFlags.CLONE | OpenTreeFlags.CLOEXEC


class Layer(NamedTuple):
    """A part of the host that is shown at `point` of the job's tree; b"/" is the root itself."""

    point: bytes
    fd: int
    is_directory: bool


class Stage:
    """Where the new tree is put together.

    `size` bounds the throw-away changes in bytes, of each tmpfs. `identity` is the job's
    outside of its user namespace, `owner` its user and group, whose files `idmap_fd` makes
    of the submitter's.
    """

    def __init__(
        self, size: int | None, owner: tuple[int, int], idmap_fd: int | None, identity: Identity
    ) -> None:
        self.size = size
        self.owner = owner
        self._identity = identity
        self.device_numbers: list[int] = []
        self._idmap_fd = idmap_fd
        self._count = 0
        if not is_directory(_STAGE):
            raise NotADirectoryError(errno.ENOTDIR, "it has to be a directory", _STAGE)
        mount("tmpfs", _STAGE, "tmpfs", SAFE, memory_options(_MEMORY_MODE, size))

    def directory(self) -> str:
        """A new empty directory of the stage, in memory."""
        self._count += 1
        path = f"{_STAGE}/{self._count}"
        os.mkdir(path, 0o755)
        return path

    def attach(self, mount_fd: int) -> int:
        """Put a detached mount somewhere on the stage: kernels before 6.15 take no other layer."""
        move_mount(mount_fd, self.directory())
        return mount_fd

    def mapped(self, fd: int) -> int:
        """`fd`, or a copy of its mount in which the caller's files are the job's.

        Not so where the file system cannot be mapped: there the job has the rights of others.
        """
        if self._idmap_fd is None:
            return fd
        copy = open_tree(fd, _CLONE)
        if map_if_possible(copy, self._idmap_fd):
            return self.attach(copy)
        os.close(copy)
        return fd

    def overlay(self, lower: int, target: str, upper: Upper | None = None) -> None:
        """Mount an overlay of the open directory `lower`, with its own owner and mode.

        Raises OSError: EINVAL for file systems that cannot be layers.
        """
        upper = upper or self._upper_in_memory()
        try:
            _make_like(lower, upper)
            if upper.kept and self._identity.uid != 0:
                lower = self._as_the_job_may(lower)
            options = (
                f"lowerdir=/proc/self/fd/{lower},upperdir=/proc/self/fd/{upper.upper},"
                f"workdir=/proc/self/fd/{upper.work},{_OPTIONS}"
            )
            mount("overlay", target, "overlay", SAFE, options)
        finally:
            upper.close()

    def _as_the_job_may(self, lower: int) -> int:
        """`lower` as a read-only overlay in which the kernel asks for the job's rights.

        overlayfs keeps the credentials of its mounter, and asks for their rights on each
        lookup, readdir and open in its layers: also for root, when it copies up. The file
        identity of another takes from them what root may do with files (credentials(7),
        "setfsuid"), and leaves what mounting needs.
        """
        empty, target = self.directory(), self.directory()
        options = f"lowerdir={empty}:/proc/self/fd/{lower},{_OPTIONS}"
        with self._identity:
            mount("overlay", target, "overlay", SAFE | MountFlags.RDONLY, options)
        return os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _upper_in_memory(self) -> Upper:
        place = os.open(self.directory(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in (UPPER, WORK):
            os.mkdir(name, 0o755, dir_fd=place)
        return _upper_of(place, os.fsencode(_STAGE), kept=False)

    def kept(self, directory: Opened) -> Upper:
        """The upper layer in a directory of the user. Raises OSError.

        The names in it can change at any time: they are opened once, and never a link. Both
        directories stay the user's, and so is the root of the job's tree then.
        """
        place = open_tree(directory.fd, _CLONE)
        mount_setattr(place, MountAttributes.NOSUID | MountAttributes.NODEV)
        if self._idmap_fd is not None:
            map_or_refuse(place, self._idmap_fd, directory.path)
        opened = _upper_of(self.attach(place), directory.path, kept=True)
        for name, fd in ((UPPER, opened.upper), (WORK, opened.work)):
            if os.fstat(fd).st_uid != self._identity.uid:
                path = directory.path + b"/" + name
                raise refusal(errno.EPERM, path, "it belongs to somebody else")
        return opened

    def show(self, layer: Layer, root: str, upper: Upper | None) -> None:
        """Give a part of the host its place in the new tree: an overlay, or else read-only."""
        place = _open_in(root, layer.point)
        if place is None:
            # Gone, or a link by now: then there is nothing that it could be shown on.
            return
        is_own = self._show_at(layer, place, upper)
        # `place` is still what the overlay covers.
        covered = _open_in(root, layer.point) if is_own else None
        if covered is not None:
            self.device_numbers.append(os.fstat(covered).st_dev)
            os.close(covered)

    def show_root(self, fd: int, root: str, upper: Upper | None) -> None:
        """As `show`, for the root of the host's tree, at the directory `root` of the stage."""
        place = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._show_at(Layer(b"/", fd, is_directory=True), place, upper):
            self.device_numbers.append(os.stat(root).st_dev)

    def _show_at(self, layer: Layer, place: int, upper: Upper | None) -> bool:
        """Whether it is an overlay. `place` is closed."""
        try:
            is_own = layer.is_directory and self._overlaid(layer, place, upper)
            if not is_own:
                show_read_only(layer, place)
        finally:
            os.close(place)
        return is_own

    def _overlaid(self, layer: Layer, place: int, upper: Upper | None) -> bool:
        try:
            self.overlay(self.mapped(layer.fd), f"/proc/self/fd/{place}", upper)
        except OSError as error:
            if error.errno not in _NO_LAYER:
                raise
            return False
        return True

    def enter(self, root: str) -> None:
        """Make `root` the root of everything, and let go of the host's tree."""
        os.chdir(root)
        pivot_root(".", ".")
        # The old root lies on top of the new one now.
        detach_mount(".")
        os.chdir("/")


class Upper(NamedTuple):
    """Open directories for the changes and for the overlay's own work, of one mount."""

    upper: int
    work: int
    kept: bool

    def close(self) -> None:
        """The overlay has its own references."""
        os.close(self.upper)
        os.close(self.work)


def _open_in(root: str, point: bytes) -> int | None:
    """What lies at a place of the new tree, reached without a link; None when nothing does."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(top, point.lstrip(b"/"), os.O_PATH, _STRICT)
    except OSError:
        return None
    finally:
        os.close(top)


def _upper_of(place: int, path: bytes, *, kept: bool) -> Upper:
    upper = open_beneath(place, path, UPPER)
    return Upper(upper, open_beneath(place, path, WORK), kept)


def show_read_only(layer: Layer, place: int) -> None:
    """A read-only copy of the mount, for what cannot be a layer: files, some file systems."""
    copy = open_tree(layer.fd, _CLONE)
    safe = MountAttributes.RDONLY | MountAttributes.NOSUID | MountAttributes.NODEV
    try:
        mount_setattr(copy, safe)
        move_mount(copy, place)
    finally:
        os.close(copy)


def _make_like(model: int, upper: Upper) -> None:
    """Owner and mode of the upper layer become those of the open directory `model`.

    What is above everything is shown with those of the upper layer. A kept one stays the
    user's: chown(2) would let users make directories of root with contents of their own.
    """
    wanted, path = os.fstat(model), f"/proc/self/fd/{upper.upper}"
    if not upper.kept:
        os.chown(path, wanted.st_uid, wanted.st_gid)
    os.chmod(path, wanted.st_mode & _PERMISSIONS)
    _copy_acl(f"/proc/self/fd/{model}", path)


def _copy_acl(model: str, path: str) -> None:
    """The access control list, with which the group's bits mean something else. acl(5)."""
    try:
        entries = os.getxattr(model, _ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise
    else:
        os.setxattr(path, _ACL, entries)
