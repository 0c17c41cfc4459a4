"""One launch: from a committed `starting` to a monitor that runs. Undoes what it made if not.

The blocking parts (directories, cgroups) run in a small pool of threads, one job each at a
time; the descriptors made for the launch are closed in every case.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation import device_filter
from isolation.errors import LimitUnavailable
from runner import limits as job_limits
from runner import records, stored
from runner.handles import Handles
from runner.jobdirs import BASE, ROW
from runner.launcher_client import Launched, LaunchError
from runner.reconcile import is_passing
from runner.refusal import Refusal
from runner.rows import DamagedRowError
from runner.store_file import StoreError
from runner.taking_up import row_of
from runner.told import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from isolation.cgroups.tree import CgroupTree, JobCgroup
    from runner.group_rows import About, Group
    from runner.jobdirs import JobDirectories, JobFiles
    from runner.launchers import Launchers
    from runner.paths import UserPaths
    from runner.provisions import Provisioning, Provisions
    from runner.rows import Job
    from runner.store import Store

_logger: Final = logging.getLogger(__name__)

_NO_ROOM: Final = "remove ended jobs (`runctl prune`), or make room otherwise (`runctl doctor`)"
# Of a directory that cannot be made.
_REMEDIES: Final = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EROFS: "the state directory's file system must be writable; look at the disk",
    errno.EIO: "look at the disk",
}

_SMALL_BYTES: Final = 65536
_SLOW: Final = ("io", "io_weight", "cpu_set")

# Of a directory or cgroups that cannot be made: no room, or as many cgroups as there may be.
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EAGAIN})


class CannotLaunchError(Exception):
    """Nothing of the job runs, and nothing is left of the attempt. The text says why."""


class HostShortError(CannotLaunchError):
    """The same, but it is the host that lacks something for now: any other job fails as well."""


class _NoPlaceError(OSError):
    """What every job needs, whatever it asked for, could not be made: directory or cgroups."""


class Started(NamedTuple):
    """A running job: its monitor, and its limits as the kernel reads them back (a record)."""

    monitor: Launched
    limits: bytes


class Launching:
    """Everything that a launch needs. One for the daemon."""

    def __init__(
        self,
        *,
        directories: JobDirectories,
        tree: CgroupTree,
        provisions: Provisioning,
        launchers: Launchers,
        pool: Executor,
        paths: UserPaths,
        cap_monitor: Callable[[dict[str, Any], dict[str, Any]], int] | None,
    ) -> None:
        self._directories = directories
        self._tree = tree
        self._provisions = provisions
        self._launchers = launchers
        self._pool = pool
        self._paths = paths
        self._cap_monitor = cap_monitor

    async def launch(
        self,
        job: Job,
        labels: Mapping[str, str] | None = None,
        group: tuple[Group, About] | None = None,
    ) -> Started:
        """Start the attempt of a job that its row says; `group` is the one that it is of.

        Raises CannotLaunchError, which is HostShortError where another try may work, or
        LauncherGoneError when that is not known.
        """
        loop = asyncio.get_running_loop()
        try:
            spec = stored.spec(job)
            devices = await self._paths.find_devices(spec)
            with ExitStack() as opened:
                provided = await self._provisions.provide(job.id, spec, opened)
                make = partial(
                    self._make, job, labels or {}, told(job, group), spec, devices, provided, opened
                )
                handles, shown = (
                    make() if _is_quick(job, spec) else await loop.run_in_executor(self._pool, make)
                )
                monitor = await self._launchers.launch(job.id, handles, provided.given, spec)
        # CgroupError and NetworkError are OSErrors; a damaged spec is a ValueError.
        except (LaunchError, LimitUnavailable, LookupError, Refusal, OSError, ValueError) as error:
            await loop.run_in_executor(self._pool, self.undo, job.id)
            await self._release(job.id)
            if not _is_of_host(error):
                raise CannotLaunchError(_why(error)) from error
            await loop.run_in_executor(self._pool, self._discard, job)
            raise HostShortError(_why(error)) from error
        return Started(monitor, records.pack(shown))

    async def _release(self, job_id: str) -> None:
        try:
            await self._provisions.release(job_id)
        except OSError as error:
            _logger.error(  # noqa: TRY400 - the text says it
                "job %s: what it held stays until the next start: %s", job_id, error
            )

    def undo(self, job_id: str) -> None:
        """Remove the cgroups of a job that has no process."""
        cgroup = self._tree.job(job_id)
        try:
            if cgroup is not None:
                cgroup.remove()
        except OSError as error:
            # Why the launch failed matters more; a restart removes what stays.
            _logger.error("job %s: its cgroup stays behind: %s", job_id, error)  # noqa: TRY400

    def _discard(self, job: Job) -> None:
        """Give back what little room there was."""
        try:
            self._directories.discard(job.id, job.attempt)
        except OSError as error:
            # The next launch of the attempt makes it afresh.
            _logger.error("job %s: its directory stays: %s", job.id, error)  # noqa: TRY400

    def _make_cgroups(self, job_id: str) -> JobCgroup:
        try:
            return self._tree.create_job(job_id)
        except OSError as error:
            raise _NoPlaceError(error.errno, str(error)) from error

    def _make_directory(self, job: Job, spec: bytes) -> JobFiles:
        try:
            return self._directories.create(job.id, spec, job.attempt)
        except OSError as error:
            why = f"make its directory in {self._directories.path}: {error.strerror or error}"
            remedy = _REMEDIES.get(error.errno or 0)
            raise _NoPlaceError(error.errno, f"{why}; {remedy}" if remedy else why) from error

    def _make(
        self,
        job: Job,
        labels: Mapping[str, str],
        environment: Mapping[bytes, bytes],
        spec: dict[str, Any],
        devices: dict[bytes, tuple[str, ...]],
        provided: Provisions,
        opened: ExitStack,
    ) -> tuple[Handles, dict[str, Any]]:
        """Directory, cgroups and limits, and the descriptors of them all."""
        fields = {
            **spec,
            BASE: provided.base,
            ROW: row_of(job, labels),
            "env": {**spec["env"], **environment},
        }
        files = self._make_directory(job, stored.pack_spec(fields))
        opened.callback(files.close)
        cgroup = self._make_cgroups(job.id)
        cap = None if self._cap_monitor is None else self._cap_monitor(spec, spec["limits"])
        wanted = job_limits.kernel_limits(spec["limits"], devices, cap)
        applied = cgroup.apply(wanted)
        cgroups = cgroup.open_fds()
        opened.callback(cgroups.close)
        if provided.devices is not None and device_filter.available() is None:
            device_filter.attach(cgroups.payload, provided.devices)
        handles = Handles(
            job_dir=files.job_dir,
            log_dir=files.log_dir,
            control=files.control,
            job_cgroup=cgroups.job,
            monitor_cgroup=cgroups.monitor,
            payload_cgroup=cgroups.payload,
            **provided.handles,
        )
        return handles, job_limits.shown_limits(spec["limits"], devices, applied)


def group_of(store: Store, job: Job) -> tuple[Group, About] | None:
    """The group that a job is of, None for a job by itself. Raises CannotLaunchError."""
    if job.group_id is None:
        return None
    try:
        group = store.group(job.group_id)
        if group is not None:
            return group, store.group_about(group)
    except (StoreError, DamagedRowError) as error:
        raise CannotLaunchError(str(error)) from error
    raise CannotLaunchError(f"its group {job.group_id} is lost")


def _is_quick(job: Job, spec: dict[str, Any]) -> bool:
    """Whether making everything takes less than handing it to another thread and back.

    It is a few names in directories and cgroups then, which wait for the disk no longer than the
    commit before did. What is written for disks and sets of CPUs may wait for the whole host.
    """
    limits = spec["limits"]
    return len(job.spec) <= _SMALL_BYTES and not any(limits.get(name) for name in _SLOW)


def _is_of_host(error: Exception) -> bool:
    """Whether the host lacks something for now that every job needs.

    The same numbers mean something else of what a job asked for: ENOSPC of a user namespace is a
    limit of namespaces, of cpuset.cpus there is no such processor.
    """
    return is_passing(error) or (isinstance(error, _NoPlaceError) and error.errno in _PASSING)


def _why(error: Exception) -> str:
    if isinstance(error, Refusal):
        return "; ".join(f"{name}: {value}" for name, value in error.fields.items())
    if isinstance(error, OSError) and type(error).__str__ is OSError.__str__ and error.strerror:
        # Python's own words are a number and a repr.
        where = (
            f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        )
        return f"{where}{error.strerror}"
    return str(error)
