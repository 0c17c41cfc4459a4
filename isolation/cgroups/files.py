"""Reading and writing cgroup interface files below an open cgroup directory.

For the monitor, which holds descriptors and imports little; the daemon's view, with
limits and their read-back, is `isolation.cgroups.tree`. Formats: kernel's cgroup-v2.rst.
"""

from __future__ import annotations

import os

# cgroup interface files are at most a page, but io.stat has a line for each device.
_MAX_BYTES = 65536


def read(cgroup_fd: int, name: str) -> str | None:
    """The file's text; None when this kernel or this cgroup does not have it."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=cgroup_fd)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, _MAX_BYTES).decode("ascii", "replace").strip()
    # EOPNOTSUPP: the file is there but its feature is switched off (psi=0).
    except OSError:
        return None
    finally:
        os.close(fd)


def read_int(cgroup_fd: int, name: str) -> int | None:
    """The file's number; None when the file is not there or says `max`."""
    text = read(cgroup_fd, name)
    return int(text) if text is not None and text.isdigit() else None


def read_keyed(cgroup_fd: int, name: str) -> dict[str, int]:
    """A flat-keyed file such as memory.events; empty when it is not there."""
    lines = (line.partition(" ") for line in (read(cgroup_fd, name) or "").splitlines())
    return {key: int(value) for key, _, value in lines if value.isdigit()}


def sum_nested(cgroup_fd: int, name: str, key: str) -> int | None:
    """The sum of `key=N` over all lines of a nested-keyed file such as io.stat."""
    text = read(cgroup_fd, name)
    if text is None:
        return None
    words = (word.partition("=") for line in text.splitlines() for word in line.split()[1:])
    return sum(int(value) for found, _, value in words if found == key and value.isdigit())


def write(cgroup_fd: int, name: str, value: str) -> None:
    """Write one value. Raises OSError; FileNotFoundError when this kernel lacks the file."""
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=cgroup_fd)
    try:
        os.write(fd, value.encode("ascii"))
    finally:
        os.close(fd)
