"""The cgroups of jobs: made, limited, read, killed and removed.

The daemon's view, by path; the monitor has `isolation.cgroups.files`. Where the root is was
decided by `isolation.cgroups.root`; what is below it of one job is `isolation.cgroups.job`'s.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from isolation.cgroups import limit_checks
from isolation.cgroups.job import JobCgroup, JobFds, Usage, remove_empty
from isolation.cgroups.limit_kinds import AppliedLimits, IoLimit, JobLimits
from isolation.cgroups.limits import Slice
from isolation.cgroups.nodes import Cgroup
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
        made = self._job_cgroup(job_id)
        made.make(_JOB_CONTROLLERS & self.available)
        return made

    def job(self, job_id: str) -> JobCgroup | None:
        """The cgroups of a job, None when there are none. Raises ValueError for what is no UUID."""
        found = self._job_cgroup(job_id)
        return found if os.path.isdir(found.directory) else None

    def remove_empty(self, job_id: str) -> bool:
        """Remove the cgroups of a job if nobody is in them, without waiting. Whether they are gone.

        False says nothing but that: look again with `job`. Raises ValueError for what is no UUID.
        """
        return remove_empty(f"{self.root}/{_job_name(job_id)}")

    def jobs(self) -> list[str]:
        """The ids of all jobs that have cgroups, sorted. Raises CgroupError."""
        names = (
            name.removeprefix(JOB_PREFIX)
            for name in self._node.child_names()
            if name.startswith(JOB_PREFIX)
        )
        return sorted(name for name in names if _JOB_ID.fullmatch(name))

    def _job_cgroup(self, job_id: str) -> JobCgroup:
        return JobCgroup(self._node, f"{self.root}/{_job_name(job_id)}", self.require)

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
