"""Trees that are the job's own: the host's as a lower layer, or a foreign root. Lean.

`open` runs with the user's file identity and decides which parts of the host a job sees: those
that the user can reach. `build` makes the tree on a stage and enters it (`files.overlays`).
What every tree gets afterwards (/proc, /dev, binds ...) is `isolation.files.tree`'s.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Protocol

from isolation.files import host_mounts
from isolation.files.clones import clone_one
from isolation.files.overlays import UPPER, WORK, Layer, Stage, Upper
from isolation.files.root_images import Image, mount_squashfs, mount_unpacked, open_image
from isolation.files.unpack import unpack
from isolation.files.user_paths import Opened, make_beneath, open_own_directory, refusal
from isolation.syscalls.mounts import AT_FDCWD, ResolveFlags, openat2

if TYPE_CHECKING:
    from collections.abc import Sequence

# Made anew in each tree, or private in it.
_REPLACED: Final = (b"/proc", b"/sys", b"/dev", b"/tmp", b"/run/user")
_STRICT: Final = ResolveFlags.NO_SYMLINKS | ResolveFlags.NO_MAGICLINKS
_NO_OVERLAY: Final = (
    "an overlay cannot be made: the changes' directory must be on a local disk or in memory, and "
    "not on an overlay itself; the tree below no network file system of a kind that forbids it, "
    "and no overlay where changes are kept"
)


class OwnRoot(Protocol):
    """A tree that the process enters; the host's is gone then."""

    def open(self) -> None:
        """Open what it is made of, as the user. Raises OSError."""

    def build(self, stage: Stage) -> None:
        """Make it on the stage and enter it. Raises OSError."""


class _Kept:
    """Where changes go: memory, or a directory of the user's own.

    DIR/upper then holds what changed in the format of overlayfs, with the owners that the
    files had, DIR/work is the overlay's own. For the mount of another disk at /mnt/disk that
    is DIR/mounts/mnt%2Fdisk/upper and work. A later job with the same DIR goes on from there.
    """

    def __init__(self, path: bytes | None, uid: int) -> None:
        self._path = path
        self._uid = uid
        self.is_wanted = path is not None
        self._directory: Opened | None = None

    def open(self) -> None:
        if self._path is not None:
            self._directory = self._prepared(open_own_directory(self._path, self._uid))

    def below(self, points: Sequence[bytes]) -> dict[bytes, Opened]:
        """Directories for the changes below these mounts; none when they are not kept."""
        if self._directory is None or not points:
            return {}
        mounts = self._open_below(self._directory, b"mounts")
        return {point: self._prepared(self._open_below(mounts, _quoted(point))) for point in points}

    def _open_below(self, directory: Opened, name: bytes) -> Opened:
        make_beneath(directory, name)
        fd = openat2(directory.fd, name, os.O_PATH | os.O_DIRECTORY, _STRICT | ResolveFlags.BENEATH)
        if os.fstat(fd).st_uid != self._uid:
            raise refusal(errno.EPERM, directory.path + b"/" + name, "it belongs to somebody else")
        return Opened(directory.path + b"/" + name, fd, is_directory=True)

    def _prepared(self, directory: Opened) -> Opened:
        make_beneath(directory, UPPER)
        make_beneath(directory, WORK)
        return directory

    def upper(self, stage: Stage) -> Upper | None:
        return None if self._directory is None else stage.kept(self._directory)


def _quoted(point: bytes) -> bytes:
    """A mount point as one name of a directory."""
    return point.strip(b"/").replace(b"%", b"%25").replace(b"/", b"%2F")


class HostOverlay:
    """The host's tree, as the user can reach it; what the job changes is its own."""

    def __init__(self, keep: bytes | None, uid: int) -> None:
        self._kept = _Kept(keep, uid)
        self._root = -1
        self._layers: list[Layer] = []
        self._uppers: dict[bytes, Opened] = {}

    def open(self) -> None:
        """The root, and each mount below it that the user can reach."""
        self._kept.open()
        self._root = openat2(AT_FDCWD, b"/", os.O_PATH | os.O_DIRECTORY, _STRICT)
        self._layers = _reachable(host_mounts.read())
        self._uppers = self._kept.below([it.point for it in self._layers if it.is_directory])

    def build(self, stage: Stage) -> None:
        """An overlay for each mount, or a read-only copy where it cannot be a layer."""
        root = stage.directory()
        if self._kept.is_wanted:
            stage.show_root(self._root, root, self._kept.upper(stage))
        else:
            _overlay(stage, stage.mapped(self._root), root, None)
        for layer in self._layers:
            kept = self._uppers.get(layer.point)
            upper = None if kept is None else stage.kept(kept)
            stage.show(layer, root, upper)
        stage.enter(root)


def _reachable(table: Sequence[host_mounts.HostMount]) -> list[Layer]:
    """The mounts that a job's tree consists of besides the root, outer ones first.

    What the user cannot reach is left out, and what another mount covers.
    """
    wanted = {it.point: it for it in table if _is_shown(it)}
    layers = []
    for point in sorted(wanted):
        try:
            fd = openat2(AT_FDCWD, point, os.O_PATH, _STRICT)
        except OSError:
            continue
        if host_mounts.mount_id_of(fd) == wanted[point].mount_id:
            layers.append(Layer(point, fd, stat.S_ISDIR(os.fstat(fd).st_mode)))
        else:
            os.close(fd)
    return layers


def _is_shown(mount: host_mounts.HostMount) -> bool:
    point = mount.point
    return (
        point != b"/"
        and mount.fstype not in host_mounts.NOT_FOR_OVERLAYS
        and not any(point == top or point.startswith(top + b"/") for top in _REPLACED)
    )


class ForeignRoot:
    """A root from a directory, an archive or an image; it stays as it was given."""

    def __init__(self, path: bytes, keep: bytes | None, uid: int) -> None:
        self._path = path
        self._uid = uid
        self._kept = _Kept(keep, uid)
        self._image: Image | None = None

    def open(self) -> None:
        """The image, and the directory for changes."""
        self._image = open_image(self._path, self._uid)
        self._kept.open()

    def build(self, stage: Stage) -> None:
        """Unpack or mount what was given, and put an overlay on it where it has to last."""
        image = self._image
        assert image is not None  # noqa: S101 - `open` comes first
        if image.kind == "directory":
            root = self._layered(stage, stage.mapped(image.fd))
        elif image.kind == "squashfs":
            target = stage.directory()
            mount_squashfs(image, target)
            root = self._layered(stage, stage.mapped(_path_fd(target)))
        else:
            root = self._unpacked(stage, image)
        stage.enter(root)

    def _unpacked(self, stage: Stage, image: Image) -> str:
        """In memory of its own, which can be the root itself unless changes are kept apart."""
        target = stage.directory()
        mount_unpacked(target, *stage.owner, stage.size)
        unpack(image.fd, image.path, target, *stage.owner)
        if self._kept.is_wanted:
            return self._layered(stage, _path_fd(target))
        stage.device_numbers.append(os.stat(target).st_dev)
        return target

    def _layered(self, stage: Stage, lower: int) -> str:
        root = stage.directory()
        _overlay(stage, lower, root, self._kept.upper(stage))
        return root


def overlaid_copy(stage: Stage, opened: Opened) -> int:
    """A detached overlay of a directory of the host, for another place of the tree."""
    target = stage.directory()
    _overlay(stage, stage.mapped(opened.fd), target, None)
    fd = _path_fd(target)
    try:
        return clone_one(fd)
    finally:
        os.close(fd)


def _path_fd(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _overlay(stage: Stage, lower: int, target: str, upper: Upper | None) -> None:
    try:
        stage.overlay(lower, target, upper)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise refusal(errno.EINVAL, os.readlink(b"/proc/self/fd/%d" % lower), _NO_OVERLAY) from None
    stage.device_numbers.append(os.stat(target).st_dev)
