"""Whether a request's paths will do: questions for `isolation.caller.ask_as`. For the daemon.

They run with the user's identity and nothing else, and change nothing. A path is opened as
the job's payload will open it (`isolation.files.user_paths`), and closed again: what is found now
may be gone when the job starts, and is asked again then.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.device_filter import Device, device_of
from isolation.files import user_paths
from isolation.files.root_images import SQUASHFS_MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What a path has to be, in words for whoever named it.
SOURCE: Final = "a file or directory that {} may read"
OWN_DIRECTORY: Final = "an existing directory of {}'s own"
FILE: Final = "a file that {} may read"
DEVICE: Final = "a device node below /dev that {} may open"
EXISTING: Final = "an existing path that {} may reach"
TARGET: Final = "an existing path without links (only overlay and root trees get missing ones made)"


class Wanted(NamedTuple):
    """A path of a request, the field that named it, and what it has to be."""

    field: str
    path: bytes
    kind: str


class Wrong(NamedTuple):
    """Why one of them will not do."""

    wanted: Wanted
    why: str


def first_wrong(wanted: Sequence[Wanted], uid: int) -> Wrong | None:
    """The first path that is not what it should be for this user; None when all are."""
    openers: dict[str, Callable[[bytes], int]] = {
        SOURCE: lambda path: user_paths.open_source(path).fd,
        OWN_DIRECTORY: lambda path: user_paths.open_own_directory(path, uid).fd,
        FILE: user_paths.open_readable_file,
        DEVICE: lambda path: user_paths.open_device(path).fd,
        EXISTING: lambda path: user_paths.open_existing(path).fd,
        TARGET: lambda path: user_paths.open_target(path).fd,
    }
    for item in wanted:
        try:
            os.close(openers[item.kind](item.path))
        except OSError as error:
            return Wrong(item, error.strerror or str(error))
    return None


def device_at(path: bytes) -> Device:
    """The device of an entry such as `/dev/kvm:rw`, as the filter takes it. Raises OSError."""
    access = path.partition(b":")[2].decode("ascii") or "rw"
    fd = user_paths.open_device(path).fd
    try:
        return device_of(os.fstat(fd), access)
    finally:
        os.close(fd)


def is_image(path: bytes) -> bool:
    """Whether a path leads to a squashfs image. Raises OSError when it cannot be read."""
    opened = user_paths.open_source(path)
    os.close(opened.fd)
    if opened.is_directory:
        return False
    fd = user_paths.open_readable_file(path)
    try:
        return os.pread(fd, len(SQUASHFS_MAGIC), 0) == SQUASHFS_MAGIC
    finally:
        os.close(fd)


def read_text(path: bytes, most: int) -> bytes:
    """The content of a regular file. Raises OSError, also when it is longer than `most`."""
    fd = user_paths.open_readable_file(path)
    with open(fd, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise user_paths.refusal(errno.EFBIG, path, f"it is longer than {most} bytes")
    return data
