"""The cgroups of jobs: made, limited, read, killed and removed.

The daemon's view, by path; the monitor has `isolation.cgroups.files`. Where the root is was
decided by `isolation.cgroups.root`; what is written as a limit is in `isolation.cgroups.limits`,
how a cgroup with processes is ended in `isolation.cgroups.teardown`.

    <root>/job-<id>/          cpu.*, cpuset.cpus, io.max, io.weight
               monitor/       memory.max of the monitor
               payload/       memory.*, pids.max
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.cgroups import limit_checks
from isolation.cgroups import limits as cgroup_limits
from isolation.cgroups import teardown as cgroup_teardown
from isolation.cgroups.limit_kinds import AppliedLimits, IoLimit, JobLimits
from isolation.cgroups.limits import Slice
from isolation.cgroups.nodes import Cgroup, optional
from isolation.cgroups.root import DAEMON_GROUP, missing_controllers, offered, v1_controllers
from isolation.errors import CgroupError, LimitUnavailable
from isolation.host import mountinfo

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "AppliedLimits", "CgroupTree", "IoLimit", "JobCgroup", "JobFds", "JobLimits", "Slice", "Usage",
]  # fmt: skip

JOB_PREFIX: Final = "job-"
_JOB_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What a job's own cgroup hands down: only what is limited or counted on the payload alone.
_JOB_CONTROLLERS: Final = frozenset({"memory", "pids"})
# Processes that fork while they are moved leave children behind, so it is repeated.
_MOVE_ROUNDS: Final = 20


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


class CgroupTree:
    """The part of the cgroup tree that is ours. `root` is an absolute path (`find_root`).

    `available` is empty until `prepare` has run.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.available: frozenset[str] = frozenset()
        self._node = Cgroup(root)
        self._missing: dict[str, tuple[str, str]] = {}

    def prepare(self, required: Collection[str]) -> None:
        """Make the root and enable there what of `required` the host offers.

        A controller that it does not offer is no error: `available` lacks it, and limits
        that need it are refused. Processes in the root (it is our own cgroup then) move to
        `daemon` below it, because a cgroup with processes cannot hand controllers down.

        Raises CgroupError: EBUSY when the root or the cgroup above holds processes that are
        not ours to move, EROFS or EACCES where the tree cannot be written.
        """
        wanted = frozenset(required)
        self._make_root()
        self._vacate()
        parent = os.path.dirname(self.root)
        # Above our root everything belongs to somebody else, save the top, where the root
        # was put by us. There enabling is additive, and takes nothing from anybody.
        if os.path.ismount(parent) and not os.path.ismount(self.root):
            _enable(Cgroup(parent), wanted)
        _enable(self._node, wanted)
        self.available = self._node.core.subtree_control
        self._missing = self._explain(wanted)

    def require(self, limits: JobLimits) -> None:
        """Refuse what cannot be enforced. Raises LimitUnavailable with controller and remedy."""
        for limit, controller in limit_checks.needed(limits):
            if controller not in self.available:
                why, remedy = self._missing.get(controller) or _general_reason(controller)
                raise LimitUnavailable(limit, controller=controller, why=why, remedy=remedy)
        limit_checks.require_host(self.root, limits)

    def missing(self, required: Collection[str]) -> list[tuple[str, str]]:
        """Why and remedy for each of `required` that `prepare` could not make available."""
        names = sorted(set(required) - self.available)
        return [self._missing.get(name) or _general_reason(name) for name in names]

    def create_job(self, job_id: str) -> JobCgroup:
        """Make the three cgroups of a job that has none. Nothing is left when it fails.

        Raises ValueError for what is no UUID, CgroupError else (EEXIST: it has them already).
        """
        job = self._node.create_cgroup(_job_name(job_id))
        made = self._job_cgroup(job)
        try:
            job.core.subtree_control = _JOB_CONTROLLERS & self.available
            job.create_cgroup("monitor")
            job.create_cgroup("payload")
        except CgroupError:
            made.remove()
            raise
        return made

    def job(self, job_id: str) -> JobCgroup | None:
        """The cgroups of a job, None when there are none. Raises ValueError for what is no UUID."""
        node = self._node.child(_job_name(job_id))
        return self._job_cgroup(node) if node.exists() else None

    def jobs(self) -> list[str]:
        """The ids of all jobs that have cgroups, sorted. Raises CgroupError."""
        names = (
            name.removeprefix(JOB_PREFIX)
            for name in self._node.child_names()
            if name.startswith(JOB_PREFIX)
        )
        return sorted(name for name in names if _JOB_ID.fullmatch(name))

    def _job_cgroup(self, job: Cgroup) -> JobCgroup:
        cgroups = Slice(job, job.child("monitor"), job.child("payload"))
        return JobCgroup(self, cgroups)

    def _make_root(self) -> None:
        try:
            os.makedirs(self.root, 0o755, exist_ok=True)
        except OSError as error:
            raise CgroupError(error.errno or 0, "mkdir", self.root) from None

    def _vacate(self) -> None:
        """Move the processes of the root to `daemon`, when this one is among them."""
        core = self._node.core
        # Only the top of the whole hierarchy has no type; it may hold processes and hand
        # controllers down at once, and its kernel threads cannot be moved.
        if not core.has("cgroup.type") or not core.procs:
            return
        if os.getpid() not in core.procs:
            raise _occupied(self._node)
        daemon = self._node.child(DAEMON_GROUP)
        if not daemon.exists():
            self._node.create_cgroup(DAEMON_GROUP)
        for _ in range(_MOVE_ROUNDS):
            pids = core.procs
            if not pids:
                return
            _move(pids, daemon)
        raise _occupied(self._node)

    def _explain(self, wanted: frozenset[str]) -> dict[str, tuple[str, str]]:
        mounts = mountinfo.read()
        points = [m.point for m in mounts if m.fstype == "cgroup2"]
        above = [p for p in points if os.path.commonpath((p, self.root)) == p]
        at_mount = offered(max(above, key=len)) if above else frozenset()
        missing = missing_controllers(
            wanted, self.available, v1=v1_controllers(mounts), root=self.root, at_mount=at_mount
        )
        return {item.controller: (item.why, item.remedy) for item in missing}


class JobCgroup:
    """The three cgroups of one job. Holds no descriptor; a missing cgroup reads as empty."""

    def __init__(self, tree: CgroupTree, cgroups: Slice) -> None:
        self._tree = tree
        self.cgroups = cgroups

    def apply(self, limits: JobLimits) -> AppliedLimits:
        """Write the limits and read them back; nothing is written when one is unavailable.

        Raises LimitUnavailable, ReadBackError and CgroupError as `cgroup_limits.apply`.
        """
        self._tree.require(limits)
        return cgroup_limits.apply(self.cgroups, limits)

    def update(self, old: JobLimits, new: JobLimits) -> AppliedLimits:
        """Change the limits of a job that has `old`: all to `new`, or none of them.

        Both are complete: a field that becomes None is lifted, and a device that `new` does not
        name any more is free again. Raises LimitUnavailable before anything is written,
        LimitBelowUse with the number when the job uses more already, else as `apply`.
        May take as long as the kernel needs to reclaim memory.
        """
        self._tree.require(new)
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
        job, monitor, payload = self.cgroups
        cgroup_teardown.remove(job, (payload, monitor), timeout_seconds)

    def open_fds(self) -> JobFds:
        """Descriptors of the three directories, close-on-exec. Raises CgroupError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        opened: list[int] = []
        for node in self.cgroups:
            try:
                opened.append(os.open(node.directory, flags))
            except OSError as error:
                for fd in opened:
                    os.close(fd)
                raise CgroupError(error.errno or 0, "open", node.directory) from None
        return JobFds(*opened)


def _job_name(job_id: str) -> str:
    if _JOB_ID.fullmatch(job_id) is None:
        raise ValueError(f"not a job's id: {job_id!r}")
    return JOB_PREFIX + job_id


def _general_reason(controller: str) -> tuple[str, str]:
    (missing,) = missing_controllers({controller}, ())
    return missing.why, missing.remedy


def _enable(node: Cgroup, wanted: frozenset[str]) -> None:
    """One by one, so that an error names the controller that it is about."""
    core = node.core
    for controller in sorted((wanted & core.controllers) - core.subtree_control):
        try:
            core.subtree_control = frozenset({controller})
        except CgroupError as error:
            if error.errno == errno.EBUSY:
                raise _occupied(node) from None
            raise


def _occupied(node: Cgroup) -> CgroupError:
    why = (
        "it holds processes that are not runnerd's, and a cgroup with processes cannot hand "
        "controllers down; configure a cgroup root without processes, or this one for a "
        "runnerd that was started inside it"
    )
    return CgroupError(errno.EBUSY, "use", node.directory, why=why)


def _move(pids: list[int], target: Cgroup) -> None:
    for pid in pids:
        # 0 is a process that our PID namespace does not show; written, it would mean us.
        if pid == 0:
            continue
        try:
            target.core.procs = [pid]
        except CgroupError as error:
            if error.errno != errno.ESRCH:
                raise
