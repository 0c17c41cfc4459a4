"""Places of the job's own tree: found by the job's rights, made where the tree is its own. Lean.

Called in the payload, as root, when the tree's root is that of the process. A place is walked
without a single link and known by its descriptor from then on, so no name that is changed
meanwhile moves a mount. Sources are `isolation.files.user_paths`'s.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.files.user_paths import refusal
from isolation.syscalls import set_thread_file_identity
from isolation.syscalls.mounts import ResolveFlags, move_mount, openat2

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRICT: Final = ResolveFlags.IN_ROOT | ResolveFlags.NO_SYMLINKS | ResolveFlags.NO_MAGICLINKS
_IN_TREE: Final = ResolveFlags.IN_ROOT | ResolveFlags.NO_MAGICLINKS
_MUST_EXIST: Final = "it must exist: only overlay and root trees get missing targets made"
_HAS_LINK: Final = "a link is on the way: name the place that it leads to"
_DIRECTORY_MODE: Final = 0o755
_FILE_MODE: Final = 0o644


class Identity(NamedTuple):
    """The ids that the job has outside of any user namespace: they count for its permissions."""

    uid: int
    gid: int
    groups: Sequence[int]

    def __enter__(self) -> None:
        """From here on this thread's file accesses are the job's."""
        set_thread_file_identity(self.uid, self.gid, self.groups)

    def __exit__(self, *_: object) -> None:
        """And root's again."""
        set_thread_file_identity(0, 0, ())


class Places:
    """Finds and makes the targets of mounts in the tree that begins at "/".

    `own` holds the device numbers of file systems that are the job's alone: only there
    something missing is made, so that nothing is ever made on the host's.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._own: set[int] = set()

    def add_own(self, path: str | bytes | int) -> None:
        """The file system that this directory is on is thrown away with the job."""
        self._own.add(os.stat(path).st_dev)

    def add_own_device(self, number: int) -> None:
        """As `add_own`, by the number of its device."""
        self._own.add(number)

    def is_own(self, fd: int) -> bool:
        """Whether what is open here is on a file system of the job's alone."""
        return os.fstat(fd).st_dev in self._own

    def find(self, path: bytes) -> int:
        """An O_PATH descriptor of an existing place, reached with the job's rights.

        Raises OSError: ELOOP when a link is on the way, EINVAL for "..", ENOENT.
        """
        relative = b"/".join(_parts(path))
        with self.identity:
            return _open_in(_root(), relative, path, close=True)

    def find_or_make(self, path: bytes, *, directory: bool) -> int:
        """As `find`; what is missing is made, in the job's own file systems alone.

        Raises OSError: ENOTDIR or EISDIR when what is there is not of the kind.
        """
        try:
            fd = self.find(path)
        except FileNotFoundError:
            fd = self._make(path, directory=directory)
        if stat.S_ISDIR(os.fstat(fd).st_mode) == directory:
            return fd
        os.close(fd)
        if directory:
            raise refusal(errno.ENOTDIR, path, "a directory can only cover a directory")
        raise refusal(errno.EISDIR, path, "a file can only cover a file")

    def find_file(self, path: bytes) -> int:
        """A regular file for `path`, a name fixed by the daemon: links are followed in the tree.

        A link to nothing is replaced where the tree is the job's own.
        """
        try:
            fd = _follow(path, 0)
        except FileNotFoundError:
            self._remove_link(path)
            return self.find_or_make(path, directory=False)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise refusal(errno.EINVAL, path, "the job's tree has something else than a file there")

    def _remove_link(self, path: bytes) -> None:
        if not os.path.islink(path):
            return
        directory, name = os.path.split(path)
        parent = _follow(directory, os.O_DIRECTORY)
        try:
            if not self.is_own(parent):
                raise refusal(errno.ENOENT, path, f"it leads to nothing; {_MUST_EXIST}")
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def attach(self, mount_fd: int, path: bytes, *, directory: bool) -> None:
        """Put a detached mount at a place, and close its descriptor."""
        fd = self.find_or_make(path, directory=directory)
        try:
            move_mount(mount_fd, fd)
        except OSError as error:
            raise refusal(error.errno or errno.EIO, path, error.strerror or "") from None
        finally:
            os.close(fd)
            os.close(mount_fd)

    def _make(self, path: bytes, *, directory: bool) -> int:
        parts = _parts(path)
        fd = _root()
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            try:
                with self.identity:
                    below = _open_in(fd, part, path, close=False)
            except FileNotFoundError:
                self._make_one(fd, part, path, directory=directory or not is_last)
                below = _open_in(fd, part, path, close=False)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _make_one(self, parent: int, name: bytes, path: bytes, *, directory: bool) -> None:
        if not self.is_own(parent):
            raise refusal(errno.ENOENT, path, _MUST_EXIST)
        if directory:
            os.mkdir(name, _DIRECTORY_MODE, dir_fd=parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        # By descriptor, and a directory has no second name: where changes are kept, what the
        # user puts in its place meanwhile must not be given away.
        made = os.open(name, flags | os.O_CLOEXEC, _FILE_MODE, dir_fd=parent)
        # The owner of the directory around it could have made it.
        status = os.fstat(parent)
        os.fchown(made, status.st_uid, status.st_gid)
        os.close(made)


def _parts(path: bytes) -> list[bytes]:
    parts = [part for part in path.split(b"/") if part not in {b"", b"."}]
    if not parts or b".." in parts:
        raise refusal(errno.EINVAL, path, "a place below / without .. is needed")
    return parts


def _root() -> int:
    return os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _follow(path: bytes, flags: int) -> int:
    root = _root()
    try:
        return openat2(root, path, os.O_PATH | flags, _IN_TREE)
    finally:
        os.close(root)


def _open_in(fd: int, relative: bytes, path: bytes, *, close: bool) -> int:
    """`relative` of an open directory, which is closed if asked; errors name `path`."""
    try:
        return openat2(fd, relative, os.O_PATH, _STRICT)
    except OSError as error:
        why = _HAS_LINK if error.errno == errno.ELOOP else error.strerror or ""
        raise refusal(error.errno or errno.EIO, path, why) from None
    finally:
        if close:
            os.close(fd)
