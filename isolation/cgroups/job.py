"""The three cgroups of one job: made, limited, read, killed and removed, by path.

What is written as a limit is in `isolation.cgroups.limits`, how a cgroup with processes is ended
in `isolation.cgroups.teardown`, which jobs have any in `isolation.cgroups.tree`.

    <root>/job-<id>/          cpu.*, cpuset.cpus, io.max, io.weight
               monitor/       memory.max of the monitor
               payload/       memory.*, pids.max
"""

from __future__ import annotations

import errno
import os
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.cgroups import limits as cgroup_limits
from isolation.cgroups import teardown as cgroup_teardown
from isolation.cgroups.limit_kinds import AppliedLimits, JobLimits, whole_pages
from isolation.cgroups.limits import Slice
from isolation.cgroups.nodes import optional, write_text
from isolation.errors import CgroupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isolation.cgroups.nodes import Cgroup

_MONITOR: Final = "monitor"
_PAYLOAD: Final = "payload"
_UNLIMITED: Final = JobLimits()
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Usage(NamedTuple):
    """What a job used so far. None: this kernel, or this tree, does not count it.

    CPU time (microseconds) is of the whole job, memory (bytes) and pids of the payload.
    """

    cpu_usec: int | None
    cpu_user_usec: int | None
    cpu_system_usec: int | None
    memory_bytes: int | None
    memory_peak_bytes: int | None
    pids: int | None


class JobFds(NamedTuple):
    """Descriptors of a job's three directories, for clone3(2) and openat(2). The caller closes."""

    job: int
    monitor: int
    payload: int

    def close(self) -> None:
        """Close all three."""
        for fd in self:
            os.close(fd)


class JobCgroup:
    """The three cgroups of one job. Holds no descriptor; a missing cgroup reads as empty.

    `directory` is the path of its own one below `root`, `children` those of the two below that, in
    the order of their removal: most jobs get along with these, as nodes cost more than the system
    calls. `require` refuses what cannot be enforced.
    """

    def __init__(self, root: Cgroup, directory: str, require: Callable[[JobLimits], None]) -> None:
        self._root = root
        self._require = require
        self.directory = directory
        self.children = (f"{self.directory}/{_PAYLOAD}", f"{self.directory}/{_MONITOR}")

    @cached_property
    def cgroups(self) -> Slice:
        """Their nodes: the files in them."""
        job = self._root.child(os.path.basename(self.directory))
        return Slice(job, job.child(_MONITOR), job.child(_PAYLOAD))

    def make(self, controllers: frozenset[str]) -> None:
        """Make them, the children with these controllers. Nothing is left when it fails.

        Raises CgroupError (EEXIST: it has them already).
        """
        payload, monitor = self.children
        _make(self.directory)
        try:
            if controllers:
                handed = "+" + " +".join(sorted(controllers))
                write_text(f"{self.directory}/cgroup.subtree_control", handed)
            _make(monitor)
            _make(payload)
        except CgroupError:
            self.remove()
            raise

    def apply(self, limits: JobLimits) -> AppliedLimits:
        """Write the limits and read them back; nothing is written when one is unavailable.

        Raises LimitUnavailable, ReadBackError and CgroupError as `cgroup_limits.apply`.
        """
        if limits == _UNLIMITED:
            return AppliedLimits()
        applied = self._apply_usual(limits)
        if applied is not None:
            return applied
        self._require(limits)
        return cgroup_limits.apply(self.cgroups, limits)

    def _apply_usual(self, limits: JobLimits) -> AppliedLimits | None:
        """What jobs have that ask for nothing, for the price of two files. None: more, or it fails.

        What the kernel shows afterwards is held, whatever it was to be looked at before.
        """
        cap, most = limits.monitor_memory_max_bytes, limits.pids_max
        if limits != JobLimits(monitor_memory_max_bytes=cap, pids_max=most):
            return None
        payload, monitor = self.children
        shown = None if cap is None else whole_pages(cap)
        if cap is not None and not _holds(f"{monitor}/memory.max", cap, whole_pages(cap)):
            return None
        if most is not None and not _holds(f"{payload}/pids.max", most, most):
            return None
        return AppliedLimits(monitor_memory_max_bytes=shown, pids_max=most)

    def update(self, old: JobLimits, new: JobLimits) -> AppliedLimits:
        """Change the limits of a job that has `old`: all to `new`, or none of them.

        Both are complete: a field that becomes None is lifted, and a device that `new` does not
        name any more is free again. Raises LimitUnavailable before anything is written,
        LimitBelowUse with the number when the job uses more already, else as `apply`.
        May take as long as the kernel needs to reclaim memory.
        """
        self._require(new)
        return cgroup_limits.update(self.cgroups, old, new)

    def monitor_pids(self) -> list[int]:
        """The pids in `monitor`, as this PID namespace sees them."""
        return cgroup_teardown.pids_of(self.cgroups.monitor)

    def payload_pids(self) -> list[int]:
        """The pids in `payload`, as this PID namespace sees them."""
        return cgroup_teardown.pids_of(self.cgroups.payload)

    def populated(self) -> bool:
        """Whether any process is left in the job, its monitor included."""
        return bool((optional(lambda: self.cgroups.job.core.events) or {}).get("populated"))

    def kill(self, *, monitor: bool = True) -> None:
        """SIGKILL to every process of the job, or with `monitor=False` of the payload only.

        Returns before they are gone (`remove` waits). Killing nothing is no error. Kernels
        before 5.14 have no cgroup.kill: there the cgroup is frozen and each process killed.
        """
        target = self.cgroups.job if monitor else self.cgroups.payload
        try:
            target.core.kill = True
        except CgroupError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise
            cgroup_teardown.kill_each(target)

    def usage(self) -> Usage:
        """What was used so far. Raises CgroupError for anything but a missing file."""
        job, payload = self.cgroups.job, self.cgroups.payload
        cpu = optional(lambda: job.cpu.stat) or {}
        return Usage(
            cpu_usec=cpu.get("usage_usec"),
            cpu_user_usec=cpu.get("user_usec"),
            cpu_system_usec=cpu.get("system_usec"),
            memory_bytes=optional(lambda: payload.memory.current),
            memory_peak_bytes=optional(lambda: payload.memory.peak),
            pids=optional(lambda: payload.pids.current),
        )

    def remove(self, timeout_seconds: float = 2.0) -> None:
        """Remove the cgroups, and what the job made below them. Gone already is no error.

        Waits at most `timeout_seconds` for processes that are still ending; it sends no
        signal itself. Raises CgroupError, with EBUSY when some are left then.
        """
        if not self.remove_empty():
            job, monitor, payload = self.cgroups
            cgroup_teardown.remove(job, (payload, monitor), timeout_seconds)

    def remove_empty(self) -> bool:
        """Remove them if nobody is in them, nor anything else below. Whether they are gone."""
        return remove_empty(self.directory)

    def open_fds(self) -> JobFds:
        """Descriptors of the three directories, close-on-exec. Raises CgroupError."""
        payload, monitor = self.children
        opened: list[int] = []
        for directory in (self.directory, monitor, payload):
            try:
                opened.append(os.open(directory, _DIRECTORY))
            except OSError as error:
                for fd in opened:
                    os.close(fd)
                raise CgroupError(error.errno or 0, "open", directory) from None
        return JobFds(*opened)


def remove_empty(directory: str) -> bool:
    """`JobCgroup.remove_empty` of a job whose own cgroup is `directory`."""
    for each in (f"{directory}/{_PAYLOAD}", f"{directory}/{_MONITOR}", directory):
        try:
            os.rmdir(each)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _holds(path: str, wanted: int, shown: int) -> bool:
    """Write a limit. Whether the kernel shows it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % wanted)
            return os.pread(fd, 64, 0) == b"%d\n" % shown
        finally:
            os.close(fd)
    except OSError:
        return False


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except OSError as error:
        raise CgroupError(error.errno or 0, "mkdir", directory) from None
