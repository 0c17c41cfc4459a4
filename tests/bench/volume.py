"""A file system of the benchmark's own, on which everybody's files lie. Mounts; measures nothing.

ext4 as mke2fs(8) makes it, with its journal, in a file, attached as a loop device in the mount
namespace that the caller is in. The root file system of a machine may be anything. One without a
journal makes every new file slow for minutes after others were deleted (`recently_deleted` in the
kernel's fs/ext4/ialloc.c looks for an inode that has rested): the benchmark would measure what it
threw away itself.

Nothing of it outlives the namespace, whatever ends the benchmark: the file has no name any more
once it is attached, and the kernel detaches it with its last mount (loop(4), LO_FLAGS_AUTOCLEAR).
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import Final

# Inodes for 100,000 jobs: mke2fs makes one for 16 KiB. A file with holes: it takes what is used.
BYTES: Final = 14 << 30
LEAST_BYTES: Final = 3 << 30
_SECONDS: Final = 120
# All of it at once: what the kernel would make later, it would make while something is measured.
_MAKE: Final = ("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0")


class VolumeError(RuntimeError):
    """A file system of its own cannot be had. The text says why."""


def make(directory: str) -> tuple[str, str]:
    """A mounted one below a directory: its path, and what it is, for whoever reads the result.

    Raises VolumeError; nothing is left then.
    """
    image, path = f"{directory}/ext4", f"{directory}/volume"
    try:
        _make_image(image, size_for(_free(directory)))
        os.makedirs(path)
        _run("mount", "-t", "ext4", "-o", "loop", image, path)
    except (OSError, VolumeError) as error:
        with suppress(OSError):
            os.rmdir(path)
        raise VolumeError(str(error)) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(image)
    return path, f"ext4 with a journal, made for the run: a loop device, {_direct(path)}"


def size_for(free: int) -> int:
    """How large it may be where so many bytes are free. Raises VolumeError: too few."""
    size = min(BYTES, free * 4 // 5 & ~0xFFFFF)
    if size < LEAST_BYTES:
        raise VolumeError(f"only {free >> 20} MiB are free")
    return size


def _free(directory: str) -> int:
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize


def _make_image(image: str, size: int) -> None:
    with open(image, "xb") as file:
        file.truncate(size)
    _run(*_MAKE, image)


def _direct(path: str) -> str:
    """Have the loop device pass the cache of the file below by: a page cached once is enough."""
    try:
        _run("losetup", "--direct-io=on", device_of(path))
    except VolumeError:
        return "its pages cached twice (the disk below takes no direct I/O)"
    return "direct I/O"


def device_of(path: str) -> str:
    """What is mounted there. Raises VolumeError."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        found = mounted_at(path, mounts.read())
    if found is None:
        raise VolumeError(f"nothing is mounted at {path}")
    return found[0]


def mounted_at(path: str, mounts: str) -> tuple[str, str] | None:
    """Source and type of what is mounted at a path, of /proc/self/mounts. proc_pid_mounts(5)."""
    lines = (line.split() for line in mounts.splitlines())
    # The last one lies on top of the others.
    found = [(words[0], words[2]) for words in lines if len(words) > 2 and words[1] == path]
    return found[-1] if found else None


def type_of(path: str, mounts: str) -> str:
    """The type of the file system that a path lies on; "unknown" when no mount says it."""
    while (found := mounted_at(path, mounts)) is None:
        if path == "/":
            return "unknown"
        path = os.path.dirname(path)
    return found[1]


def machines_own(path: str, why: str) -> str:
    """What is said where there is none: what the path lies on, and the reason."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return f"{type_of(path, mounts.read())}, the machine's own ({why})"


def _run(*words: str) -> None:
    """Raises VolumeError with what it said."""
    try:
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VolumeError(f"{words[0]}: {error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-200:] or f"it ended with {done.returncode}"
        raise VolumeError(f"{words[0]}: {said}")
