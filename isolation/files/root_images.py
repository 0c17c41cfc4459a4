"""A foreign root: from a directory, a tar archive or a squashfs image. Lean.

`open_image` runs with the user's file identity, `mount_squashfs` and `mount_unpacked` as root in
the payload, on the stage of `isolation.files.overlays`. A tar archive is never read by a process
with privileges: that is `isolation.files.unpack`'s child. What is given is never changed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from typing import Final, NamedTuple

from isolation.files.mounts import SAFE, memory_options
from isolation.files.user_paths import (
    Opened,
    open_existing,
    open_readable_file,
    open_source,
    refusal,
)
from isolation.syscalls.mounts import MountFlags, mount

SQUASHFS_MAGIC: Final = b"hsqs"
_READ_ONLY_IMAGE: Final = SAFE | MountFlags.RDONLY

# linux/loop.h
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_READ_ONLY: Final = 1
_AUTOCLEAR: Final = 4
# struct loop_config: u32 fd, u32 block_size, struct loop_info64 (232 bytes, lo_flags at its
# byte 52), u64 reserved[8].
_CONFIG_BYTES: Final = 304
_FLAGS_AT: Final = 8 + 52
_TRIES: Final = 64

_HOSTILE_IMAGE: Final = (
    "the kernel would have to trust this squashfs image: it must belong to root, and nobody else "
    "may write it; or unpack it into a directory"
)


class Image(NamedTuple):
    """What a foreign root is made of: `kind` is directory, tar or squashfs."""

    path: bytes
    fd: int
    kind: str


def open_image(path: bytes, uid: int) -> Image:
    """Open it as the user `uid`, whose identity the caller has. Raises OSError.

    A file system is parsed by the kernel, where a crafted one can do anything. So an image is
    mounted for root, or when only root can have made it what it is.
    """
    opened: Opened = open_existing(path)
    os.close(opened.fd)
    if opened.is_directory:
        return Image(path, open_source(path).fd, "directory")
    fd = open_readable_file(path)
    if os.pread(fd, len(SQUASHFS_MAGIC), 0) != SQUASHFS_MAGIC:
        return Image(path, fd, "tar")
    status = os.fstat(fd)
    others_may_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if uid != 0 and (status.st_uid != 0 or others_may_write):
        raise refusal(errno.EPERM, path, _HOSTILE_IMAGE)
    return Image(path, fd, "squashfs")


def mount_squashfs(image: Image, target: str) -> None:
    """Mount an image on a directory of the stage. Raises OSError.

    By a loop device that frees itself with the mount.
    """
    loop, device = _attach_loop(image)
    try:
        mount(device, target, "squashfs", _READ_ONLY_IMAGE)
    except OSError as error:
        reasons = {
            errno.ENODEV: "this kernel has no squashfs",
            errno.EINVAL: "it is damaged, or compressed in a way that this kernel cannot read",
        }
        why = reasons.get(error.errno or 0, error.strerror or "")
        raise refusal(error.errno or errno.EIO, image.path, why) from None
    finally:
        os.close(loop)


def _attach_loop(image: Image) -> tuple[int, str]:
    """A free loop device that shows the image, opened, and its name."""
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        why = "a squashfs image needs loop devices, which this host lacks (modprobe loop)"
        raise refusal(error.errno or errno.ENODEV, image.path, why) from None
    try:
        for _ in range(_TRIES):
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            loop = _configure(device, image.fd)
            if loop is not None:
                return loop, device
    finally:
        os.close(control)
    raise refusal(errno.EBUSY, image.path, "no loop device is free")


def _configure(device: str, image_fd: int) -> int | None:
    """The open device, or None when somebody else was faster. LOOP_CONFIGURE, loop(4)."""
    config = bytearray(_CONFIG_BYTES)
    config[0:4] = image_fd.to_bytes(4, sys.byteorder)
    config[_FLAGS_AT : _FLAGS_AT + 4] = (_READ_ONLY | _AUTOCLEAR).to_bytes(4, sys.byteorder)
    loop = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(loop, _LOOP_CONFIGURE, bytes(config))
    except OSError as error:
        os.close(loop)
        if error.errno != errno.EBUSY:
            raise
        return None
    return loop


def mount_unpacked(target: str, uid: int, gid: int, size: int | None) -> None:
    """Room in memory for what a tar archive holds, which belongs to who unpacks it."""
    options = f"{memory_options('755', size)},uid={uid},gid={gid}"
    mount("tmpfs", target, "tmpfs", SAFE, options)
