"""The file tree that a job sees, from what it was asked to be. Lean.

Theory of operation. `open` runs first, with the user's file identity: everything that the
user named on the host is opened then, and only then, and known by its descriptor from there
on. `build` runs as root in the job's mount namespace: it copies those mounts, makes the
tree (host: as it is; readonly: every mount of it read-only; overlay, root: one of its own,
entered by pivot_root), and lays over it what each job has to itself and what it asked for.
Targets in the tree are found with the job's rights (`isolation.files.places`). `enter` and
`landlock_paths` run as the job. Nothing here forks but for a tar archive (`files.unpack`).

User namespaces: `idmap_fd` shows the submitter's files as those of the job's root, in the
working directory, binds, lower layers and kept changes. A path of the user's own whose file
system cannot do that is refused; layers are left as they are, with the rights that others
have there. Root has no such map: a stranger's program would own all that is root's. Whatever
is not shown so is read-only: the job's ids are another job's later, and no disk may hold them.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation.files import confinement, dev_nodes, host_mounts, mounts
from isolation.files.clones import SAFE, IdMap, clone, clone_one
from isolation.files.covers import SECRETS, Bind, Cover, Covers, Hidden, Memory, normal
from isolation.files.overlays import Stage
from isolation.files.own_roots import ForeignRoot, HostOverlay, OwnRoot, overlaid_copy
from isolation.files.places import Identity, Places
from isolation.files.user_paths import (
    Device,
    Opened,
    open_device,
    open_directory,
    open_existing,
    open_source,
    read_secret,
    refusal,
)
from isolation.syscalls.effective import lay_aside, take_up
from isolation.syscalls.mounts import MountAttributes, mount_setattr, move_mount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SECRETS", "Tree", "Wanted"]

# Below these a working directory is put back. Not below /run/user: see isolation.files.mounts.
_PUT_BACK: Final = (b"/tmp/", b"/dev/shm/")
_ALL_DEVICES: Final = b"all"
_NONE: Final = MountAttributes(0)
_ROOTS_USERNS: Final = (
    "with a user namespace a job of root cannot keep changes: the disk would hold files of ids "
    "that are another job's later; submit it as an ordinary user"
)
_PRIVATE_CWD: Final = (
    "changes below /tmp and /dev/shm cannot be kept: use a working directory elsewhere"
)
_NOT_KEPT: Final = (
    "changes of this working directory cannot be kept: its file system must not be an overlay "
    "itself or one of a network that forbids it, and the directory for the changes must be on a "
    "local disk or in memory, and on no overlay"
)


class Wanted(NamedTuple):
    """What the tree is to be. `sandbox` is that of `runner.spec.sandbox`.

    The ids are the submitter's. `scratch_bytes` bounds /tmp, /dev/shm and the changes of an
    overlay, each. `files` are contents over paths of the tree, such as /etc/resolv.conf.
    `cwd` is of the host, or of the foreign root. With a user namespace, `ids` are the host's
    ids of its root, and `idmap_fd` shows the submitter's files as that one's (never root's).
    """

    sandbox: Mapping[str, Any]
    uid: int
    gid: int
    groups: Sequence[int]
    cwd: bytes
    scratch_bytes: int | None
    own_network: bool
    idmap_fd: int | None
    files: Mapping[bytes, bytes]
    ids: Sequence[int] | None = None


class _Source(NamedTuple):
    """A bind before its source is copied."""

    opened: Opened
    target: bytes
    read_only: bool


class Tree:
    """Open, build, enter, and ask for the paths of Landlock: in this order, once each.

    Every method raises OSError with the path that it failed on and what to do in its text;
    then nothing may be executed.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._mode: str = wanted.sandbox["filesystem"]
        self._root = self._own_root()
        self._cwd = Opened(wanted.cwd, -1, is_directory=True)
        self._writable: list[Opened] = []
        self._sources: list[_Source] = []
        self._devices: list[Device] = []
        self._secrets: dict[bytes, bytes] = {}
        self._put_back: list[tuple[Opened, int]] = []

    def _own_root(self) -> OwnRoot | None:
        sandbox = self._wanted.sandbox
        if self._mode == "overlay":
            return HostOverlay(sandbox["keep_changes"], self._wanted.uid)
        if self._mode == "root":
            return ForeignRoot(sandbox["root"], sandbox["keep_changes"], self._wanted.uid)
        return None

    # As the user

    def open(self) -> None:
        """Open everything that the user named on the host. The caller has the user's identity."""
        if self._wanted.uid == 0:
            self._open_all()
            return
        # CAP_SYS_PTRACE opens files of /proc that no file identity would.
        effective = lay_aside()
        try:
            self._open_all()
        finally:
            take_up(effective)

    def _open_all(self) -> None:
        sandbox = self._wanted.sandbox
        if self._mode != "root":
            self._cwd = open_directory(self._wanted.cwd)
        if self._is_read_only():
            self._writable = [open_existing(path) for path in sandbox["writable"]]
        self._require_keeping()
        if self._root is not None:
            self._root.open()
        self._sources = [_Source(open_source(it[0]), it[1], it[2]) for it in sandbox["binds"]]
        named = [device for device in sandbox["devices"] if device != _ALL_DEVICES]
        self._devices = [] if self._all_devices() else [open_device(path) for path in named]
        self._secrets = {name.encode(): read_secret(path) for name, path in sandbox["secrets"]}

    def _is_read_only(self) -> bool:
        in_userns = self._wanted.ids is not None
        return self._mode == "readonly" or (self._mode == "host" and in_userns)

    def _require_keeping(self) -> None:
        """Refuse changes that are to be kept and would not be, or not as they should."""
        keep, wanted = self._wanted.sandbox["keep_changes"], self._wanted
        if keep is None:
            return
        if wanted.ids is not None and wanted.idmap_fd is None:
            raise refusal(errno.EINVAL, keep, _ROOTS_USERNS)
        if self._mode == "overlay" and _is_put_back(self._cwd):
            raise refusal(errno.EINVAL, self._cwd.path, _PRIVATE_CWD)

    def _all_devices(self) -> bool:
        return any(path.partition(b":")[0] == _ALL_DEVICES for path in self._devices_wanted())

    def _devices_wanted(self) -> Sequence[bytes]:
        wanted: Sequence[bytes] = self._wanted.sandbox["devices"]
        return wanted

    # As root, in the job's mount namespace

    def build(self) -> None:
        """Make all mounts. The network and the other namespaces of the job are entered already."""
        umask = os.umask(0)
        try:
            self._build()
        finally:
            os.umask(umask)

    def _build(self) -> None:
        wanted = self._wanted
        uid, gid = wanted.ids or (wanted.uid, wanted.gid)
        groups = () if wanted.ids else wanted.groups
        places = Places(Identity(uid, gid, groups))
        binds = self._copy_binds()
        devices = [Device(device.name, clone_one(device.fd)) for device in self._devices]
        host_dev = self._host_dev()
        self._make_root(places, (uid, gid))
        self._mount_own(places, (uid, gid), devices, host_dev)
        self._restore(places)
        self._mount_kernels_own()
        covers = Covers(places, uid, gid)
        covers.lay_files(wanted.files)
        covers.lay([*self._memory_and_hidden(), *binds])
        covers.lay_secrets(self._secrets)

    def _copy_binds(self) -> list[Bind]:
        table = host_mounts.read() if self._sources else []
        return [self._copy_bind(source, table) for source in self._sources]

    def _copy_bind(self, source: _Source, table: list[host_mounts.HostMount]) -> Bind:
        opened = source.opened
        host_mounts.require_ordinary(opened.path, opened.fd, table)
        attributes = SAFE | (MountAttributes.RDONLY if source.read_only else _NONE)
        copy = clone(opened, attributes, self._idmap())
        return Bind(copy, source.target, opened.is_directory)

    def _idmap(self) -> IdMap | None:
        wanted = self._wanted
        return None if wanted.ids is None else IdMap(wanted.idmap_fd, wanted.uid)

    def _host_dev(self) -> int | None:
        wants = self._all_devices() and self._root is not None
        return dev_nodes.copy_host() if wants else None

    def _make_root(self, places: Places, owner: tuple[int, int]) -> None:
        if self._root is not None:
            self._enter_own_root(self._root, places, owner)
        elif self._is_read_only():
            self._make_read_only()
        elif _is_put_back(self._cwd):
            self._put_over(self._cwd, clone(self._cwd, _NONE, None))

    def _enter_own_root(self, root: OwnRoot, places: Places, owner: tuple[int, int]) -> None:
        wanted = self._wanted
        stage = Stage(wanted.scratch_bytes, owner, wanted.idmap_fd, places.identity)
        if self._mode == "overlay" and _is_put_back(self._cwd):
            self._put_back.append((self._cwd, overlaid_copy(stage, self._cwd)))
        root.build(stage)
        for number in stage.device_numbers:
            places.add_own_device(number)
        self._require_kept()
        mounts.make_mount_points()

    def _require_kept(self) -> None:
        """Refuse a working directory whose file system had to be shown read-only."""
        if self._mode != "overlay" or self._wanted.sandbox["keep_changes"] is None:
            return
        with suppress(FileNotFoundError):
            if os.statvfs(self._cwd.path).f_flag & os.ST_RDONLY:
                raise refusal(errno.EINVAL, self._cwd.path, _NOT_KEPT)

    def _make_read_only(self) -> None:
        """Every mount of the tree, but copies of what stays writable, put where they came from."""
        if self._mode == "readonly" and any(opened.path == b"/" for opened in self._writable):
            raise refusal(errno.EINVAL, b"/", "all of it writable is what the file system host is")
        kept = [opened for opened in (self._cwd, *self._writable) if opened.path != b"/"]
        copies = [(opened, clone(opened, _NONE, self._idmap())) for opened in kept]
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mount_setattr(root, MountAttributes.RDONLY, recursive=True)
        os.close(root)
        for opened, copy in copies:
            self._put_over(opened, copy)

    def _put_over(self, opened: Opened, copy: int) -> None:
        """Now, or once there is a private directory that would cover it."""
        if _is_put_back(opened):
            self._put_back.append((opened, copy))
            return
        move_mount(copy, opened.fd)
        os.close(copy)

    def _mount_own(
        self,
        places: Places,
        owner: tuple[int, int],
        devices: Sequence[Device],
        host_dev: int | None,
    ) -> None:
        sizes = self._private_sizes()
        shm_bytes = sizes[b"/dev/shm"]
        if self._all_devices():
            dev_nodes.keep_host(host_dev, shm_bytes)
        else:
            dev_nodes.mount_own(devices, shm_bytes)
        for path, mode in (("/tmp", "1777"), ("/run/user", "0755")):  # noqa: S108 - private
            if mounts.is_directory(path):
                mounts.mount_memory(path, mode, sizes[path.encode()])
        if mounts.is_directory("/run/user"):
            inside = self._wanted.uid if self._wanted.ids is None else 0
            mounts.make_runtime_directory(inside, *owner)
        for path in mounts.PRIVATE_DIRECTORIES:
            if mounts.is_directory(path):
                places.add_own(path)

    def _private_sizes(self) -> dict[bytes, int | None]:
        """A tmpfs that is asked for where a job has one anyway says how large that is."""
        sizes = {path.encode(): self._wanted.scratch_bytes for path in mounts.PRIVATE_DIRECTORIES}
        for path, size in self._wanted.sandbox["tmpfs"]:
            if normal(path) in sizes and size is not None:
                sizes[normal(path)] = size
        return sizes

    def _memory_and_hidden(self) -> list[Cover]:
        sandbox = self._wanted.sandbox
        private = self._private_sizes()
        bound = self._wanted.scratch_bytes
        memory = [
            Memory(path, bound if size is None else size)
            for path, size in sandbox["tmpfs"]
            if normal(path) not in private
        ]
        return [*memory, *(Hidden(path) for path in sandbox["hide"])]

    def _restore(self, places: Places) -> None:
        """Put what a private directory covers back at its own path."""
        for opened, copy in self._put_back:
            places.attach(copy, opened.path, directory=opened.is_directory)

    def _mount_kernels_own(self) -> None:
        wanted = self._wanted
        hidden = self._mode != "host" or wanted.ids is not None or wanted.uid == 0
        mounts.mount_proc(masked=hidden)
        mounts.mount_sys(fresh=wanted.own_network or self._root is not None)
        if hidden:
            mounts.mask()

    # As the job

    def enter(self) -> None:
        """Change into the working directory."""
        try:
            os.chdir(self._cwd.path)
        except FileNotFoundError:
            why = "no such directory in the job's own tree"
            raise refusal(errno.ENOENT, self._cwd.path, why) from None

    def landlock_paths(self) -> tuple[list[int], list[int]] | None:
        """What the job may read, and what it may change: O_PATH descriptors in its tree.

        None when neither readable nor writable paths nor a preset were asked for. Semantics:
        `isolation.files.confinement`.
        """
        return confinement.paths(self._wanted.sandbox, self._cwd.path)


def _is_put_back(opened: Opened) -> bool:
    return opened.path.startswith(_PUT_BACK)
