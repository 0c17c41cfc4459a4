"""What the jobs that run use now, all together: read from their cgroups, in a thread.

What one job uses is `isolation.cgroups.job`'s; here are two files of each of many, without nodes.
What ended ones have used is in `runner.stats`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.cgroups import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isolation.cgroups.tree import CgroupTree

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class RunningUsage(NamedTuple):
    """CPU time of whole jobs (microseconds), memory of their payloads (bytes).

    0 also where this host does not count it.
    """

    cpu_usec: int = 0
    memory_bytes: int = 0


def used_by(tree: CgroupTree, ids: Iterable[str]) -> RunningUsage:
    """What these jobs use; one whose cgroup is gone uses nothing. Waits for the kernel."""
    cpu_usec = memory_bytes = 0
    for job_id in ids:
        try:
            usage = _used_by(tree, job_id)
        except OSError:
            # It has ended, or the kernel does not let us look, which `doctor` tells.
            continue
        cpu_usec += usage.cpu_usec
        memory_bytes += usage.memory_bytes
    return RunningUsage(cpu_usec, memory_bytes)


def _used_by(tree: CgroupTree, job_id: str) -> RunningUsage:
    job = tree.job(job_id)
    if job is None:
        return RunningUsage()
    payload, _ = job.children
    return RunningUsage(_cpu_usec(job.directory), _memory_bytes(payload))


def _cpu_usec(directory: str) -> int:
    fd = os.open(directory, _DIRECTORY)
    try:
        return files.read_keyed(fd, "cpu.stat").get("usage_usec", 0)
    finally:
        os.close(fd)


def _memory_bytes(directory: str) -> int:
    fd = os.open(directory, _DIRECTORY)
    try:
        return files.read_int(fd, "memory.current") or 0
    finally:
        os.close(fd)
