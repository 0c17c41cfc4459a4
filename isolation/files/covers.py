"""What is laid over a job's tree: binds, memory, hidden places, files, secrets. Lean.

Called in the payload, as root, when the tree stands. Where something goes is found by
`isolation.files.places`; sources are detached mounts already.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.files.clones import INERT, SAFE, clone_one
from isolation.files.user_paths import refusal
from isolation.syscalls.mounts import (
    MountAttributes,
    detach_mount,
    mount_setattr,
    move_mount,
    new_mount,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isolation.files.places import Places

# In every mode a job has a private /dev/shm, and /dev/shm is the same for every user.
SECRETS: Final = b"/dev/shm/secrets"
_COVERED: Final = "secrets cannot go there: a bind or tmpfs of the job covers it"
# There in every tree, and the kernel's.
_ASIDE: Final = "/sys"
_READ_ONLY: Final = MountAttributes.RDONLY | INERT


class Bind(NamedTuple):
    """A detached mount and its target in the job's tree."""

    mount_fd: int
    target: bytes
    is_directory: bool


class Memory(NamedTuple):
    """An empty directory in memory at `target`, of at most `size` bytes; None: no own bound."""

    target: bytes
    size: int | None


class Hidden(NamedTuple):
    """A place of which the job sees nothing."""

    target: bytes


Cover = Bind | Memory | Hidden


class Covers:
    """Lays one thing after another over the tree that begins at "/"."""

    def __init__(self, places: Places, uid: int, gid: int) -> None:
        self._places = places
        self._owner = (uid, gid)

    def lay(self, covers: Sequence[Cover]) -> None:
        """All of them, what is above before what is below it. Raises OSError."""
        ordered = sorted(covers, key=lambda cover: normal(cover.target))
        targets = [normal(cover.target) for cover in ordered]
        hidden = []
        for cover in ordered:
            if isinstance(cover, Bind):
                self._places.attach(cover.mount_fd, cover.target, directory=cover.is_directory)
            elif isinstance(cover, Memory):
                self._lay_memory(cover)
            else:
                prefix = normal(cover.target) + b"/"
                is_way = any(target.startswith(prefix) for target in targets)
                hidden.append(self._hide(cover.target, is_way=is_way))
        # Not before everything below a hidden directory has got its place in it.
        for fd in hidden:
            mount_setattr(fd, _READ_ONLY)
            os.close(fd)

    def _lay_memory(self, cover: Memory) -> None:
        size = {} if cover.size is None else {"size": str(max(cover.size, 4096))}
        uid, gid = self._owner
        options = {"mode": "0755", "uid": str(uid), "gid": str(gid), **size}
        fd = new_mount("tmpfs", options, SAFE)
        self._places.add_own(fd)
        self._places.attach(fd, cover.target, directory=True)

    def _hide(self, target: bytes, *, is_way: bool) -> int:
        place = self._places.find(target)
        try:
            is_directory = stat.S_ISDIR(os.fstat(place).st_mode)
            cover = _empty_directory(is_way=is_way) if is_directory else _file(b"", 0o444)
            self._places.add_own(cover)
            move_mount(cover, place)
        finally:
            os.close(place)
        return cover

    def lay_files(self, files: Mapping[bytes, bytes]) -> None:
        """Contents over what these paths lead to in the job's tree, read-only. Raises OSError."""
        for path, content in files.items():
            place = self._places.find_file(path)
            cover = _file(content, 0o444)
            try:
                mount_setattr(cover, _READ_ONLY)
                move_mount(cover, place)
            finally:
                os.close(cover)
                os.close(place)

    def lay_secrets(self, secrets: Mapping[bytes, bytes]) -> None:
        """A read-only directory in memory that is never swapped, a file for each secret.

        For its owner alone, mode 0400. Raises OSError: EBUSY when the place is covered.
        """
        if not secrets:
            return
        # Not a tmpfs, whose pages can go to swap. ramfs(5) has no bound; the contents have one.
        fd = new_mount("ramfs", {"mode": "0555"}, INERT)
        for name, content in secrets.items():
            _write(fd, name, content, 0o400, self._owner)
        mount_setattr(fd, _READ_ONLY)
        try:
            self._places.attach(fd, SECRETS, directory=True)
        except FileNotFoundError:
            raise refusal(errno.EBUSY, SECRETS, _COVERED) from None


def normal(path: bytes) -> bytes:
    """Without doubled and trailing slashes and without "." ; for comparing."""
    return b"/" + b"/".join(part for part in path.split(b"/") if part not in {b"", b"."})


def _empty_directory(*, is_way: bool) -> int:
    mode = "0555" if is_way else "0000"
    return new_mount("tmpfs", {"mode": mode, "size": "64k"}, INERT)


def _file(content: bytes, mode: int) -> int:
    """A detached mount of one file in memory."""
    top = new_mount("tmpfs", {"mode": "0755"}, INERT)
    try:
        _write(top, b"file", content, mode, (0, 0))
        # Kernels before 6.15 copy nothing that is detached itself.
        move_mount(top, _ASIDE)
        fd = os.open(b"file", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        try:
            return clone_one(fd)
        finally:
            os.close(fd)
            detach_mount(_ASIDE)
    finally:
        os.close(top)


def _write(directory: int, name: bytes, content: bytes, mode: int, owner: tuple[int, int]) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    fd = os.open(name, flags, mode, dir_fd=directory)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
        os.fchown(fd, *owner)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
